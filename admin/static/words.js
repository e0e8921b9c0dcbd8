// The words of the page in the language of the browser, or the one that was chosen.
import english from './words-en.js'
import portuguese from './words-pt-BR.js'
import { readChoice, writeChoice } from './choices.js'

const LANGUAGES = { en: english, 'pt-BR': portuguese }

let current = start()

function start() {
  const chosen = readChoice('language')
  if (chosen in LANGUAGES) return chosen
  return navigator.languages.find(each => /^(en|pt)\b/.test(each))?.startsWith('en') ? 'en' : 'pt-BR'
}

export const language = () => current

export function switchLanguage() {
  current = current === 'en' ? 'pt-BR' : 'en'
  writeChoice('language', current)
}

// Return the text of a key, {name} replaced by the value of that name.
export function t(key, values = {}) {
  const text = LANGUAGES[current][key]
  if (text === undefined) throw new Error(`There is no text ${key}.`)
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '')
}

export const hasWord = key => key in LANGUAGES[current]

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(current, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value)

// Return seconds as 0:07, 12:34 or 3:04:05.
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds))
  const two = value => String(value).padStart(2, '0')
  const minutes = Math.floor(whole / 60)
  return minutes < 60 ? `${minutes}:${two(whole % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`
}

const DAY_MS = 86_400_000

// Return a time of day, with its date where it is not within the last day.
export function momentText(when) {
  const then = new Date(when)
  if (Date.now() - then < DAY_MS) return clockTime(then)
  return new Intl.DateTimeFormat(current, { dateStyle: 'short', timeStyle: 'short' }).format(then)
}

export const clockTime = when => new Intl.DateTimeFormat(current, { timeStyle: 'medium' }).format(new Date(when))

// Fill in all fixed texts of the document.
export function translate(root = document) {
  document.documentElement.lang = current
  for (const node of root.querySelectorAll('[data-word]')) node.textContent = t(node.dataset.word)
  for (const node of root.querySelectorAll('[data-label]')) {
    node.setAttribute('aria-label', t(node.dataset.label))
    if (node.type === 'search') node.placeholder = t(node.dataset.label)
  }
}
