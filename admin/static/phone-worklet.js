// On the audio thread: the microphone to 20 ms blocks of PCM, and PCM to the loudspeaker. Rates may be any.

// A windowed-sinc resampler from one rate to another, for a stream in pieces.
class Resampler {
  constructor(from, to, zeros = 16, phases = 480) {
    const cut = Math.min(1, to / from) * (to < from ? 0.92 : 0.95) // of the band, what passes
    this.step = from / to
    this.phases = phases
    this.half = Math.ceil(zeros / cut)
    this.table = Array.from({ length: phases + 1 }, (_, phase) => this.row(phase / phases, cut))
    this.rest = new Float32Array(this.half - 1)
    this.at = this.half - 1
  }

  // Return the weights for a position between two samples; their sum is 1.
  row(fraction, cut) {
    const row = Float32Array.from({ length: 2 * this.half }, (_, i) => {
      const x = i - this.half + 1 - fraction
      if (Math.abs(x) >= this.half) return 0
      const w = Math.PI * x / this.half
      const sinc = x === 0 ? cut : Math.sin(Math.PI * x * cut) / (Math.PI * x)
      return sinc * (0.42 + 0.5 * Math.cos(w) + 0.08 * Math.cos(2 * w)) // Blackman
    })
    const sum = row.reduce((a, b) => a + b)
    return row.map(value => value / sum)
  }

  push(input) {
    const all = new Float32Array(this.rest.length + input.length)
    all.set(this.rest)
    all.set(input, this.rest.length)
    const out = []
    for (; Math.floor(this.at) + this.half < all.length; this.at += this.step) {
      const base = Math.floor(this.at)
      const row = this.table[Math.round((this.at - base) * this.phases)]
      let sum = 0
      for (let i = 0; i < row.length; i++) sum += row[i] * all[base - this.half + 1 + i]
      out.push(sum)
    }
    const drop = Math.max(0, Math.floor(this.at) - this.half + 1)
    this.rest = all.slice(drop)
    this.at -= drop
    return out
  }
}

const peakOf = samples => samples.reduce((most, each) => Math.max(most, Math.abs(each)), 0)

// The microphone. Options: rate in Hz. The first message is the port to send PCM blocks to.
class Microphone extends AudioWorkletProcessor {
  constructor({ processorOptions: { rate } }) {
    super()
    this.block = rate / 50
    this.resampler = new Resampler(sampleRate, rate)
    this.waiting = []
    this.peak = 0
    this.reported = 0
    this.port.onmessage = ({ data }) => { this.to = data.to }
  }

  process([[input]]) {
    if (input) {
      this.waiting.push(...this.resampler.push(input))
      this.peak = Math.max(this.peak, peakOf(input))
    }
    while (this.waiting.length >= this.block) {
      const pcm = Int16Array.from(this.waiting.splice(0, this.block), each => Math.max(-32768, Math.min(32767, Math.round(each * 32767))))
      this.to?.postMessage(pcm.buffer, [pcm.buffer])
    }
    if (currentTime - this.reported >= 0.1) {
      this.port.postMessage({ peak: this.peak })
      this.reported = currentTime
      this.peak = 0
    }
    return true
  }
}

const START_SECONDS = 0.06 // play from this much audio on, also after a gap
const MOST_SECONDS = 0.2 // more than this is cut back to the start

// The loudspeaker. Messages on its own port: the port that PCM and {rate} come from.
class Loudspeaker extends AudioWorkletProcessor {
  constructor() {
    super()
    this.queue = []
    this.playing = false
    this.gaps = 0
    this.peak = 0
    this.reported = 0
    this.resampler = new Resampler(8000, sampleRate)
    this.port.onmessage = ({ data: { from } }) => {
      from.onmessage = ({ data }) => {
        if (data.rate) this.resampler = new Resampler(data.rate, sampleRate)
        else this.add(new Int16Array(data))
      }
    }
  }

  add(pcm) {
    this.queue.push(...this.resampler.push(Float32Array.from(pcm, each => each / 32768)))
    const excess = this.queue.length - MOST_SECONDS * sampleRate
    if (excess > 0) this.queue.splice(0, this.queue.length - Math.round(START_SECONDS * sampleRate))
  }

  process(_inputs, [[output]]) {
    if (!this.playing && this.queue.length >= START_SECONDS * sampleRate) this.playing = true
    if (this.playing && this.queue.length < output.length) {
      this.playing = false
      this.gaps++
    }
    if (this.playing) output.set(this.queue.splice(0, output.length))
    this.peak = Math.max(this.peak, peakOf(output))
    if (currentTime - this.reported >= 0.1) {
      this.port.postMessage({ peak: this.peak, gaps: this.gaps, queuedMs: Math.round(this.queue.length / sampleRate * 1000) })
      this.reported = currentTime
      this.peak = 0
    }
    return true
  }
}

registerProcessor('microphone', Microphone)
registerProcessor('loudspeaker', Loudspeaker)
