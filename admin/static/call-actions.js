// What an operator may do with a call; each question says what it touches. changed() is called afterwards.
import { request } from './api.js'
import { liveLeg } from './call-words.js'
import { ask } from './questions.js'
import { t } from './words.js'

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
