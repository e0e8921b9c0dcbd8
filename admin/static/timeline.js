// The timeline of a call as a drawing: a track for each leg with what was heard on it above the line and what was
// said to it below, digits, marks, changes and late frames; ring attempts between the tracks; the outcome at the end.
import { el, svg } from './dom.js'
import { attemptText, outcomeText } from './call-words.js'
import { eventDetails, eventName } from './event-words.js'
import { duration, number, t } from './words.js'

const WIDTH = 1000, HEIGHT = 286, LEFT = 92, RIGHT = 16 // of the drawing, in its own units
const TOP = 20, BOTTOM = 262
const LANES = { visitor: 78, resident: 210 }
const HALF = 15 // of a track's height
const RING = 134
const TROUBLE = new Set(['leg.codec', 'leg.refused', 'app.failed', 'bot.ended', 'app.replaced', 'recording.failed', 'call.interrupted', 'gate.failed'])
const CHANGES = new Set(['leg.rate', 'leg.suspended', 'leg.resumed', 'app.note', 'bot.connected', 'bot.command', 'bridge.started', 'bridge.ended', 'recording.started', 'recording.ended', 'gate.opening', 'gate.opened'])
const LABELLED = new Set(['leg.rate', 'gate.opened'])

export function drawing(call) {
  const end = Math.max(1, call.duration_seconds, ...call.timeline.map(entry => entry.at_seconds))
  const x = seconds => LEFT + (WIDTH - LEFT - RIGHT) * Math.min(1, Math.max(0, seconds) / end)
  const root = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': summary(call) })
  drawScale(root, end, x)
  for (const [role, y] of Object.entries(LANES)) {
    root.append(svg('text', { class: 'name', x: 4, y: y + 5 }, t(role)))
    for (const [from, to] of presence(call, role, end)) root.append(box(`leg ${role}`, x(from), x(to), y - HALF, 2 * HALF, 4))
    const leg = call.legs.findLast(each => each.role === role)
    if (leg) drawSound(root, leg, y, x)
    drawEvents(root, call.timeline.filter(entry => (entry.role ?? 'visitor') === role), y, x)
  }
  drawAttempts(root, call, x)
  if (call.outcome && call.state === 'ended') {
    const at = x(call.duration_seconds)
    root.append(svg('line', { class: 'outcome', x1: at, x2: at, y1: TOP, y2: BOTTOM }),
      svg('text', { class: 'outcome-text', x: at - 5, y: TOP + 6, 'text-anchor': 'end' }, outcomeText(call.outcome)))
  }
  return root
}

// What the parts of the drawing are.
export function legend() {
  const one = (kind, word) => el('span', {}, el('i', { class: kind, 'aria-hidden': 'true' }), t(word))
  return el('p', { class: 'legend' }, one('heard', 'legend.heard'), one('said', 'legend.said'), one('quiet', 'legend.quiet'),
    one('late', 'legend.late'), one('mark', 'legend.mark'), one('change', 'legend.change'), one('ring', 'legend.ring'))
}

const summary = call => t('timelineOf', { name: call.extension.ramal_ia, seconds: duration(call.duration_seconds), n: number(call.timeline.length) })

const box = (kind, from, to, y, height, rx = 0) => svg('rect', { class: kind, x: from.toFixed(1), width: Math.max(3, to - from).toFixed(1), y, height, rx })

function drawScale(root, end, x) {
  const step = [0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600].find(each => end / each <= 12) ?? end
  for (let second = 0; second <= end; second += step) {
    root.append(svg('line', { class: 'grid', x1: x(second), x2: x(second), y1: TOP, y2: BOTTOM }),
      svg('text', { x: x(second), y: HEIGHT - 6, 'text-anchor': 'middle' }, step < 1 ? number(second, 1) : duration(second)))
  }
}

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

// Sound and marks of a leg, and when its clock was late; silence is the empty track.
function drawSound(root, leg, y, x) {
  const title = word => svg('title', {}, t(word))
  for (const [from, to] of leg.sound_in ?? []) root.append(withTitle(box('heard', x(from), x(to), y - HALF + 2, HALF - 3), title('legend.heard')))
  for (const [from, to] of leg.sound_out ?? []) root.append(withTitle(box('said', x(from), x(to), y + 1, HALF - 3), title('legend.said')))
  for (const [from, to] of leg.late ?? []) root.append(withTitle(box('late', x(from), x(to), y + HALF + 2, 8), title('legend.late')))
  for (const mark of leg.marks ?? []) {
    const at = x(mark.at_seconds)
    root.append(svg('path', { class: 'mark', d: `M${at} ${y + HALF - 3}l5 9h-10z` }, svg('title', {}, `${t('legend.mark')}: ${mark.name}`)))
  }
}

function withTitle(node, title) {
  node.append(title)
  return node
}

function drawEvents(root, entries, y, x) {
  let free = 0 // digits that were pressed fast stand side by side
  for (const entry of entries) {
    const at = x(entry.at_seconds)
    const line = kind => svg('line', { class: kind, x1: at, x2: at, y1: y - HALF - 5, y2: y + HALF + 5 }, svg('title', {}, `${eventName(entry)} ${eventDetails(entry)}`))
    const label = (kind, text) => svg('text', { class: kind, x: at > WIDTH - 150 ? at - 4 : at + 4, y: y + HALF + 17, 'text-anchor': at > WIDTH - 150 ? 'end' : 'start' }, text)
    if (entry.event === 'leg.digit') {
      const place = Math.max(at, free)
      free = place + 19
      root.append(svg('circle', { class: 'digit', cx: place, cy: y - HALF - 13, r: 9 }), svg('text', { class: 'digit-text', x: place, y: y - HALF - 9, 'text-anchor': 'middle' }, entry.digit))
    } else if (TROUBLE.has(entry.event)) root.append(line('trouble'), label('trouble-text', [eventName(entry), entry.codec].filter(Boolean).join(': ')))
    else if (CHANGES.has(entry.event)) {
      root.append(line('change'))
      if (LABELLED.has(entry.event)) root.append(label('', entry.rate ? `${entry.rate / 1000} kHz` : eventName(entry)))
    }
  }
}

function drawAttempts(root, call, x) {
  if (call.return) root.append(svg('text', { class: 'name', x: 4, y: RING + 15 }, t('ringing')))
  const draw = (from, to, end, text) => root.append(
    box(end === 'answered' ? 'ring answered' : 'ring', x(from), x(to), RING, 22, 3),
    svg('text', { class: 'ring-text', x: x(from) + 4, y: x(to) - x(from) > 90 ? RING + 15 : RING - 5 }, text))
  for (const entry of call.timeline.filter(each => each.event === 'return.attempt')) {
    draw(Math.max(0, entry.at_seconds - entry.seconds), entry.at_seconds, entry.end, `${entry.number} ${attemptText(entry.end)}`)
  }
  const open = call.return?.attempts.find(each => each.end === null)
  if (open) draw(Math.max(0, call.duration_seconds - open.seconds), call.duration_seconds, '', `${open.number} ${t('ringingNow')}`)
}
