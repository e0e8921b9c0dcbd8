// What is said of an event, of the stream or of a call's timeline.
import { hasWord, t } from './words.js'

const IDENTITY = new Set(['id', 'at', 'at_seconds', 'event', 'call_id', 'extension', 'number', 'role'])

export const eventName = record => (hasWord(`event.${record.event}`) ? t(`event.${record.event}`) : record.event)

const shown = value => (typeof value === 'object' ? JSON.stringify(value) : value)

// Return the fields of an event in words.
export function eventDetails(record) {
  if (record.event === 'api.changed') {
    return t('changedBy', { who: [record.by, record.peer].filter(Boolean).join(', '), what: record.remark || `${record.method} ${record.path}`, code: record.code })
  }
  if (record.event === 'listener.changed' && record.more === undefined) {
    const state = hasWord(`state.${record.state}`) ? t(`state.${record.state}`) : record.state
    return [state, Object.values(record.ports ?? {}).join(', '), record.reason].filter(Boolean).join(' · ')
  }
  const fields = Object.entries(record).filter(([name, value]) => !IDENTITY.has(name) && value !== '' && value !== null)
  if (record.event === 'return.attempt' && record.at_seconds !== undefined) fields.unshift(['number', record.number])
  const kind = record.event.split('.')[1]
  return fields.map(([name, value]) => (name === kind ? shown(value) : `${name} ${shown(value)}`)).join(', ')
}
