// The table of extensions: where the running ones come from, and what a refresh would change, before it does.
import { byId, el, setText } from './dom.js'
import { get, request } from './api.js'
import { ask, sentence } from './questions.js'
import { duration, hasWord, number, t } from './words.js'

const KINDS = ['added', 'updated', 'removed']
const MOST_LINES = 200 // of each kind; more are counted
const FIELDS = { ramal_ia: 'numberOfExtension', ramal_retorno: 'returnShort', porta_ia: 'visitorPort', porta_retorno: 'residentPort', condominio_id: 'condominium', ip_servidor: 'address' }

export class Changes {
  // changed() is called after a refresh; running() returns the extensions that run, calls(id) how many they have.
  constructor(changed, running, calls) {
    this.changed = changed
    this.running = running
    this.calls = calls
    this.preview = null
    byId('table-compare').addEventListener('click', () => this.compare())
    byId('table-apply').addEventListener('click', () => this.apply())
  }

  update(status) {
    const { configuration, database } = status
    const age = configuration.age_seconds === null ? '' : duration(configuration.age_seconds)
    setText(byId('table-state'), t(`source.${configuration.source}`, { age }))
    for (const id of ['table-compare', 'table-apply']) byId(id).disabled = !database.configured
  }

  // Read the table and show what is different, without applying it.
  async compare() {
    const box = byId('table-preview')
    setText(box, t('comparing'))
    let table
    try {
      this.preview = await request('POST', '/api/refresh', { dry_run: true })
      table = await get('/api/extensions')
    } catch (error) {
      this.preview = null
      box.replaceChildren(el('p', { class: 'failure' }, sentence(error)))
      byId('table-apply').hidden = true
      return
    }
    const lines = this.lines(new Map(table.extensions.map(row => [row.id, row])))
    box.replaceChildren(lines.length ? el('ul', { class: 'diff' }, ...lines) : el('p', {}, t('noDifference')))
    byId('table-apply').hidden = this.count() === 0
  }

  count() {
    const { diff } = this.preview
    return KINDS.reduce((sum, kind) => sum + (diff[kind]?.length ?? 0), 0)
  }

  // Return the lines of the preview; rows are those of the table by id.
  lines(rows) {
    const { diff, rejected_rows: rejected } = this.preview
    const runs = new Map(this.running().map(one => [one.id, one]))
    const found = []
    for (const kind of KINDS) {
      const ids = diff[kind] ?? []
      for (const id of ids.slice(0, MOST_LINES)) {
        const old = runs.get(id), row = rows.get(id)
        const name = (old ?? row)?.ramal_ia ?? `ID ${id}`
        found.push(el('li', { class: kind }, t(`diff.${kind}`, { name, calls: this.callsOf(id) }), valuesOf(kind, old, row)))
      }
      if (ids.length > MOST_LINES) found.push(el('li', { class: kind }, t('diff.more', { n: number(ids.length - MOST_LINES) })))
    }
    for (const row of rejected) found.push(el('li', { class: 'rejected' }, t('diff.rejected', { name: row.id ?? '?', reason: row.reason })))
    return found
  }

  callsOf(id) {
    const n = this.calls(id)
    return t(n === 1 ? 'oneCall' : 'nCalls', { n: number(n) })
  }

  async apply() {
    const done = await ask({
      title: t('applyTitle'), text: [t('applyTouches', { n: number(this.count()) })], yes: t('apply'),
      act: async () => {
        const answer = await request('POST', '/api/refresh', {})
        this.result = hasWord(`refresh.${answer.result}`) ? t(`refresh.${answer.result}`, { reason: answer.reason }) : answer.result
        this.changed()
      },
    })
    if (!done) return
    byId('table-preview').replaceChildren(el('p', {}, this.result))
    byId('table-apply').hidden = true
  }
}

// Return the fields that change, with the old and the new value, or the values of a row that is added.
function valuesOf(kind, old, row) {
  if (kind === 'removed' || !row) return null
  const before = { ...old, ip_servidor: old?.ip }
  const said = value => (value === null || value === undefined || value === '' ? '–' : String(value))
  const names = Object.keys(FIELDS).filter(name => (kind === 'added' ? said(row[name]) !== '–' : said(before[name]) !== said(row[name])))
  return el('ul', {}, ...names.map(name => el('li', {}, `${t(FIELDS[name])}: `,
    ...(kind === 'added' ? [] : [el('del', {}, said(before[name])), ' → ']), el('ins', {}, said(row[name])))))
}
