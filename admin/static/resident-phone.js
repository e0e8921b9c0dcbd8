// A resident's telephone: waits for return calls that ring on this page, and hands what is answered to the telephone.
import { get } from './api.js'
import { byId, el } from './dom.js'
import { newCall, socketAddress } from './phone-audio.js'
import { t } from './words.js'

const AGAIN_MS = 3000 // until a lost connection is opened again
const TONE_HZ = 425, TONE_SECONDS = 1, PAUSE_SECONDS = 4

export class ResidentPhone {
  // answered(call) takes a call that the server is about to connect; redraw() shows a change.
  constructor(answered, redraw) {
    Object.assign(this, { answered, redraw, possible: false, wanted: false, number: '', worker: null, ring: null, note: '', bell: null })
  }

  // Return what is shown of it, null where return calls ring elsewhere.
  panel() {
    if (!this.possible) return null
    const number = el('input', { id: 'resident-number', autocomplete: 'off', inputmode: 'tel', maxlength: 40, disabled: this.wanted })
    number.value = this.number
    number.addEventListener('input', () => { this.number = number.value.trim() })
    const toggle = el('input', { type: 'checkbox', id: 'resident-on', change: event => this.want(event.currentTarget.checked) })
    toggle.checked = this.wanted
    return el('div', { class: 'resident' },
      el('label', { class: 'field' }, el('span', {}, t('residentNumber')), number),
      el('p', {}, el('label', { class: 'check' }, toggle, ' ', t('residentOn'))),
      el('p', { role: this.ring ? 'alert' : 'status', id: 'resident-state' }, this.text()),
      this.ring ? el('p', { class: 'buttons' },
        el('button', { type: 'button', class: 'primary', id: 'resident-answer', click: () => this.answer() }, t('answer')),
        el('button', { type: 'button', class: 'danger', id: 'resident-reject', click: () => this.worker?.postMessage({ reject: true }) }, t('reject'))) : null)
  }

  text() {
    if (this.ring) return t('residentRings', { number: this.ring.number, extension: this.ring.extension, caller: this.ring.caller || t('residentVisitor') })
    return this.wanted ? this.note || t('residentWaits') : t('residentText')
  }

  want(wanted) {
    this.wanted = wanted
    this.note = ''
    if (wanted) {
      this.bell ??= new AudioContext() // in the click: a browser plays nothing before one
      this.open()
    } else this.pause()
    this.redraw()
    byId('resident-on')?.focus()
  }

  // Wait, also again after a call.
  open() {
    if (!this.wanted || this.worker) return
    const worker = new Worker('/page/phone-worker.js')
    this.worker = worker
    worker.onmessage = ({ data }) => { if (this.worker === worker) this.told(data) }
    worker.postMessage({ open: socketAddress({ ring: true, ...(this.number ? { number: this.number } : {}) }) })
  }

  // Wait no more, for the time of a call or for good.
  pause() {
    this.worker?.terminate()
    this.worker = null
    this.silence()
  }

  async told(message) {
    if (message.state === 'ringing') {
      this.ring = message
      this.sound(message.ring_seconds)
    } else if (message.state === 'waiting') {
      this.silence()
      this.note = message.reason ? t('residentStopped', { reason: message.reason }) : ''
    } else if (message.state === 'closed') {
      this.pause()
      setTimeout(() => this.open(), AGAIN_MS)
      this.note = await why()
    } else if (message.error) this.note = message.error
    this.redraw()
  }

  answer() {
    const { worker, ring } = this
    if (!worker || !ring) return
    this.worker = null
    this.silence()
    this.answered(Object.assign(newCall(ring.extension), { worker, id: ring.call_id }))
  }

  sound(seconds) {
    this.tone?.stop()
    this.tone = new OscillatorNode(this.bell, { frequency: TONE_HZ })
    const volume = new GainNode(this.bell, { gain: 0 })
    for (let at = 0; at < seconds; at += TONE_SECONDS + PAUSE_SECONDS) {
      volume.gain.setValueAtTime(0.1, this.bell.currentTime + at)
      volume.gain.setValueAtTime(0, this.bell.currentTime + at + TONE_SECONDS)
    }
    this.tone.connect(volume).connect(this.bell.destination)
    this.tone.start()
  }

  silence() {
    this.ring = null
    this.tone?.stop()
    this.tone = null
  }
}

// A browser does not say why a WebSocket was refused; the same request without the upgrade does.
async function why() {
  try {
    await get('/api/phone?ring=true')
  } catch (error) {
    if (error.status && error.status !== 426 && error.message) return error.message
  }
  return t('residentLost')
}
