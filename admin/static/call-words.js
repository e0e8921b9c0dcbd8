// What is said of a call. Pure: a call of the API in, a text or a truth out.
import { hasWord, t } from './words.js'

export const liveLeg = (call, role) => call.legs.find(leg => leg.role === role && leg.state === 'live')
export const rings = call => Boolean(call.return && !['connected', 'failed', 'cancelled'].includes(call.return.state))
export const mayRing = call => Boolean(liveLeg(call, 'visitor') && !liveLeg(call, 'resident') && !rings(call) && call.extension.porta_retorno)
export const callerText = call => call.caller?.name || call.caller?.number || call.caller?.channel || call.legs[0]?.peer || ''
export const outcomeText = outcome => (hasWord(`outcome.${outcome}`) ? t(`outcome.${outcome}`) : outcome)
export const returnText = state => (hasWord(`return.${state}`) ? t(`return.${state}`) : state)
export const attemptText = end => (hasWord(`attempt.${end}`) ? t(`attempt.${end}`) : end)
