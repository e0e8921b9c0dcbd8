// One call: its timeline drawn, the numbers beside it, every event in words. Its link is /#call=UUID.
import { byId, el, svg } from './dom.js'
import { get } from './api.js'
import { callResident, callerText, hangUp, mayRing, outcomeText, returnText, rings, stopRinging } from './calls.js'
import { sentence } from './questions.js'
import { clockTime, duration, hasWord, number, t } from './words.js'

const WIDTH = 1000, LEFT = 92, RIGHT = 16 // of the drawing, in its own units
const LANES = { visitor: 62, resident: 182 }
const TROUBLE = new Set(['leg.codec', 'leg.refused', 'app.failed', 'bot.ended', 'app.replaced', 'recording.failed', 'call.interrupted'])

export class OneCall {
  // changed() is called after something was changed.
  constructor(changed) {
    this.changed = changed
    this.dialog = byId('one-call')
    this.shown = ''
    this.id = ''
    this.dialog.addEventListener('close', () => {
      this.id = ''
      if (location.hash.startsWith('#call=')) history.replaceState(null, '', location.pathname)
    })
  }

  async open(id) {
    this.id = id
    this.shown = ''
    history.replaceState(null, '', `#call=${id}`)
    await this.update()
  }

  // Read the call again; draw it only where something is different.
  async update() {
    const id = this.id
    if (!id) return
    let call
    try {
      call = (await get(`/api/calls/${encodeURIComponent(id)}`)).call
    } catch (error) {
      if (error.status === 404 || error.status === 400) this.draw(el('p', {}, sentence(error)))
      else if (error.status !== 0) throw error
      return
    }
    if (id !== this.id) return
    const text = JSON.stringify(call.state === 'ended' ? call : { ...call, duration_seconds: Math.floor(call.duration_seconds) }) + t('close')
    if (text === this.shown) return
    this.shown = text
    this.draw(...this.content(call))
  }

  draw(...content) {
    const focused = this.dialog.open && this.dialog.contains(document.activeElement) ? document.activeElement.dataset.act : null
    const close = el('button', { type: 'button', 'data-act': 'close', click: () => this.dialog.close() }, t('close'))
    this.dialog.replaceChildren(
      el('div', { class: 'head' }, el('h2', { id: 'one-call-title' }, t('callTitle', { id: this.id.slice(0, 8) })), close), ...content)
    if (!this.dialog.open) this.dialog.showModal()
    if (focused) this.dialog.querySelector(`[data-act="${focused}"]`)?.focus()
  }

  content(call) {
    const act = (word, kind, possible, what) => (possible ? el('button', { type: 'button', class: kind, 'data-act': word, click: () => what(call, () => { this.changed(); this.update() }) }, t(word)) : null)
    return [
      facts(call),
      el('div', { class: 'timeline', tabindex: '0', role: 'group', 'aria-label': t('timeline') }, drawing(call)),
      el('p', { class: 'buttons' },
        act('hangUp', 'danger', call.state === 'live', hangUp),
        act('callResident', '', mayRing(call), callResident),
        act('stopRinging', '', rings(call), stopRinging),
        el('button', { type: 'button', 'data-act': 'copy', click: event => this.copy(event.currentTarget) }, t('copyLink'))),
      el('h3', {}, t('legs')), legs(call),
      el('h3', {}, t('events')), steps(call),
    ]
  }

  async copy(button) {
    try {
      await navigator.clipboard.writeText(location.href)
      button.textContent = t('copied')
    } catch {
      button.replaceWith(el('input', { readonly: true, value: location.href, 'aria-label': t('copyLink') })) // no clipboard without HTTPS
    }
  }
}

function facts(call) {
  const fact = (name, value) => (value === '' || value === null ? null : el('div', {}, el('dt', {}, t(name)), el('dd', {}, value)))
  const ring = call.return
  return el('dl', { class: 'facts' },
    fact('extension', call.extension.ramal_ia), fact('caller', callerText(call)), fact('began', clockTime(call.started_at)),
    fact('duration', duration(call.duration_seconds)), fact('result', call.outcome ? outcomeText(call.outcome) : t(`leg.${call.state}`)),
    fact('returnCall', ring ? [returnText(ring.state), ring.reason].filter(Boolean).join(': ') : ''), fact('uuid', call.call_id))
}

function legs(call) {
  const columns = ['role', 'state', 'peer', 'rate', 'framesIn', 'framesOut', 'silence', 'late', 'underruns']
  const row = leg => el('tr', {}, el('th', { scope: 'row' }, t(leg.role)), ...[
    leg.outcome ? outcomeText(leg.outcome) : t(`leg.${leg.state}`), `${leg.peer} → ${leg.port}`, `${leg.rate / 1000} kHz`,
  ].map(text => el('td', {}, text)), ...[leg.frames_in, leg.frames_out, leg.silence_out, leg.late_turns, leg.underruns].map(value => el('td', { class: 'right' }, number(value))))
  return el('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': t('legs') }, el('table', { class: 'legs' },
    el('thead', {}, el('tr', {}, ...columns.map((name, i) => el('th', { scope: 'col', class: i > 3 ? 'right' : null }, t(name))))),
    el('tbody', {}, ...call.legs.map(row))))
}

