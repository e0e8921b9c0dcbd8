// The telephone: choose an extension, call, talk, press keys, hang up; or answer what rings here for a resident.
import { get } from './api.js'
import { byId, el, setText } from './dom.js'
import { connectAudio, newCall, openAudio, release, socketAddress } from './phone-audio.js'
import { ResidentPhone } from './resident-phone.js'
import { duration, number, t } from './words.js'

const KEYS = [...'123456789*0#']

export class Phone {
  // open(call_id) shows a call.
  constructor(open) {
    this.open = open
    this.box = byId('phone')
    this.extensions = []
    this.call = null
    this.note = ''
    this.resident = new ResidentPhone(call => this.answer(call), () => { if (!this.call) this.drawIdle() })
    this.drawIdle()
    setInterval(() => this.tick(), 500)
  }

  // rings: whether return calls ring on this page.
  update(extensions, rings) {
    if (rings !== this.resident.possible) {
      this.resident.possible = rings
      if (!this.call) this.drawIdle()
    }
    const choices = extensions.filter(each => each.actual_porta_ia !== null).map(each => each.ramal_ia)
    if (choices.join() === this.extensions.join()) return
    this.extensions = choices
    const list = byId('phone-extensions')
    if (!list) return
    list.replaceChildren(...choices.slice(0, 200).map(each => el('option', { value: each })))
    if (!byId('phone-number').value) byId('phone-number').value = choices[0] ?? ''
  }

  // Draw anew in the present language.
  draw() {
    if (this.call) this.drawCall()
    else this.drawIdle()
  }

  drawIdle() {
    const input = el('input', { id: 'phone-number', list: 'phone-extensions', required: true, autocomplete: 'off', inputmode: 'tel', maxlength: 50 })
    input.value = byId('phone-number')?.value ?? this.extensions[0] ?? ''
    const submit = event => {
      event.preventDefault()
      this.dial(input.value.trim())
    }
    this.box.replaceChildren(el('form', { submit },
      el('label', { class: 'field' }, el('span', {}, t('phoneNumber')), input),
      el('datalist', { id: 'phone-extensions' }, ...this.extensions.slice(0, 200).map(each => el('option', { value: each }))),
      el('p', { class: 'buttons' }, el('button', { class: 'primary', id: 'phone-call' }, t('phoneCall')))),
    el('p', { class: 'soft', role: 'status', id: 'phone-note' }, this.note || t('phoneText')),
    ...[this.resident.panel()].filter(Boolean))
  }

  drawCall() {
    const meter = name => el('p', { class: 'meter' }, el('span', {}, t(name)), el('meter', { id: `phone-${name}`, min: '0', max: '1', low: '0.02', optimum: '0.5', 'aria-label': t(name) }))
    this.box.replaceChildren(
      el('p', { role: 'status', id: 'phone-state' }),
      meter('you'), meter('server'),
      el('div', { class: 'keys' }, ...KEYS.map(key => el('button', { type: 'button', 'aria-label': t('key', { key }), click: () => this.send({ press: key }) }, key))),
      el('p', { class: 'buttons' },
        el('button', { type: 'button', class: 'danger', id: 'phone-hang-up', click: () => this.hangUp() }, t('hangUp')),
        el('button', { type: 'button', click: () => this.call?.id && this.open(this.call.id) }, t('showCall'))),
      el('p', { class: 'soft', id: 'phone-gaps' }))
    this.tick()
  }

  tick() {
    if (!this.call) return
    const { to, state, since, gaps, queuedMs } = this.call
    setText(byId('phone-state'), t(`phone.${state}`, { to, seconds: since ? duration((performance.now() - since) / 1000) : '' }))
    setText(byId('phone-gaps'), state === 'connected' ? t('phoneQueue', { ms: number(queuedMs), gaps: number(gaps) }) : '')
  }

  send(message) {
    this.call?.worker?.postMessage(message)
  }

  // Open the microphone and place the call. Processing of the microphone is for loudspeakers.
  async dial(to) {
    if (this.call) return
    if (!navigator.mediaDevices) {
      this.end(t('phoneNeedsHttps', { port: location.port || '80' }))
      return
    }
    const call = newCall(to)
    this.resident.pause()
    if (await this.begin(call)) {
      const ports = connectAudio(call)
      call.worker = new Worker('/page/phone-worker.js')
      call.worker.onmessage = ({ data }) => this.told(call, data)
      call.worker.postMessage({ open: socketAddress({ extension: to }), ...ports }, Object.values(ports))
    }
  }

  // Take what a resident's telephone has answered: its worker is connected, and waits for the audio.
  async answer(call) {
    call.worker.onmessage = ({ data }) => this.told(call, data)
    if (await this.begin(call)) {
      const ports = connectAudio(call)
      call.worker.postMessage({ audio: ports }, Object.values(ports))
      call.worker.postMessage({ answer: true })
    }
  }

  // Show a call and open its microphone; return false where that is not possible, or the call is over meanwhile.
  async begin(call) {
    this.call = call
    this.drawCall()
    try {
      await openAudio(call)
    } catch (error) {
      call.worker?.postMessage({ reject: true })
      if (this.call === call) this.end(t('phoneNoMicrophone', { reason: error.message }))
      return false
    }
    if (this.call !== call) release(call)
    return this.call === call
  }

  async told(call, message) {
    if (this.call !== call) return
    if (message.state === 'connected') {
      Object.assign(call, { state: 'connected', since: performance.now(), id: message.call_id })
      this.tick()
    } else if (message.state === 'ended') this.end(t('phoneEnded', { reason: message.reason }))
    else if (message.state === 'waiting') this.end(t('residentStopped', { reason: message.reason })) // answered too late
    else if (message.state === 'closed') this.end(call.since ? t('phoneLost') : await refusal(call.to))
    else if (message.error) setText(byId('phone-gaps'), message.error)
  }

  hangUp() {
    if (this.call?.worker) this.send({ hangup: true })
    this.end(t('phoneHungUp'))
  }

  end(note) {
    const call = this.call
    this.call = null
    this.note = note
    if (call) release(call)
    this.resident.open()
    this.drawIdle()
  }
}

// A browser does not say why a WebSocket was refused; the same request without the upgrade does.
async function refusal(to) {
  try {
    await get(`/api/phone?extension=${encodeURIComponent(to)}`)
  } catch (error) {
    if (error.status !== 426 && error.message) return error.message
  }
  return t('phoneRefused')
}
