// The calls: those that go on, and on request those that have ended.
import { byId, el, setClass, setText } from './dom.js'
import { request } from './api.js'
import { ask } from './questions.js'
import { Rows } from './rows.js'
import { duration, hasWord, number, t } from './words.js'

export const LIVE_LEVELS = { live: 'good', suspended: 'warn', ended: 'idle' }

export class Calls {
  // changed() is called after something was changed, open(call_id) to show one call.
  constructor(changed, open) {
    this.changed = changed
    this.open = open
    this.all = []
    this.rows = new Rows(byId('calls'), byId('calls-scroll'), () => this.makeRow(), writeRow)
    byId('calls-filter').addEventListener('input', () => this.draw())
    byId('calls-ended').addEventListener('change', () => this.draw())
  }

  update(all) {
    this.all = all
    this.draw()
  }

  draw() {
    const wanted = byId('calls-filter').value.trim().toLowerCase()
    const ended = byId('calls-ended').checked
    const shown = this.all.filter(each => (ended || each.state !== 'ended') && searched(each).includes(wanted))
    this.rows.show(shown)
    setText(byId('calls-count'), number(shown.length))
    setText(byId('calls-empty'), shown.length ? '' : t(ended || wanted ? 'nothingFound' : 'noCalls'))
  }

  makeRow() {
    const act = (word, kind, what) => el('button', { type: 'button', class: kind, 'data-act': word, click: event => what(event.currentTarget.closest('tr').item) })
    const state = () => el('td', {}, el('span', { class: 'state' }))
    return el('tr', {},
      el('td', {}, el('button', { type: 'button', class: 'link mono', click: event => this.open(event.currentTarget.closest('tr').item.call_id) })),
      el('td'), el('td'), state(), state(), el('td', { class: 'right' }), el('td', { class: 'right' }),
      el('td', {},
        act('hangUp', 'small', call => hangUp(call, this.changed)), ' ',
        act('callResident', 'small', call => callResident(call, this.changed)), ' ',
        act('stopRinging', 'small', call => stopRinging(call, this.changed))))
  }
}

export const liveLeg = (call, role) => call.legs.find(leg => leg.role === role && leg.state === 'live')
export const rings = call => Boolean(call.return && !['connected', 'failed', 'cancelled'].includes(call.return.state))
export const mayRing = call => Boolean(liveLeg(call, 'visitor') && !liveLeg(call, 'resident') && !rings(call) && call.extension.porta_retorno)

const caller = call => call.caller?.name || call.caller?.number || call.caller?.channel || call.legs[0]?.peer || ''
export const callerText = caller
const searched = call => `${call.call_id} ${call.extension.ramal_ia} ${caller(call)} ${call.caller?.number ?? ''} ${call.outcome ?? ''}`.toLowerCase()

export async function hangUp(call, changed) {
  const roles = ['visitor', 'resident'].filter(role => liveLeg(call, role))
  const which = roles.map(role => t(role)).join(', ')
  await ask({
    title: t('hangUpTitle', { id: call.call_id.slice(0, 8) }), text: [t('hangUpTouches', { name: call.extension.ramal_ia, legs: which })],
    fields: [{ name: 'reason', label: t('hangUpReason'), maxlength: 200 }], yes: t('hangUp'), kind: 'danger',
    act: async ({ reason }) => {
      for (const role of roles) await request('POST', '/api/hangup', { call_id: call.call_id, role, ...(reason && { reason }) })
      changed()
    },
  })
}

export async function callResident(call, changed) {
  await ask({
    title: t('ringTitle', { name: call.extension.ramal_ia }), text: [t('ringTouches')],
    fields: [{ name: 'number', label: t('residentNumber'), required: true, inputmode: 'tel', maxlength: 50 }], yes: t('callResident'),
    act: async values => {
      await request('POST', `/api/calls/${call.call_id}/return`, { number: values.number })
      changed()
    },
  })
}

export async function stopRinging(call, changed) {
  await ask({
    title: t('stopRingingTitle'), text: [t('stopRingingTouches', { name: call.extension.ramal_ia })], yes: t('stopRinging'),
    act: async () => {
      await request('DELETE', `/api/calls/${call.call_id}/return`)
      changed()
    },
  })
}

export const outcomeText = outcome => (hasWord(`outcome.${outcome}`) ? t(`outcome.${outcome}`) : outcome)
export const returnText = state => (hasWord(`return.${state}`) ? t(`return.${state}`) : state)

function writeRow(row, call) {
  const [id, extension, from, visitor, resident, seconds, late, actions] = row.cells
  setText(id.firstChild, call.call_id.slice(0, 8))
  setText(extension, call.extension.ramal_ia)
  setText(from, caller(call))
  writeLeg(visitor.firstChild, call, 'visitor')
  writeLeg(resident.firstChild, call, 'resident')
  setText(seconds, duration(call.duration_seconds))
  const sum = call.legs.reduce((total, leg) => total + leg.late_turns, 0)
  setText(late, sum ? number(sum) : '')
  const possible = { hangUp: call.state === 'live', callResident: mayRing(call), stopRinging: rings(call) }
  for (const button of actions.children) {
    const word = button.dataset.act
    button.hidden = !possible[word]
    setText(button, t(word))
    const label = `${t(word)}: ${call.extension.ramal_ia}, ${call.call_id.slice(0, 8)}`
    if (button.ariaLabel !== label) button.ariaLabel = label
  }
}

function writeLeg(node, call, role) {
  const leg = call.legs.findLast(each => each.role === role)
  if (!leg) {
    const known = role === 'resident' && call.return
    setClass(node, known ? 'state idle' : 'soft')
    setText(node, known ? returnText(call.return.state) : '–')
    return
  }
  setClass(node, `state ${LIVE_LEVELS[leg.state] ?? 'idle'}`)
  setText(node, leg.outcome ? outcomeText(leg.outcome) : `${t(`leg.${leg.state}`)}, ${leg.rate / 1000} kHz`)
}
