// Dialogs: a question before something is changed, and signing in. Escape and Cancel change nothing.
import { byId, el } from './dom.js'
import { ApiError, signIn } from './api.js'
import { t } from './words.js'

// Ask, and do it. fields are {name, label, value, type, required}; act(values) may fail with an ApiError, whose
// message is shown in the dialog, which stays open. Returns whether it was done.
export function ask({ title, text = [], fields = [], yes, kind = 'primary', act }) {
  const dialog = byId('question')
  return new Promise(done => {
    let succeeded = false
    const inputs = fields.map(field => el('input', {
      name: field.name, type: field.type ?? 'text', required: field.required, autocomplete: 'off',
      inputmode: field.inputmode, maxlength: field.maxlength,
    }))
    inputs.forEach((input, i) => { input.value = fields[i].value ?? '' })
    const failure = el('p', { class: 'failure', role: 'alert' })
    const go = el('button', { class: kind }, yes)
    const cancel = el('button', { type: 'button', click: () => dialog.close() }, t('cancel'))
    const submit = async event => {
      event.preventDefault()
      go.disabled = true
      failure.textContent = ''
      try {
        await act(Object.fromEntries(inputs.map(input => [input.name, input.value.trim()])))
        succeeded = true
        dialog.close()
      } catch (error) {
        failure.textContent = sentence(error)
        go.disabled = false
      }
    }
    dialog.replaceChildren(el('form', { submit },
      el('h2', { id: 'question-title' }, title),
      ...text.map(each => el('p', {}, each)),
      ...inputs.map((input, i) => el('label', { class: 'field' }, el('span', {}, fields[i].label), input)),
      failure,
      el('p', { class: 'buttons' }, go, cancel)))
    dialog.addEventListener('close', () => done(succeeded), { once: true })
    dialog.showModal()
    ;(inputs[0] ?? cancel).focus()
  })
}

// Return what an operator can do about a failed request; a fault of the page itself is not hidden.
export function sentence(error) {
  if (!(error instanceof ApiError)) throw error
  if (error.status === 0) return t('noAnswer')
  return error.message || t('failed', { status: error.status })
}

// Ask for the token until it is right.
export function askForToken() {
  const dialog = byId('sign-in')
  if (dialog.open) return Promise.resolve()
  return new Promise(done => {
    const input = el('input', { type: 'password', required: true, autocomplete: 'current-password' })
    const failure = el('p', { class: 'failure', role: 'alert' })
    const submit = async event => {
      event.preventDefault()
      try {
        await signIn(input.value.trim())
        dialog.close()
        done()
      } catch (error) {
        failure.textContent = sentence(error)
        input.select()
      }
    }
    dialog.replaceChildren(el('form', { submit },
      el('h2', { id: 'sign-in-title' }, t('signIn')),
      el('p', {}, t('signInText')),
      el('label', { class: 'field' }, el('span', {}, t('token')), input),
      failure,
      el('p', { class: 'buttons' }, el('button', { class: 'primary' }, t('signIn')))))
    dialog.oncancel = event => event.preventDefault()
    dialog.showModal()
    input.focus()
  })
}
