// The operator page: reads the server's state while it can be seen, looks again when an event says so, and shows it.
import { Calls } from './calls.js'
import { Changes } from './changes.js'
import { readChoice, writeChoice } from './choices.js'
import { byId, el, setClass, setText } from './dom.js'
import { Drain } from './drain.js'
import { EndedCalls } from './ended-calls.js'
import { Events } from './events.js'
import { Extensions } from './extensions.js'
import { Nodes } from './nodes.js'
import { OneCall, linkedCall } from './one-call.js'
import { Phone } from './phone.js'
import { Problems, serverLost } from './problems.js'
import { askForToken } from './questions.js'
import { get, getRecent } from './api.js'
import { duration, language, number, switchLanguage, t, translate } from './words.js'

const EVERY_MS = 1500 // between two readings: levels, and what no event tells
const AGAIN_MS = 1000 // after an event, at most this often
const LOST_AFTER_MS = 2500

let status = null, problems = [], running = [], version = ''
let answeredAt = performance.now(), timer = 0, reading = false, again = false

const oneCall = new OneCall(readNow)
const open = id => oneCall.open(id)
const calls = new Calls(readNow, open)
const ended = new EndedCalls(open)
const extensions = new Extensions(readNow)
const wrong = new Problems(id => extensions.find(id))
const events = new Events(happened, open)
const phone = new Phone(open)
const drain = new Drain(readNow)
const nodes = new Nodes(readNow)
const changes = new Changes(readNow, () => running, id => extensions.calls(id))

// Read what is shown, then again after a while; only while the page can be seen.
async function read(ask = getRecent) {
  clearTimeout(timer)
  if (document.hidden) return
  if (reading) {
    again = true
    return
  }
  reading = true
  try {
    const path = calls.path
    const [state, found, page] = await Promise.all([ask('/api/status?extensions=false'), ask('/api/problems'), ask(path)])
    // The list of extensions has hundreds of kilobytes where there are 1,000: it is read when it has changed.
    if (state.extensions_version !== version) {
      const whole = await get('/api/status')
      running = whole.extensions
      version = whole.extensions_version
    }
    answeredAt = performance.now()
    if (!status) ended.read()
    status = state
    problems = found.problems
    events.follow()
    const began = performance.now()
    if (path === calls.path) calls.update(page)
    show()
    measured(began)
    nodes.read(state, ask)
    await oneCall.update()
  } catch (error) {
    if (error.status === 401 || error.status === 429) {
      await askForToken()
      nodes.signedIn()
      answeredAt = performance.now()
    } else if (error.status === undefined) throw error
  } finally {
    reading = false
    timer = setTimeout(read, again ? 50 : EVERY_MS)
    again = false
    showConnection()
  }
}

// Keep how long the last update took, for whoever measures the page.
function measured(began) {
  performance.clearMeasures('update')
  performance.measure('update', { start: began })
}

// An event: look again soon, and remember what it says.
function happened(record) {
  extensions.happened(record)
  if (record.event === 'call.ended') ended.ended()
  if (record.event === 'snapshot') ended.read()
  const wait = answeredAt + AGAIN_MS - performance.now()
  if (reading) again = true
  else {
    clearTimeout(timer)
    timer = setTimeout(read, Math.max(50, wait))
  }
}

// Something was changed or is wanted by who looks: no answer of before will do.
function readNow() {
  clearTimeout(timer)
  timer = setTimeout(() => read(get), 50)
}

function show() {
  extensions.update(running, status.live_by_extension)
  changes.update(status)
  drain.update(status)
  phone.update(running, status.return_backend.kind === 'browser')
  setText(byId('version'), status.version)
  showNumbers()
  showConnection()
}

function showNumbers() {
  const refused = status.refused_total + Object.values(status.rejected_total).reduce((sum, n) => sum + n, 0)
  const listening = running.filter(each => each.state === 'listening').length
  const values = {
    liveCalls: number(status.live_calls), callsTotal: number(status.calls_total),
    listening: `${number(listening)} / ${number(running.length)}`, lateTotal: number(status.late_turns_total),
    lag: `${number(status.reactor.lag_ms_worst_10s, 1)} ms`, refused: number(refused), uptime: duration(status.uptime_seconds),
  }
  const box = byId('numbers')
  if (box.dataset.language !== language()) {
    box.dataset.language = language()
    box.replaceChildren(...Object.keys(values).map(name => el('div', {}, el('dt', {}, t(`number.${name}`)), el('dd', { 'data-number': name }))))
  }
  for (const [name, value] of Object.entries(values)) setText(box.querySelector(`[data-number=${name}]`), value)
}

// Show whether the server answers, and what is wrong.
function showConnection() {
  const quiet = (performance.now() - answeredAt) / 1000
  const lost = !byId('sign-in').open && quiet * 1000 > LOST_AFTER_MS
  setClass(byId('connection'), lost ? 'connection lost' : 'connection')
  setText(byId('connection-text'), t(lost ? 'lost' : status ? 'live' : 'connecting', { seconds: number(quiet) }))
  document.body.classList.toggle('stale', lost)
  if (status || lost) wrong.draw([...(lost ? [serverLost(Math.floor(quiet))] : []), ...problems])
}

function writeAll() {
  translate()
  setText(byId('language'), language() === 'en' ? 'Português' : 'English')
  byId('language').lang = language() === 'en' ? 'pt-BR' : 'en'
  setText(byId('theme'), t(isDark() ? 'light' : 'dark'))
  phone.draw()
  events.draw()
  ended.draw()
  if (!status) return
  calls.draw()
  extensions.draw()
  nodes.draw()
  show()
}

const isDark = () => (document.documentElement.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark'

byId('theme').addEventListener('click', () => {
  document.documentElement.dataset.theme = isDark() ? 'light' : 'dark'
  writeChoice('theme', document.documentElement.dataset.theme)
  writeAll()
})
byId('language').addEventListener('click', () => {
  switchLanguage()
  writeAll()
})
document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    events.stop()
    return
  }
  answeredAt = performance.now() // what was not asked for is not lost
  readNow()
})
addEventListener('hashchange', openLinked)

function openLinked() {
  const id = linkedCall(location.hash)
  if (id && id !== oneCall.id) oneCall.open(id)
}

if (['light', 'dark'].includes(readChoice('theme'))) document.documentElement.dataset.theme = readChoice('theme')
byId('app').hidden = false
writeAll()
setInterval(() => {
  showConnection()
  if (!document.hidden) calls.tick()
}, 1000)
await read()
openLinked()
