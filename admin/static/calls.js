// The calls that go on: read a page at a time, the latest first; how long each lasts is counted in between.
import { byId, el, setClass, setText } from './dom.js'
import { callResident, hangUp, stopRinging } from './call-actions.js'
import { callerText, mayRing, outcomeText, returnText, rings } from './call-words.js'
import { drawLevels, makeLevels } from './levels.js'
import { Rows } from './rows.js'
import { duration, number, t } from './words.js'

export const LEG_LEVELS = { live: 'good', suspended: 'warn', ended: 'idle' }
const PAGE = 100, MOST = 1000

export class Calls {
  // changed() is called after something was changed or is wanted, open(call_id) to show one call.
  constructor(changed, open) {
    this.changed = changed
    this.open = open
    this.all = []
    this.total = 0
    this.limit = PAGE
    this.readAt = 0
    this.rows = new Rows(byId('calls'), byId('calls-scroll'), () => this.makeRow(), (row, call) => this.writeRow(row, call))
    byId('calls-filter').addEventListener('input', () => this.changed())
    byId('calls-more').addEventListener('click', () => {
      this.limit = Math.min(MOST, this.limit + (this.limit < 500 ? PAGE : 500))
      this.changed()
    })
  }

  get search() {
    return byId('calls-filter').value.trim()
  }

  // The path of what is shown.
  get path() {
    return `/api/calls?${new URLSearchParams({ state: 'live', limit: this.limit, search: this.search })}`
  }

  update(page) {
    this.all = page.calls
    this.total = page.total
    this.readAt = performance.now()
    this.draw()
  }

  draw() {
    this.rows.show(this.all)
    setText(byId('calls-count'), this.all.length < this.total ? `${number(this.all.length)} / ${number(this.total)}` : number(this.total))
    setText(byId('calls-empty'), this.all.length ? '' : t(this.search ? 'nothingFound' : 'noCalls'))
    byId('calls-more').hidden = this.all.length >= Math.min(this.total, MOST)
  }

  // Count on: the durations of the rows in sight.
  tick() {
    this.rows.draw()
  }

  makeRow() {
    const act = (word, what) => el('button', { type: 'button', class: 'small', 'data-act': word, click: event => what(event.currentTarget.closest('tr').item, this.changed) })
    const leg = () => el('td', {}, el('span', { class: 'leg' }, el('span', { class: 'state' }), makeLevels()))
    return el('tr', {},
      el('td', {}, el('button', { type: 'button', class: 'link mono', click: event => this.open(event.currentTarget.closest('tr').item.call_id) })),
      el('td'), el('td', {}, el('div', { class: 'caller' })), leg(), leg(), el('td', { class: 'right' }), el('td', { class: 'right' }),
      el('td', {}, act('hangUp', hangUp), ' ', act('callResident', callResident), ' ', act('stopRinging', stopRinging)))
  }

  writeRow(row, call) {
    const [id, extension, from, visitor, resident, seconds, late, actions] = row.cells
    setText(id.firstChild, call.call_id.slice(0, 8))
    setText(extension, call.extension.ramal_ia)
    setText(from.firstChild, callerText(call))
    writeLeg(visitor.firstChild, call, 'visitor')
    writeLeg(resident.firstChild, call, 'resident')
    setText(seconds, duration(call.duration_seconds + (call.state === 'live' ? (performance.now() - this.readAt) / 1000 : 0)))
    const sum = call.legs.reduce((total, leg) => total + leg.late_turns, 0)
    setText(late, sum ? number(sum) : '')
    const possible = { hangUp: call.state === 'live', callResident: mayRing(call), stopRinging: rings(call) }
    for (const button of actions.children) {
      const word = button.dataset.act
      if (button.hidden === possible[word]) button.hidden = !possible[word]
      setText(button, t(word))
      const label = `${t(word)}: ${call.extension.ramal_ia}, ${call.call_id.slice(0, 8)}`
      if (button.ariaLabel !== label) button.ariaLabel = label
    }
  }
}

function writeLeg(box, call, role) {
  const [node, levels] = box.children
  const leg = call.legs.findLast(each => each.role === role)
  drawLevels(levels, leg)
  if (leg) {
    setClass(node, `state ${LEG_LEVELS[leg.state] ?? 'idle'}`)
    setText(node, leg.outcome ? outcomeText(leg.outcome) : `${t(`leg.${leg.state}`)}, ${leg.rate / 1000} kHz`)
    return
  }
  const known = role === 'resident' && call.return
  setClass(node, known ? `state ${rings(call) ? 'warn' : 'idle'}` : 'soft')
  setText(node, known ? [returnText(call.return.state), call.return.reason].filter(Boolean).join(': ') : '–')
}

