// The extensions: what runs on which port, and what may be changed about them.
import { byId, el, setClass, setText } from './dom.js'
import { request } from './api.js'
import { ask } from './questions.js'
import { Rows } from './rows.js'
import { hasWord, number, t } from './words.js'

const LEVELS = { listening: 'good', degraded: 'warn', failed: 'bad' }
const WORST_FIRST = { failed: 0, degraded: 1, listening: 2 }

export class Extensions {
  // changed() is called after something was changed.
  constructor(changed) {
    this.changed = changed
    this.all = []
    this.rows = new Rows(byId('extensions'), byId('extensions-scroll'), () => this.makeRow(), writeRow)
    byId('extensions-filter').addEventListener('input', () => this.draw())
    byId('extensions-wrong').addEventListener('change', () => this.draw())
    byId('extension-add').addEventListener('click', () => this.add())
  }

  update(all) {
    this.all = all
    this.draw()
  }

  draw() {
    const wanted = byId('extensions-filter').value.trim().toLowerCase()
    const wrong = byId('extensions-wrong').checked
    const matches = each => `${each.ramal_ia} ${each.ramal_retorno} ${each.porta_ia} ${each.porta_retorno ?? ''} ${each.condominio_id}`.toLowerCase().includes(wanted)
    const shown = this.all.filter(each => (!wrong || each.state !== 'listening') && matches(each))
    shown.sort((a, b) => WORST_FIRST[a.state] - WORST_FIRST[b.state] || a.id - b.id)
    this.rows.show(shown)
    setText(byId('extensions-count'), shown.length === this.all.length ? number(shown.length) : `${number(shown.length)} / ${number(this.all.length)}`)
    setText(byId('extensions-empty'), shown.length ? '' : t('noExtensions'))
  }

  // Scroll to one extension and show it alone.
  find(id) {
    const one = this.all.find(each => each.id === id)
    byId('extensions-wrong').checked = false
    byId('extensions-filter').value = one?.ramal_ia ?? ''
    this.draw()
    byId('extensions-card').scrollIntoView({ block: 'nearest' })
    byId('extensions-filter').focus()
  }

  makeRow() {
    const act = (word, what) => el('button', { type: 'button', class: 'small', 'data-act': word, click: event => what.call(this, event.currentTarget.closest('tr').item) })
    return el('tr', {},
      el('th', { scope: 'row' }), el('td', {}, el('span', { class: 'state' })),
      el('td', { class: 'port' }), el('td', { class: 'port' }), el('td', { class: 'right' }),
      el('td', { class: 'why' }, el('div')),
      el('td', {}, act('change', this.change), ' ', act('restart', this.restart), ' ', act('remove', this.remove), ' ', act('apps', this.apps)))
  }

  add() {
    return ask({
      title: t('addExtension'), text: [t('addTouches')], fields: fields({}), yes: t('add'),
      act: async values => {
        await request('POST', '/api/extensions', body(values, {}))
        this.changed()
      },
    })
  }

  change(one) {
    return ask({
      title: t('changeTitle', { name: one.ramal_ia }), text: [touches('changeTouches', one)], fields: fields(one), yes: t('change'),
      act: async values => {
        await request('PUT', `/api/extensions/${one.id}`, body(values, one))
        this.changed()
      },
    })
  }

  restart(one) {
    return ask({
      title: t('restartTitle', { name: one.ramal_ia }), text: [touches('restartTouches', one)], yes: t('restart'),
      act: async () => {
        await request('POST', '/api/restart', { extension_id: one.id })
        this.changed()
      },
    })
  }

  remove(one) {
    return ask({
      title: t('removeTitle', { name: one.ramal_ia }), text: [touches('removeTouches', one)], yes: t('remove'), kind: 'danger',
      act: async () => {
        await request('DELETE', `/api/extensions/${one.id}`)
        this.changed()
      },
    })
  }

  async apps(one) {
    const answer = await request('GET', `/api/extensions/${one.id}/apps`)
    const line = role => t('appsLine', { role: t(role), app: answer[role].app, from: answer[role].from })
    return ask({ title: t('appsTitle', { name: one.ramal_ia }), text: [line('visitor'), line('resident')], yes: t('close'), act: async () => {} })
  }
}

// Return what will be touched: the ports, and how many calls go on on them.
const touches = (key, one) => t(key, {
  ports: [one.actual_porta_ia, one.actual_porta_retorno].filter(Boolean).join(', ') || '–',
  calls: t(one.live_calls === 1 ? 'oneCall' : 'nCalls', { n: number(one.live_calls) }),
})

const fields = one => [
  { name: 'ramal_ia', label: t('numberOfExtension'), value: one.ramal_ia, required: true, maxlength: 50 },
  { name: 'ramal_retorno', label: t('returnNumber'), value: one.ramal_retorno, maxlength: 50 },
  { name: 'porta_ia', label: t('visitorPort'), value: one.porta_ia, required: true, inputmode: 'numeric', maxlength: 5 },
  { name: 'porta_retorno', label: t('residentPort'), value: one.porta_retorno, inputmode: 'numeric', maxlength: 5 },
  { name: 'condominio_id', label: t('condominium'), value: one.condominio_id, inputmode: 'numeric', maxlength: 9 },
]

// Return the fields that differ from the extension as it is; numbers stay text where they are none: the server says so.
function body(values, one) {
  const found = {}
  for (const [name, value] of Object.entries(values)) {
    if (String(one[name] ?? '') === value) continue
    if (name === 'condominio_id') {
      if (value !== '') found[name] = /^\d+$/.test(value) ? Number(value) : value
    } else found[name] = name === 'porta_retorno' && value === '' ? null : value
  }
  return found
}

function writeRow(row, one) {
  const [name, state, visitor, resident, calls, why, actions] = row.cells
  setText(name, one.ramal_ia)
  setClass(state.firstChild, `state ${LEVELS[one.state] ?? 'idle'}`)
  setText(state.firstChild, hasWord(`state.${one.state}`) ? t(`state.${one.state}`) : one.state)
  writePort(visitor, one.porta_ia, one.actual_porta_ia)
  writePort(resident, one.porta_retorno, one.actual_porta_retorno)
  setText(calls, one.live_calls ? number(one.live_calls) : '')
  setText(why.firstChild, one.reason)
  for (const button of actions.children) {
    setText(button, t(button.dataset.act))
    const label = `${t(button.dataset.act)}: ${one.ramal_ia}`
    if (button.ariaLabel !== label) button.ariaLabel = label
  }
}

function writePort(cell, configured, actual) {
  const text = configured === null ? '–' : configured === actual ? String(configured) : `${configured} → ${actual ?? t('closed')}`
  if (cell.dataset.text === text) return
  cell.dataset.text = text
  if (configured === null || configured === actual) cell.replaceChildren(text)
  else cell.replaceChildren(el('s', {}, String(configured)), ' → ', el('b', {}, actual === null ? t('closed') : String(actual)))
}
