// Requests to the HTTP API, in the language of the page. A failure is an ApiError with the server's own message.

import { language } from './words.js'

export class ApiError extends Error {
  // status is the HTTP status, 0 where no answer came; field is the key at fault, or empty.
  constructor(status, message, field = '') {
    super(message)
    this.status = status
    this.field = field
  }
}

const ANSWER_MS = 10_000

const described = body => ({
  'Accept-Language': language(), ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
})

export async function request(method, path, body, headers = {}) {
  let answer, json
  try {
    answer = await fetch(path, {
      method, headers: { ...described(body), ...headers }, body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_MS), credentials: 'same-origin', cache: 'no-store',
    })
    json = await answer.json()
  } catch {
    throw new ApiError(answer?.status ?? 0, '')
  }
  if (!answer.ok) throw new ApiError(answer.status, json.message ?? '', json.field ?? '')
  return json
}

export const get = path => request('GET', path)

// Get what another page may have been told in the last second: many open pages cost the server as much as one.
export const getRecent = path => request('GET', path, undefined, { 'Cache-Control': 'max-age=1' })

// Exchange a token for a cookie that scripts cannot read.
export const signIn = token => request('POST', '/session', undefined, { Authorization: `Bearer ${token}` })
