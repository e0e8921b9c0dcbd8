// The audio of one telephone call: microphone and loudspeaker as worklets, each with a port for the call's worker.
import { byId } from './dom.js'

export const RATE = 16_000 // Hz, of what the microphone sends

export const newCall = to => ({ to, state: 'connecting', since: 0, gaps: 0, queuedMs: 0, id: '', worker: null, context: new AudioContext() })

// Open the microphone; throws where there is none. Its processing is for people with loudspeakers.
export async function openAudio(call) {
  const plain = new URLSearchParams(location.search).has('plain-microphone') // for measuring: nothing is filtered
  const processing = { echoCancellation: !plain, noiseSuppression: !plain, autoGainControl: !plain }
  call.stream = await navigator.mediaDevices.getUserMedia({ audio: processing })
  await call.context.audioWorklet.addModule('/page/phone-worklet.js')
  await call.context.resume()
}

// Connect microphone and loudspeaker; return their ports for the worker.
export function connectAudio(call) {
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
  return { microphone: up.port2, loudspeaker: down.port2 }
}

export function release(call) {
  for (const track of call.stream?.getTracks() ?? []) track.stop()
  // The hang-up is still to be sent.
  setTimeout(() => call.worker?.terminate(), 500)
  call.context.close()
}

// Return the address of a WebSocket of the telephone.
export function socketAddress(query) {
  const address = new URL(`/api/phone?${new URLSearchParams({ ...query, rate: RATE })}`, location.href)
  address.protocol = address.protocol.replace('http', 'ws')
  return address.href
}

const level = (name, peak) => {
  const meter = byId(`phone-${name}`)
  if (meter) meter.value = Math.min(1, Math.sqrt(peak)) // the ear hears ratios: a linear meter would look dead
}
