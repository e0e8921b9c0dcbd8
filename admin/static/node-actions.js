// What an operator may do with a node of the fleet; each question says what it touches. changed() is called afterwards.
import { ApiError, request } from './api.js'
import { ask } from './questions.js'
import { number, t } from './words.js'

// alone says that no other node takes new calls.
export const drainNode = (node, alone, changed) => ask({
  title: t('nodeDrainTitle', { name: node.name }), yes: t('nodeDrain'),
  text: [t('nodeDrainTouches', { calls: t(node.calls === 1 ? 'oneCall' : 'nCalls', { n: number(node.calls) }) }), ...(alone ? [t('nodeAlone')] : [])],
  act: () => command('drain', node.name, changed),
})

export const undrainNode = (node, alone, changed) => ask({
  title: t('nodeUndrainTitle', { name: node.name }), yes: t('nodeUndrain'), text: [t('nodeUndrainTouches')],
  act: () => command('undrain', node.name, changed),
})

// Give the node a command; fail with what it says if it did not do it, also if it has not answered.
async function command(action, name, changed) {
  const { command: given } = await request('POST', '/api/fleet/commands', { action, node: name })
  changed()
  const result = given.results.find(each => each.node === name)
  if (!result) throw new ApiError(504, t('nodeSilent', { name }))
  if (!result.done) throw new ApiError(409, result.message)
}
