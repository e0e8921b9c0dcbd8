// The operator page: reads the server's state while it can be seen, and shows it.
import { Calls } from './calls.js'
import { Changes } from './changes.js'
import { readChoice, writeChoice } from './choices.js'
import { byId, el, setClass, setText } from './dom.js'
import { Events } from './events.js'
import { Extensions } from './extensions.js'
import { OneCall } from './one-call.js'
import { Phone } from './phone.js'
import { problems, serverLost } from './problems.js'
import { askForToken } from './questions.js'
import { get } from './api.js'
import { duration, language, number, switchLanguage, t, translate } from './words.js'

const EVERY_MS = 1500
const MANY = 200 // extensions, above which the whole status is read less often: it costs the server milliseconds
const EVERY_MANY_MS = 10_000
const LOST_AFTER_MS = 2500

let status = null, answeredAt = performance.now(), timer = 0, reading = false

const oneCall = new OneCall(readNow)
const calls = new Calls(readNow, id => oneCall.open(id))
const extensions = new Extensions(readNow)
const events = new Events(happened, id => oneCall.open(id))
const phone = new Phone(id => oneCall.open(id))
const changes = new Changes(readNow, () => status?.extensions ?? [])

// Read everything once, then again after a while; only while the page can be seen.
async function read() {
  clearTimeout(timer)
  if (reading || document.hidden) return
  reading = true
  try {
    const [newStatus, newCalls] = await Promise.all([get('/api/status'), get('/api/calls')])
    status = newStatus
    answeredAt = performance.now()
    events.follow()
    calls.update(newCalls.calls)
    show()
    await oneCall.update()
  } catch (error) {
    if (error.status === 401 || error.status === 429) {
      await askForToken()
      answeredAt = performance.now()
    }
    else if (error.status === undefined) throw error
  } finally {
    reading = false
    timer = setTimeout(read, status && status.extensions.length > MANY ? EVERY_MANY_MS : EVERY_MS)
    showConnection()
  }
}

// Look again at once: something has happened. With many extensions only for what is not about one call.
function happened(record) {
  const many = status && status.extensions.length > MANY
  if (many && record.call_id) return
  if (performance.now() - answeredAt > (many ? 2000 : 300)) readNow()
}

function readNow() {
  clearTimeout(timer)
  timer = setTimeout(read, 50)
}

function show() {
  extensions.update(status.extensions)
  changes.update(status)
  phone.update(status.extensions, status.return_backend.kind === 'browser')
  setText(byId('version'), status.version)
  showNumbers()
  showConnection()
}

function showNumbers() {
  const refused = status.refused_total + Object.values(status.rejected_total).reduce((sum, n) => sum + n, 0)
  const listening = status.extensions.filter(each => each.state === 'listening').length
  const values = {
    liveCalls: number(status.live_calls), callsTotal: number(status.calls_total),
    listening: `${number(listening)} / ${number(status.total_extensions)}`, lateTotal: number(status.late_turns_total),
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
  const lost = !byId('sign-in').open && quiet * 1000 > Math.max(LOST_AFTER_MS, status && status.extensions.length > MANY ? 1.3 * EVERY_MANY_MS : 0)
  setClass(byId('connection'), lost ? 'connection lost' : 'connection')
  setText(byId('connection-text'), t(lost ? 'lost' : status ? 'live' : 'connecting', { seconds: number(quiet) }))
  const found = [...(lost ? [serverLost(Math.floor(quiet))] : []), ...(status ? problems(status) : [])]
  if (status || lost) showProblems(found)
}

function showProblems(found) {
  const list = byId('problems')
  const worst = found.some(each => each.level === 'bad') ? 'bad' : found.length ? 'warn' : 'good'
  setClass(byId('health'), `health ${worst}`)
  setText(byId('health'), found.length ? t(found.length === 1 ? 'oneProblem' : 'nProblems', { n: number(found.length) }) : t('allWell'))
  document.title = found.length ? `(${found.length}) AudioSocket` : 'AudioSocket'
  // Only words change from second to second: a list that is built anew would be read out again.
  const shape = found.map(each => `${each.key} ${each.show} ${each.detail}`).join('\n') + language()
  if (list.dataset.shape !== shape) {
    list.dataset.shape = shape
    list.replaceChildren(...(found.length ? found.map(makeProblem) : [el('li', { class: 'good' }, t('allWellText'))]))
  }
  found.forEach((one, i) => setText(list.children[i].firstChild, t(`${one.key}.what`, said(one))))
}

const said = one => ({ ...one.values, since: one.values.seconds === undefined ? '' : duration(one.values.seconds) })

const makeProblem = one => el('li', { class: one.level, 'data-problem': one.key },
  el('strong'), el('p', {}, t(`${one.key}.means`, said(one))), el('p', { class: 'cure' }, t(`${one.key}.cure`, said(one))),
  one.detail ? el('p', {}, el('code', {}, one.detail)) : null,
  one.show === null ? null : el('button', { type: 'button', class: 'small', click: () => extensions.find(one.show) }, t('showExtension')))

function writeAll() {
  translate()
  setText(byId('language'), language() === 'en' ? 'Português' : 'English')
  byId('language').lang = language() === 'en' ? 'pt-BR' : 'en'
  setText(byId('theme'), t(isDark() ? 'light' : 'dark'))
  phone.draw()
  events.draw()
  if (!status) return
  calls.draw()
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
  const id = /^#call=([0-9a-fA-F-]{36})$/.exec(location.hash)?.[1]
  if (id && id !== oneCall.id) oneCall.open(id)
}

if (['light', 'dark'].includes(readChoice('theme'))) document.documentElement.dataset.theme = readChoice('theme')
byId('app').hidden = false
writeAll()
setInterval(showConnection, 1000)
await read()
openLinked()
