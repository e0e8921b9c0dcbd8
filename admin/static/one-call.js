// One call: its timeline drawn, the numbers beside it, every event in words. Its link is /#/calls/UUID.
import { byId, el } from './dom.js'
import { get } from './api.js'
import { callResident, hangUp, stopRinging } from './call-actions.js'
import { attemptText, callerText, mayRing, outcomeText, returnText, rings } from './call-words.js'
import { eventDetails, eventName } from './event-words.js'
import { drawLevels, makeLevels } from './levels.js'
import { sentence } from './questions.js'
import { drawing, legend } from './timeline.js'
import { clockTime, duration, number, t } from './words.js'

const LINK = /^#\/calls\/([0-9a-fA-F-]{36})$/

// Return the id of the call that an address names, or nothing.
export const linkedCall = hash => LINK.exec(hash)?.[1]

export class OneCall {
  // changed() is called after something was changed.
  constructor(changed) {
    this.changed = changed
    this.dialog = byId('one-call')
    this.shown = ''
    this.id = ''
    this.dialog.addEventListener('close', () => {
      this.id = ''
      if (linkedCall(location.hash)) history.replaceState(null, '', location.pathname)
    })
  }

  async open(id) {
    this.id = id
    this.shown = ''
    history.replaceState(null, '', `#/calls/${id}`)
    await this.update()
  }

  // Read the call again; draw it only where something is different.
  async update() {
    const id = this.id
    if (!id) return
    let call
    try {
      call = (await get(`/api/calls/${encodeURIComponent(id)}`)).call
    } catch (error) {
      if (error.status === 404 || error.status === 400) this.draw(el('p', {}, sentence(error)))
      else if (error.status === undefined) throw error
      return
    }
    if (id !== this.id) return
    const text = JSON.stringify(call.state === 'ended' ? call : { ...call, duration_seconds: Math.floor(call.duration_seconds) }) + t('close')
    if (text === this.shown) return
    this.shown = text
    this.draw(...this.content(call))
  }

  draw(...content) {
    const { activeElement } = document
    const focused = this.dialog.open && this.dialog.contains(activeElement) ? activeElement.dataset.act : null
    const scrolled = this.dialog.scrollTop
    const close = el('button', { type: 'button', 'data-act': 'close', click: () => this.dialog.close() }, t('close'))
    this.dialog.replaceChildren(
      el('div', { class: 'head' }, el('h2', { id: 'one-call-title' }, t('callTitle', { id: this.id.slice(0, 8) })), close), ...content)
    if (!this.dialog.open) this.dialog.showModal()
    this.dialog.scrollTop = scrolled
    if (focused) this.dialog.querySelector(`[data-act="${focused}"]`)?.focus()
  }

  content(call) {
    const act = (word, kind, possible, what) => (possible ? el('button', { type: 'button', class: kind, 'data-act': word, click: () => what(call, () => { this.changed(); this.update() }) }, t(word)) : null)
    return [
      facts(call),
      el('div', { class: 'timeline', tabindex: '0', role: 'group', 'aria-label': t('timeline'), 'data-act': 'timeline' }, drawing(call)),
      legend(),
      el('p', { class: 'buttons' },
        act('hangUp', 'danger', call.state === 'live', hangUp),
        act('callResident', '', mayRing(call), callResident),
        act('stopRinging', '', rings(call), stopRinging),
        el('button', { type: 'button', 'data-act': 'copy', click: event => this.copy(event.currentTarget) }, t('copyLink'))),
      el('h3', {}, t('legs')), legs(call),
      ...attempts(call),
      el('h3', {}, t('events')), steps(call),
    ]
  }

  async copy(button) {
    try {
      await navigator.clipboard.writeText(location.href)
      button.textContent = t('copied')
    } catch {
      button.replaceWith(el('input', { readonly: true, value: location.href, 'aria-label': t('copyLink') })) // no clipboard without HTTPS
    }
  }
}

function facts(call) {
  const fact = (name, value) => (value === '' || value === null ? null : el('div', {}, el('dt', {}, t(name)), el('dd', {}, value)))
  const ring = call.return
  return el('dl', { class: 'facts' },
    fact('extension', call.extension.ramal_ia), fact('caller', callerText(call)), fact('began', clockTime(call.started_at)),
    fact('duration', duration(call.duration_seconds)), fact('result', call.outcome ? outcomeText(call.outcome) : t(`leg.${call.state}`)),
    fact('returnCall', ring ? [returnText(ring.state), ring.reason].filter(Boolean).join(': ') : ''), fact('uuid', call.call_id))
}

function legs(call) {
  const columns = ['role', 'state', 'peer', 'rate', 'level', 'framesIn', 'framesOut', 'silence', 'late', 'underruns']
  const level = leg => {
    const box = makeLevels()
    drawLevels(box, leg)
    return el('td', {}, box)
  }
  const row = leg => el('tr', {}, el('th', { scope: 'row' }, t(leg.role)), ...[
    leg.outcome ? outcomeText(leg.outcome) : t(`leg.${leg.state}`), `${leg.peer} → ${leg.port}`, `${leg.rate / 1000} kHz`,
  ].map(text => el('td', {}, text)), level(leg), ...[leg.frames_in, leg.frames_out, leg.silence_out, leg.late_turns, leg.underruns].map(value => el('td', { class: 'right' }, number(value))))
  return table('legs', columns, 5, call.legs.map(row))
}

// The ring attempts of all return calls in order; nothing where no resident was called.
function attempts(call) {
  const all = [...call.earlier_returns, ...(call.return ? [call.return] : [])].flatMap(each => each.attempts)
  if (!all.length) return []
  const row = one => el('tr', {}, el('th', { scope: 'row' }, one.number), el('td', {}, one.end ? attemptText(one.end) : t('ringingNow')),
    el('td', {}, one.reason), el('td', { class: 'right' }, `${number(one.seconds, 1)} s`))
  return [el('h3', {}, t('ringAttempts')), table('ringAttempts', ['numberRung', 'result', 'reason', 'duration'], 3, all.map(row))]
}

const table = (label, columns, right, rows) => el('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': t(label), 'data-act': label }, el('table', { class: 'legs' },
  el('thead', {}, el('tr', {}, ...columns.map((name, i) => el('th', { scope: 'col', class: i >= right ? 'right' : null }, t(name))))),
  el('tbody', {}, ...rows)))

const steps = call => el('ol', { class: 'steps' }, ...call.timeline.map(entry => el('li', {},
  el('time', {}, `${number(entry.at_seconds, 1)} s`), el('strong', {}, eventName(entry)),
  el('span', {}, [entry.role ? t(entry.role) : '', eventDetails(entry)].filter(Boolean).join(': ')))))
