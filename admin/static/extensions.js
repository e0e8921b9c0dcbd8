// The extensions: what runs on which port since when, and what went wrong last.
import { byId, el, setClass, setText } from './dom.js'
import { addExtension, changeExtension, removeExtension, restartExtension, showApps } from './extension-actions.js'
import { eventDetails, eventName } from './event-words.js'
import { Rows } from './rows.js'
import { hasWord, momentText, number, t } from './words.js'

const LEVELS = { listening: 'good', degraded: 'warn', failed: 'bad' }
const WORST_FIRST = { failed: 0, degraded: 1, listening: 2 }
// Events that are the last error of their extension.
const ERRORS = new Set(['app.failed', 'app.replaced', 'bot.ended', 'recording.failed', 'gate.failed', 'leg.codec'])

export class Extensions {
  // changed() is called after something was changed.
  constructor(changed) {
    this.changed = changed
    this.all = []
    this.live = {}
    this.errors = new Map()
    this.stale = false // an error has come since the list was drawn
    this.rows = new Rows(byId('extensions'), byId('extensions-scroll'), () => this.makeRow(), (row, one) => this.writeRow(row, one))
    byId('extensions-filter').addEventListener('input', () => this.draw())
    byId('extensions-wrong').addEventListener('change', () => this.draw())
    byId('extension-add').addEventListener('click', () => addExtension(this.changed))
  }

  // all are the running extensions, live the calls by extension id.
  update(all, live) {
    const same = all === this.all
    this.all = all
    this.live = live
    if (same && !this.stale) this.rows.draw() // the order is that of before: only the rows in sight are written
    else this.draw()
  }

  // Remember the latest error of each extension.
  happened(record) {
    if (!ERRORS.has(record.event)) return
    this.errors.set(record.extension, record)
    this.stale = true
  }

  calls(id) {
    return this.live[id] ?? 0
  }

  draw() {
    this.stale = false
    const wanted = byId('extensions-filter').value.trim().toLowerCase()
    const wrong = byId('extensions-wrong').checked
    const matches = each => !wanted || `${each.ramal_ia} ${each.ramal_retorno} ${each.porta_ia} ${each.porta_retorno ?? ''} ${each.condominio_id} ${each.visitor_app} ${each.resident_app}`.toLowerCase().includes(wanted)
    const shown = this.all.filter(each => (!wrong || each.state !== 'listening' || this.errors.has(each.id)) && matches(each))
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
    const act = (word, what) => el('button', { type: 'button', class: word === 'apps' ? 'link' : 'small', 'data-act': word, click: event => this.ask(what, event.currentTarget.closest('tr').item) })
    return el('tr', {},
      el('th', { scope: 'row' }), el('td', {}, el('span', { class: 'state' }), el('small', { class: 'since' })),
      el('td', { class: 'port' }), el('td', { class: 'port' }), el('td', { class: 'right' }),
      el('td', { class: 'runs' }, act('apps', showApps)), el('td', { class: 'why' }, el('div')),
      el('td', {}, act('change', changeExtension), ' ', act('restart', restartExtension), ' ', act('remove', removeExtension)))
  }

  ask(what, one) {
    return what({ ...one, live_calls: this.calls(one.id) }, this.changed)
  }

  writeRow(row, one) {
    const [name, state, visitor, resident, calls, runs, why, actions] = row.cells
    setText(name, one.ramal_ia)
    setClass(state.firstChild, `state ${LEVELS[one.state] ?? 'idle'}`)
    setText(state.firstChild, hasWord(`state.${one.state}`) ? t(`state.${one.state}`) : one.state)
    setText(state.lastChild, t('stateSince', { at: momentText(one.since) }))
    writePort(visitor, one.porta_ia, one.actual_porta_ia)
    writePort(resident, one.porta_retorno, one.actual_porta_retorno)
    const live = this.calls(one.id)
    setText(calls, live ? number(live) : '')
    const apps = runs.firstChild
    setText(apps, one.visitor_app === one.resident_app ? one.visitor_app : `${one.visitor_app} / ${one.resident_app}`)
    label(apps, `${apps.textContent}, ${t('apps')}`, one)
    const error = this.errors.get(one.id)
    setText(why.firstChild, one.reason || (error ? `${momentText(error.at)} ${eventName(error)}: ${eventDetails(error)}` : ''))
    for (const button of actions.children) {
      setText(button, t(button.dataset.act))
      label(button, t(button.dataset.act), one)
    }
  }
}

function label(button, word, one) {
  const text = `${word}: ${one.ramal_ia}`
  if (button.ariaLabel !== text) button.ariaLabel = text
}

function writePort(cell, configured, actual) {
  const text = configured === null ? '–' : configured === actual ? String(configured) : `${configured} → ${actual ?? t('closed')}`
  if (cell.dataset.text === text) return
  cell.dataset.text = text
  if (configured === null || configured === actual) cell.replaceChildren(text)
  else cell.replaceChildren(el('s', {}, String(configured)), ' → ', el('b', {}, actual === null ? t('closed') : String(actual)))
}
