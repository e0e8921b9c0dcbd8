// The telephone: choose an extension, call, talk, press keys, hang up. The call is like any other of the server.
import { get } from './api.js'
import { byId, el, setText } from './dom.js'
import { duration, number, t } from './words.js'

const RATE = 16_000 // Hz, of what the microphone sends
const KEYS = [...'123456789*0#']

export class Phone {
  // open(call_id) shows a call.
  constructor(open) {
    this.open = open
    this.box = byId('phone')
    this.extensions = []
    this.call = null
    this.note = ''
    this.drawIdle()
    setInterval(() => this.tick(), 500)
  }

  update(extensions) {
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
    el('p', { class: 'soft', role: 'status', id: 'phone-note' }, this.note || t('phoneText')))
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
    const call = { to, state: 'connecting', since: 0, gaps: 0, queuedMs: 0, id: '', context: new AudioContext() }
    this.call = call
    this.drawCall()
    try {
      const plain = new URLSearchParams(location.search).has('plain-microphone') // for measuring: nothing is filtered
      const processing = { echoCancellation: !plain, noiseSuppression: !plain, autoGainControl: !plain }
      call.stream = await navigator.mediaDevices.getUserMedia({ audio: processing })
      await call.context.audioWorklet.addModule('/page/phone-worklet.js')
      await call.context.resume()
    } catch (error) {
      if (this.call === call) this.end(t('phoneNoMicrophone', { reason: error.message }))
      return
    }
    if (this.call === call) this.connect(call)
    else release(call)
  }

  connect(call) {
    const { context } = call
    const up = new MessageChannel(), down = new MessageChannel()
    const microphone = new AudioWorkletNode(context, 'microphone', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit', processorOptions: { rate: RATE } })
    const loudspeaker = new AudioWorkletNode(context, 'loudspeaker', { numberOfInputs: 0, outputChannelCount: [1] })
    microphone.port.postMessage({ to: up.port1 }, [up.port1])
    loudspeaker.port.postMessage({ from: down.port1 }, [down.port1])
    microphone.port.onmessage = ({ data }) => level('you', data.peak)
    loudspeaker.port.onmessage = ({ data }) => {
      level('server', data.peak)
      Object.assign(call, { gaps: data.gaps, queuedMs: data.queuedMs })
    }
    context.createMediaStreamSource(call.stream).connect(microphone)
    loudspeaker.connect(context.destination)
    call.loudspeaker = loudspeaker
    call.worker = new Worker('/page/phone-worker.js')
    call.worker.onmessage = ({ data }) => this.told(call, data)
    const address = new URL(`/api/phone?extension=${encodeURIComponent(call.to)}&rate=${RATE}`, location.href)
    address.protocol = address.protocol.replace('http', 'ws')
    call.worker.postMessage({ open: address.href, microphone: up.port2, loudspeaker: down.port2 }, [up.port2, down.port2])
  }

  async told(call, message) {
    if (this.call !== call) return
    if (message.state === 'connected') {
      Object.assign(call, { state: 'connected', since: performance.now(), id: message.call_id })
      this.tick()
    } else if (message.state === 'ended') this.end(t('phoneEnded', { reason: message.reason }))
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
    this.drawIdle()
  }
}

function release(call) {
  for (const track of call.stream?.getTracks() ?? []) track.stop()
  // The hang-up is still to be sent.
  setTimeout(() => call.worker?.terminate(), 500)
  call.context.close()
}

const level = (name, peak) => {
  const meter = byId(`phone-${name}`)
  if (meter) meter.value = Math.min(1, Math.sqrt(peak)) // the ear hears ratios: a linear meter would look dead
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
