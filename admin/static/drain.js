// Emptying this node of a fleet: the balancer sends it no new calls, or takes it back. changed() is called afterwards.
import { byId, setText } from './dom.js'
import { request } from './api.js'
import { ask } from './questions.js'
import { number, t } from './words.js'

export class Drain {
  constructor(changed) {
    this.changed = changed
    this.active = false
    this.calls = 0
    this.button = byId('drain')
    this.button.addEventListener('click', () => this.ask())
  }

  update(status) {
    this.active = status.drain.active
    this.calls = status.live_calls
    this.button.hidden = false
    setText(this.button, t(this.active ? 'undrain' : 'drain'))
  }

  ask() {
    const draining = this.active
    return ask({
      title: t(draining ? 'undrain' : 'drain'), yes: t(draining ? 'undrain' : 'drain'),
      text: [t(draining ? 'undrainTouches' : 'drainTouches', { calls: t(this.calls === 1 ? 'oneCall' : 'nCalls', { n: number(this.calls) }) })],
      act: async () => {
        await request(draining ? 'DELETE' : 'POST', '/api/drain')
        this.changed()
      },
    })
  }
}