const details = entry => Object.entries(entry)
  .filter(([name, value]) => !['event', 'at_seconds', 'role'].includes(name) && value !== '' && value !== null)
  .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`).join(', ')

const eventName = entry => (hasWord(`event.${entry.event}`) ? t(`event.${entry.event}`) : entry.event)

const steps = call => el('ol', { class: 'steps' }, ...call.timeline.map(entry => el('li', {},
  el('time', {}, `${number(entry.at_seconds, 1)} s`), el('strong', {}, eventName(entry)),
  el('span', {}, [entry.role ? t(entry.role) : '', details(entry)].filter(Boolean).join(': ')))))

// Return the timeline as a drawing: a track for each leg, digits on it, ring attempts between the tracks.
function drawing(call) {
  const end = Math.max(1, call.duration_seconds, ...call.timeline.map(entry => entry.at_seconds))
  const x = seconds => LEFT + (WIDTH - LEFT - RIGHT) * Math.min(1, seconds / end)
  const root = svg('svg', { viewBox: `0 0 ${WIDTH} 240`, role: 'img', 'aria-label': summary(call) })
  const step = [0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600].find(each => end / each <= 12) ?? end
  for (let second = 0; second <= end; second += step) {
    root.append(svg('line', { class: 'grid', x1: x(second), x2: x(second), y1: 20, y2: 218 }),
      svg('text', { x: x(second), y: 234, 'text-anchor': 'middle' }, step < 1 ? number(second, 1) : duration(second)))
  }
  for (const [role, y] of Object.entries(LANES)) {
    root.append(svg('text', { class: 'name', x: 4, y: y + 5 }, t(role)))
    for (const [from, to] of presence(call, role, end)) {
      root.append(svg('rect', { class: `leg ${role}`, x: x(from), width: Math.max(3, x(to) - x(from)), y: y - 13, height: 26, rx: 4 }))
    }
    drawMarks(root, call.timeline.filter(entry => (entry.role ?? 'visitor') === role), y, x)
  }
  drawAttempts(root, call, x)
  return root
}

const summary = call => t('timelineOf', { name: call.extension.ramal_ia, seconds: duration(call.duration_seconds), n: number(call.timeline.length) })

// Return when a leg was there, as pairs of seconds; one that the kept events do not begin was there from 0 on.
function presence(call, role, end) {
  const found = []
  let since = null
  for (const entry of call.timeline.filter(each => each.role === role)) {
    if (['leg.joined', 'leg.resumed'].includes(entry.event)) since ??= entry.at_seconds
    else if (entry.event === 'leg.left') {
      found.push([since ?? 0, entry.at_seconds])
      since = null
    }
  }
  if (since !== null) found.push([since, end])
  return found
}

function drawMarks(root, entries, y, x) {
  let free = 0 // digits that were pressed fast stand side by side
  for (const entry of entries) {
    const at = x(entry.at_seconds)
    if (entry.event === 'leg.digit') {
      const place = Math.max(at, free)
      free = place + 19
      root.append(svg('circle', { class: 'digit', cx: place, cy: y - 26, r: 9 }), svg('text', { class: 'digit-text', x: place, y: y - 22, 'text-anchor': 'middle' }, entry.digit))
    } else if (entry.event === 'leg.rate' || entry.event.startsWith('recording.') || entry.event === 'app.note' || entry.event === 'bot.command' || entry.event === 'bridge.started') {
      root.append(svg('line', { class: 'mark', x1: at, x2: at, y1: y - 16, y2: y + 16 }, svg('title', {}, `${eventName(entry)} ${details(entry)}`)))
    }
    if (TROUBLE.has(entry.event)) {
      root.append(svg('line', { class: 'trouble', x1: at, x2: at, y1: y - 18, y2: y + 18 }),
        svg('text', { class: 'trouble-text', x: at + 4, y: y + 28 }, eventName(entry)))
    }
  }
}

function drawAttempts(root, call, x) {
  root.append(svg('text', { class: 'name', x: 4, y: 127 }, t('ringing')))
  const draw = (from, to, end, label) => root.append(
    svg('rect', { class: end === 'answered' ? 'ring answered' : 'ring', x: x(from), width: Math.max(3, x(to) - x(from)), y: 112, height: 22, rx: 3 }),
    svg('text', { class: 'ring-text', x: x(from) + 4, y: x(to) - x(from) > 90 ? 127 : 107 }, label))
  for (const entry of call.timeline.filter(each => each.event === 'return.attempt')) {
    draw(Math.max(0, entry.at_seconds - entry.seconds), entry.at_seconds, entry.end, `${entry.number} ${attemptEnd(entry.end)}`)
  }
  const open = call.return?.attempts.find(each => each.end === null)
  if (open) draw(Math.max(0, call.duration_seconds - open.seconds), call.duration_seconds, '', `${open.number} ${t('ringingNow')}`)
}

const attemptEnd = end => (hasWord(`attempt.${end}`) ? t(`attempt.${end}`) : end)
