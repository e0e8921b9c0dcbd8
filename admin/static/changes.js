// The table of extensions: where the running ones come from, and what a refresh would change, before it does.
import { byId, el, setText } from './dom.js'
import { request } from './api.js'
import { ask, sentence } from './questions.js'
import { duration, hasWord, number, t } from './words.js'

export class Changes {
  // changed() is called after a refresh; running() returns the extensions that run.
  constructor(changed, running) {
    this.changed = changed
    this.running = running
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
    try {
      this.preview = await request('POST', '/api/refresh', { dry_run: true })
    } catch (error) {
      this.preview = null
      box.replaceChildren(el('p', { class: 'failure' }, sentence(error)))
      byId('table-apply').hidden = true
      return
    }
    const lines = this.lines()
    box.replaceChildren(lines.length ? el('ul', { class: 'diff' }, ...lines) : el('p', {}, t('noDifference')))
    byId('table-apply').hidden = this.count() === 0
  }

  count() {
    const { diff } = this.preview
    return ['added', 'updated', 'removed'].reduce((sum, kind) => sum + (diff[kind]?.length ?? 0), 0)
  }

  lines() {
    const { diff, rejected_rows: rejected } = this.preview
    const found = []
    for (const kind of ['added', 'updated', 'removed']) {
      for (const id of diff[kind] ?? []) found.push(el('li', { class: kind }, t(`diff.${kind}`, { name: this.name(id), calls: this.calls(id) })))
    }
    for (const row of rejected) found.push(el('li', { class: 'rejected' }, t('diff.rejected', { name: row.id ?? '?', reason: row.reason })))
    return found
  }

  name(id) {
    return this.running().find(each => each.id === id)?.ramal_ia ?? `ID ${id}`
  }

  calls(id) {
    const n = this.running().find(each => each.id === id)?.live_calls ?? 0
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
