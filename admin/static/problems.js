// What is wrong now: the list of GET /api/problems in the words of the page, in one place, with the cures.
import { byId, el, setClass, setText } from './dom.js'
import { clockTime, duration, hasWord, language, number, t } from './words.js'

const EACH = 3 // problems of one kind that are listed one by one; more are counted
const GROUPED = new Set(['portAlternative', 'portOutside', 'extensionFailed', 'rowRejected', 'codec', 'botAway', 'storage', 'gateFailed'])

// The problem of the page itself: the server has not answered for so many seconds.
export const serverLost = seconds => ({ key: 'serverLost', level: 'bad', values: { seconds }, detail: '', extension: null })

// Return the problems with more than a few of one kind as one.
export function grouped(found) {
  const count = key => found.filter(each => each.key === key).length
  const shown = []
  for (const one of found) {
    const n = count(one.key)
    if (!GROUPED.has(one.key) || n <= EACH) shown.push(one)
    else if (!shown.some(each => each.key === `${one.key}s`)) {
      const names = found.filter(each => each.key === one.key).map(each => each.values.name)
      const more = n > 12 ? ' …' : ''
      shown.push({ key: `${one.key}s`, level: one.level, values: { n: number(n), names: names.slice(0, 12).join(', ') + more }, detail: '', extension: null })
    }
  }
  return shown
}

// Return the values as they are said; a duration also as the time of day at which it began.
function said({ values: given }) {
  const values = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, value ?? '–']))
  if (values.kind) values.kind = values.kind.toUpperCase()
  if (values.seconds === undefined) return values
  return { ...values, since: duration(values.seconds), at: clockTime(Date.now() - 1000 * values.seconds) }
}

// A key of a newer server than these words is said in the server's own words.
const what = one => (hasWord(`${one.key}.what`) ? t(`${one.key}.what`, said(one)) : one.what)
const means = one => (hasWord(`${one.key}.means`) ? t(`${one.key}.means`, said(one)) : '')
const cure = one => (hasWord(`${one.key}.cure`) ? t(`${one.key}.cure`, said(one)) : one.cure)

export class Problems {
  // show(id) shows an extension.
  constructor(show) {
    this.show = show
    this.list = byId('problems')
  }

  draw(all) {
    const found = grouped(all)
    const worst = found.some(each => each.level === 'bad') ? 'bad' : found.length ? 'warn' : 'good'
    setClass(byId('health'), `health ${worst}`)
    setText(byId('health'), all.length ? t(all.length === 1 ? 'oneProblem' : 'nProblems', { n: number(all.length) }) : t('allWell'))
    setClass(byId('problems-card'), `card problems ${worst}`)
    document.title = all.length ? `(${all.length}) AudioSocket` : 'AudioSocket'
    // Only words change from second to second: a list that is built anew would be read out again.
    const shape = language() + found.map(each => `\n${each.key} ${each.extension} ${each.detail} ${each.values.name ?? ''}`).join('')
    if (this.list.dataset.shape !== shape) {
      this.list.dataset.shape = shape
      this.list.replaceChildren(...(found.length ? found.map(one => this.make(one)) : [el('li', { class: 'good' }, t('allWellText'))]))
    }
    found.forEach((one, i) => setText(this.list.children[i].firstChild, what(one)))
  }

  make(one) {
    return el('li', { class: one.level, 'data-problem': one.key },
      el('strong'), el('p', {}, means(one)), el('p', { class: 'cure' }, cure(one)),
      one.detail ? el('p', {}, el('code', {}, one.detail)) : null,
      one.extension === null ? null : el('button', { type: 'button', class: 'small', click: () => this.show(one.extension) }, t('showExtension')))
  }
}
