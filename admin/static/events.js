// The server's events as they happen, the last 1,000 of them; and the signal for the rest of the page to look again.
//
// A browser has six connections to a server, so the stream is closed while the page is hidden.
import { byId, el, setText } from './dom.js'
import { Rows } from './rows.js'
import { clockTime, hasWord, number, t } from './words.js'

const KEPT = 1000
const AGAIN_MS = 15_000 // after a refusal, such as too many streams
const DRAW_MS = 250

export class Events {
  // happened(record) is called for each record, open(call_id) shows a call.
  constructor(happened, open) {
    this.happened = happened
    this.open = open
    this.all = [] // the latest first
    this.last = 0 // the id of the latest; 0 asks for all that the server has kept
    this.source = null
    this.drawing = 0
    this.rows = new Rows(byId('events'), byId('events-scroll'), () => this.makeRow(), writeRow)
    byId('events-filter').addEventListener('input', () => this.draw())
  }

  // Follow the stream while the page can be seen.
  follow() {
    if (document.hidden || this.source) return
    const source = new EventSource(`/api/events?after=${this.last}`)
    this.source = source
    source.onmessage = ({ data }) => this.add(JSON.parse(data))
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED || this.source !== source) return // else it connects again by itself
      this.source = null
      setTimeout(() => this.follow(), AGAIN_MS)
    }
  }

  stop() {
    this.source?.close()
    this.source = null
  }

  add(record) {
    this.last = record.id
    this.all.unshift(record)
    this.all.length = Math.min(this.all.length, KEPT)
    this.happened(record)
    this.drawing ||= setTimeout(() => {
      this.drawing = 0
      this.draw()
    }, DRAW_MS)
  }

  draw() {
    const wanted = byId('events-filter').value.trim().toLowerCase()
    const shown = wanted ? this.all.filter(each => `${JSON.stringify(each)} ${eventName(each)}`.toLowerCase().includes(wanted)) : this.all
    this.rows.show(shown)
    setText(byId('events-count'), number(shown.length))
    setText(byId('events-empty'), shown.length ? '' : t('noEvents'))
  }

  makeRow() {
    return el('tr', {}, el('td', { class: 'mono' }), el('th', { scope: 'row' }), el('td'),
      el('td', {}, el('button', { type: 'button', class: 'link mono', click: event => this.open(event.currentTarget.closest('tr').item.call_id) })),
      el('td', { class: 'why' }, el('div')))
  }
}

const eventName = record => (hasWord(`event.${record.event}`) ? t(`event.${record.event}`) : record.event)

const details = record => Object.entries(record)
  .filter(([name, value]) => !['id', 'at', 'event', 'call_id', 'extension', 'number'].includes(name) && value !== '' && value !== null)
  .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`).join(', ')

function writeRow(row, record) {
  const [when, name, extension, call, what] = row.cells
  setText(when, record.at ? clockTime(record.at) : '')
  setText(name, eventName(record))
  setText(extension, record.number ?? (record.extension === undefined ? '' : `ID ${record.extension}`))
  setText(call.firstChild, record.call_id?.slice(0, 8) ?? '')
  call.firstChild.hidden = !record.call_id
  setText(what.firstChild, details(record))
}
