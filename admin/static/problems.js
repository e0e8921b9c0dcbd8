// What is wrong now, from the status of the server. Pure: values in, a list of problems out.
//
// A problem has key (its words are KEY.what, KEY.means and KEY.cure), level (bad or warn), values for the words,
// detail (the server's own words), and show: the extension that it is about, or null.

const FULL_SHARE = 0.8 // from this share of the file descriptors on they are reported
const LATE_MS = 100 // a reactor this late is heard as gaps by callers
const EACH = 3 // problems of one kind that are listed one by one; more are counted

export function problems(status) {
  const found = []
  const add = (key, level, values = {}, detail = '', show = null) => found.push({ key, level, values, detail, show })
  const several = (key, level, list, one) => {
    if (list.length > EACH) add(`${key}s`, level, { n: list.length, names: list.map(each => one(each)[0].name).slice(0, 12).join(', ') })
    else for (const each of list) add(key, level, ...one(each))
  }
  const { database, extensions, configuration, last_refresh: refresh, apps, reactor, return_backend: backend } = status
  if (database.configured && database.state !== 'up') {
    add('databaseAway', 'bad', { seconds: Math.round(database.since_seconds ?? 0) }, database.reason)
  }
  const extension = each => [{ name: each.ramal_ia, a: each.porta_ia, b: each.porta_retorno ?? '' }, each.reason, each.id]
  several('portAlternative', 'bad', extensions.filter(each => each.state === 'degraded'), extension)
  several('extensionFailed', 'bad', extensions.filter(each => each.state === 'failed'), extension)
  several('rowRejected', 'bad', refresh?.rejected_rows ?? [], row => [{ name: row.id ?? '?' }, row.reason, null])
  if (refresh?.result === 'held_back') add('refreshHeldBack', 'bad', {}, refresh.reason)
  if (configuration.source === 'file' && database.configured) {
    add('fromFile', 'warn', { seconds: Math.round(configuration.age_seconds ?? 0) })
  }
  if (configuration.file_trouble) add('fileTrouble', 'warn', {}, configuration.file_trouble)
  if (apps.state === 'rejected') add('appsRejected', 'bad', { file: apps.file, line: apps.line ?? '?' }, apps.reason)
  if (status.api_tokens?.state === 'rejected') add('tokensRejected', 'bad', {}, status.api_tokens.reason)
  const events = status.events_webhook
  if (events?.state === 'failing') add('eventsAway', 'warn', { waiting: events.waiting, dropped: events.dropped_total }, events.reason)
  if (reactor.lag_ms_worst_10s >= LATE_MS) {
    const worst = [...reactor.blocked_by].sort((a, b) => b.worst_ms - a.worst_ms)[0]
    add('reactorLate', 'bad', { ms: Math.round(reactor.lag_ms_worst_10s) }, worst ? `${worst.where} (${worst.worst_ms} ms)` : '')
  }
  const files = status.open_files
  if (!files.accepting) add('filesExhausted', 'bad', { used: files.used, limit: files.limit })
  else if (files.used >= FULL_SHARE * files.limit) add('openFiles', 'warn', { used: files.used, limit: files.limit })
  if (['failing', 'down'].includes(backend.state)) add('backendAway', 'bad', { kind: backend.kind.toUpperCase() }, backend.reason)
  if (backend.ami && ['failing', 'down'].includes(backend.ami.state)) add('callersUnknown', 'warn', {}, backend.ami.reason)
  for (const [id, codec] of Object.entries(status.mislabelled_codecs)) {
    const one = extensions.find(each => String(each.id) === id)
    add('codec', codec === 'unknown' ? 'bad' : 'warn', { name: one?.ramal_ia ?? id, codec }, '', one?.id ?? null)
  }
  for (const worker of status.workers ?? []) {
    if (worker.state === 'down') add('worker', 'bad', { index: worker.index }, worker.state)
  }
  return found.sort((a, b) => (a.level === b.level ? 0 : a.level === 'bad' ? -1 : 1))
}

// The problem of the page itself: the server has not answered for so many seconds.
export const serverLost = seconds => ({ key: 'serverLost', level: 'bad', values: { seconds }, detail: '', show: null })
