// How loud a leg is: two bars, what the telephone says above and what the server says below.
import { el } from './dom.js'
import { number, t } from './words.js'

const QUIET_DB = -60, LOUD_DB = -10

export const makeLevels = () => el('span', { class: 'levels', role: 'img' }, el('i', { class: 'in' }), el('i', { class: 'out' }))

// Return a level in dBFS as a part of the bar, 0 to 1.
export const part = level => (level === null || level === undefined ? 0 : Math.min(1, Math.max(0, (level - QUIET_DB) / (LOUD_DB - QUIET_DB))))

const inWords = level => (level === null || level === undefined ? '–' : `${number(Math.round(level))} dB`)

export function drawLevels(box, leg) {
  const none = !leg || leg.state !== 'live'
  if (box.hidden !== none) box.hidden = none
  if (none) return
  const label = t('levels', { heard: inWords(leg.level_in), said: inWords(leg.level_out) })
  if (box.title !== label) {
    box.title = label
    box.ariaLabel = label
  }
  setBar(box.firstChild, part(leg.level_in))
  setBar(box.lastChild, part(leg.level_out))
}

function setBar(bar, value) {
  const width = `${Math.round(value * 100)}%`
  if (bar.style.getPropertyValue('--part') !== width) bar.style.setProperty('--part', width)
}
