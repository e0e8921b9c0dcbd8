// What an operator may do with an extension; each question says what it touches. changed() is called afterwards.
import { request } from './api.js'
import { ask } from './questions.js'
import { number, t } from './words.js'

export const addExtension = changed => ask({
  title: t('addExtension'), text: [t('addTouches')], fields: fields({}), yes: t('add'),
  act: async values => {
    await request('POST', '/api/extensions', body(values, {}))
    changed()
  },
})

export const changeExtension = (one, changed) => ask({
  title: t('changeTitle', { name: one.ramal_ia }), text: [touches('changeTouches', one)], fields: fields(one), yes: t('change'),
  act: async values => {
    await request('PUT', `/api/extensions/${one.id}`, body(values, one))
    changed()
  },
})

export const restartExtension = (one, changed) => ask({
  title: t('restartTitle', { name: one.ramal_ia }), text: [touches('restartTouches', one)], yes: t('restart'),
  act: async () => {
    await request('POST', '/api/restart', { extension_id: one.id })
    changed()
  },
})

export const removeExtension = (one, changed) => ask({
  title: t('removeTitle', { name: one.ramal_ia }), text: [touches('removeTouches', one)], yes: t('remove'), kind: 'danger',
  act: async () => {
    await request('DELETE', `/api/extensions/${one.id}`)
    changed()
  },
})

export async function showApps(one) {
  const answer = await request('GET', `/api/extensions/${one.id}/apps`)
  const line = role => t('appsLine', { role: t(role), app: answer[role].app, from: answer[role].from })
  return ask({ title: t('appsTitle', { name: one.ramal_ia }), text: [line('visitor'), line('resident')], yes: t('close'), act: async () => {} })
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
