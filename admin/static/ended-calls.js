// The calls that have ended: searched and paged by the server, the latest first.
import { byId, el, setText } from './dom.js'
import { get } from './api.js'
import { callerText, outcomeText, returnText } from './call-words.js'
import { sentence } from './questions.js'
import { Rows } from './rows.js'
import { clockTime, duration, number, t } from './words.js'

const PAGE = 25
const AGAIN_MS = 1000 // between two readings while calls end one after the other
const TYPING_MS = 300

export class EndedCalls {
  // open(call_id) shows one call.
  constructor(open) {
    this.open = open
    this.cursors = [''] // of the pages up to the one that is shown
    this.page = { calls: [], total: 0, next_cursor: null }
    this.failure = ''
    this.timer = 0
    this.rows = new Rows(byId('ended'), byId('ended-scroll'), () => this.makeRow(), writeRow)
    byId('ended-filter').addEventListener('input', () => {
      this.cursors = ['']
      this.readSoon(TYPING_MS)
    })
    byId('ended-newer').addEventListener('click', () => {
      this.cursors.pop()
      this.read()
    })
    byId('ended-older').addEventListener('click', () => {
      this.cursors.push(this.page.next_cursor)
      this.read()
    })
  }

  get search() {
    return byId('ended-filter').value.trim()
  }

  // A call has ended: the first page shows it; an older page stays as it is while somebody reads it.
  ended() {
    if (this.cursors.length === 1) this.timer ||= setTimeout(() => this.read(), AGAIN_MS)
  }

  readSoon(milliseconds) {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.read(), milliseconds)
  }

  async read() {
    clearTimeout(this.timer)
    this.timer = 0
    const cursor = this.cursors.at(-1), search = this.search
    try {
      const page = await get(`/api/calls?${new URLSearchParams({ state: 'ended', limit: PAGE, search, cursor })}`)
      if (cursor !== this.cursors.at(-1) || search !== this.search) return // somebody went on meanwhile
      this.page = page
      this.failure = ''
    } catch (error) {
      this.failure = sentence(error)
    }
    this.draw()
  }

  draw() {
    const { calls, total, next_cursor: next } = this.page
    this.rows.show(calls)
    const first = (this.cursors.length - 1) * PAGE
    setText(byId('ended-count'), calls.length ? t('range', { first: number(first + 1), last: number(first + calls.length), total: number(total) }) : number(total))
    setText(byId('ended-empty'), this.failure || (calls.length ? '' : t(this.search ? 'nothingFound' : 'noEnded')))
    byId('ended-newer').disabled = this.cursors.length === 1
    byId('ended-older').disabled = next === null
  }

  makeRow() {
    return el('tr', {},
      el('td', {}, el('button', { type: 'button', class: 'link mono', click: event => this.open(event.currentTarget.closest('tr').item.call_id) })),
      el('td'), el('td', {}, el('div', { class: 'caller' })), el('td'), el('td', { class: 'right' }), el('td'), el('td'), el('td', { class: 'right' }))
  }
}

function writeRow(row, call) {
  const [id, extension, from, began, seconds, result, ring, late] = row.cells
  setText(id.firstChild, call.call_id.slice(0, 8))
  setText(extension, call.extension.ramal_ia)
  setText(from.firstChild, callerText(call))
  setText(began, clockTime(call.started_at))
  setText(seconds, duration(call.duration_seconds))
  setText(result, call.outcome ? outcomeText(call.outcome) : '')
  setText(ring, call.return ? returnText(call.return.state) : '')
  const sum = call.legs.reduce((total, leg) => total + leg.late_turns, 0)
  setText(late, sum ? number(sum) : '')
}
