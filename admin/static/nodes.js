// The nodes of the fleet, where there is one: read beside the rest of the page, which does not wait for PostgreSQL.
import { get } from './api.js'
import { byId, el, setClass, setText } from './dom.js'
import { drainNode, undrainNode } from './node-actions.js'
import { sentence } from './questions.js'
import { Rows } from './rows.js'
import { duration, hasWord, number, t } from './words.js'

const LEVELS = { ready: 'good', draining: 'warn', stopping: 'warn', gone: 'bad' }
// States in which a node has calls, so that its configuration counts.
const SERVING = new Set(['ready', 'draining'])

export class Nodes {
  // changed() is called after something was changed.
  constructor(changed) {
    this.changed = changed
    this.asked = '' // the name of the node that was asked
    this.all = []
    this.failure = ''
    this.scope = ''
    this.reading = false
    this.rows = new Rows(byId('nodes'), byId('nodes-scroll'), () => this.makeRow(), (row, node) => this.writeRow(row, node))
  }

  // Read the nodes and show them, if the status is that of a node; not twice at once, as an answer may take a second.
  async read(status, ask) {
    const none = status.fleet.node === ''
    byId('nodes-card').hidden = none
    if (none || this.reading) return
    this.reading = true
    try {
      this.scope ||= (await get('/session')).scope
      const found = await ask('/api/fleet')
      this.asked = found.node
      this.all = found.nodes
      this.failure = ''
    } catch (error) {
      const text = sentence(error)
      if ([0, 401, 429].includes(error.status)) return // the page says so
      this.all = []
      this.failure = text
    } finally {
      this.reading = false
    }
    this.draw()
  }

  // Another token may allow something else.
  signedIn() {
    this.scope = ''
  }

  draw() {
    this.usual = usualGeneration(this.all)
    this.rows.show(this.all)
    setText(byId('nodes-count'), this.all.length ? number(this.all.length) : '')
    setText(byId('nodes-empty'), this.failure)
  }

  makeRow() {
    const act = (word, what) => el('button', { type: 'button', class: 'small', 'data-act': word, click: event => this.ask(what, event.currentTarget.closest('tr').item) })
    return el('tr', {},
      el('th', { scope: 'row' }, el('div', { class: 'node' }), el('small', { class: 'since' })), el('td', {}, el('span', { class: 'state' })),
      el('td', { class: 'right' }), el('td'), el('td', {}, el('span', { class: 'mono' }), el('small', { class: 'since' })),
      el('td', { class: 'right' }), el('td', {}, act('nodeDrain', drainNode), act('nodeUndrain', undrainNode)))
  }

  ask(what, node) {
    return what(node, !this.all.some(each => each.name !== node.name && each.state === 'ready'), this.changed)
  }

  writeRow(row, node) {
    const [name, state, calls, version, generation, seen, actions] = row.cells
    setText(name.firstChild, node.name)
    setText(name.lastChild, node.name === this.asked ? t('nodeAsked') : '')
    setClass(state.firstChild, `state ${LEVELS[node.state] ?? 'idle'}`)
    setText(state.firstChild, hasWord(`node.${node.state}`) ? t(`node.${node.state}`) : node.state)
    setText(calls, node.calls ? number(node.calls) : '')
    setText(version, node.version)
    const differs = SERVING.has(node.state) && node.generation !== this.usual
    setClass(generation.firstChild, differs ? 'mono state warn' : 'mono')
    setText(generation.firstChild, node.generation)
    setText(generation.lastChild, differs ? t('nodeDiffers') : '')
    setText(seen, node.seen_seconds_ago < 60 ? `${number(node.seen_seconds_ago, 1)} s` : duration(node.seen_seconds_ago))
    const possible = { nodeDrain: ['starting', 'ready'].includes(node.state), nodeUndrain: node.state === 'draining' }
    for (const button of actions.children) {
      const word = button.dataset.act
      button.hidden = this.scope === 'read' || !possible[word]
      setText(button, t(word))
      const label = `${t(word)}: ${node.name}`
      if (button.ariaLabel !== label) button.ariaLabel = label
    }
  }
}

// Return the generation that most of the serving nodes have, or null where two are as frequent: then all of them differ.
export function usualGeneration(nodes) {
  const counts = new Map()
  for (const { state, generation } of nodes) if (SERVING.has(state)) counts.set(generation, (counts.get(generation) ?? 0) + 1)
  const [first, second] = [...counts].sort((a, b) => b[1] - a[1])
  return first && first[1] !== second?.[1] ? first[0] : null
}
