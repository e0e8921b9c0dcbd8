// The server's events as they happen, the last 1,000 of them; and the signal for the rest of the page to look again.
//
// A browser has six connections to a server, so the stream is closed while the page is hidden.
import { byId, el, setText } from './dom.js'
import { eventDetails, eventName } from './event-words.js'
import { Rows } from './rows.js'
import { clockTime, number, t } from './words.js'

const KEPT = 1000
const AGAIN_MS = 5_000 // after a refusal, such as too many streams
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
    byId('events-kind').addEventListener('change', () => this.draw())
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
    const kind = byId('events-kind').value
    const shown = this.all.filter(each => isOfKind(each, kind) && (!wanted || searched(each).includes(wanted)))
    this.rows.show(shown)
    setText(byId('events-count'), shown.length === this.all.length ? number(shown.length) : `${number(shown.length)} / ${number(this.all.length)}`)
    setText(byId('events-empty'), shown.length ? '' : t(this.all.length ? 'nothingFound' : 'noEvents'))
  }

  makeRow() {
    return el('tr', {}, el('td', { class: 'mono' }), el('th', { scope: 'row' }), el('td'),
      el('td', {}, el('button', { type: 'button', class: 'link mono', click: event => this.open(event.currentTarget.closest('tr').item.call_id) })),
      el('td', { class: 'why' }, el('div')))
  }
}

const SERVER = new Set(['listener', 'configuration', 'refresh', 'database', 'snapshot'])
const TROUBLE = new Set(['app.failed', 'app.replaced', 'bot.ended', 'recording.failed', 'gate.failed', 'leg.refused', 'leg.codec', 'call.interrupted', 'snapshot'])

// Return whether an event is of a kind: calls, changes by somebody, the server itself, what went wrong; empty for all.
function isOfKind(record, kind) {
  const family = record.event.split('.')[0]
  if (kind === 'changes') return family === 'api'
  if (kind === 'server') return SERVER.has(family)
  if (kind === 'calls') return family !== 'api' && !SERVER.has(family)
  if (kind === 'wrong') return TROUBLE.has(record.event) || ['down', 'degraded', 'failed'].includes(record.state) || record.code >= 400
  return true
}

const searched = record => `${JSON.stringify(record)} ${eventName(record)}`.toLowerCase()

function writeRow(row, record) {
  const [when, name, extension, call, what] = row.cells
  setText(when, record.at ? clockTime(record.at) : '')
  setText(name, eventName(record))
  setText(extension, record.number ?? (record.extension === undefined ? '' : `ID ${record.extension}`))
  setText(call.firstChild, record.call_id?.slice(0, 8) ?? '')
  call.firstChild.hidden = !record.call_id
  setText(what.firstChild, eventDetails(record))
  if (what.firstChild.title !== what.firstChild.textContent) what.firstChild.title = what.firstChild.textContent
}
