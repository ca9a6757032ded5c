// Model calls as texts, bars and rows. Pure. Times are ns on the clock of the session.

import { clip, count, grouped, oneLine, seconds } from './words.js'

const FAILED = new Set(['failed', 'refused', 'cut', 'incomplete'])
const CALL_ENDINGS = { open: 'still open', unknown: 'end not known' }
const SURE = {
  call_id: 'by the id of a tool call',
  conversation: 'by its conversation and text',
  retry: 'as an attempt of a linked request',
  time: 'by time: no other turn was open',
}

// Whether a call has no whole answer: an incomplete one was stopped by a limit or a filter.
export function isBadCall(one) {
  return FAILED.has(one.ending)
}

// Whether several turns are possible for a call.
export function isUnsure(one) {
  return one.certainty === 'ambiguous'
}

// The name of a call: its model, and its attempt after the first.
export function callName(one) {
  return `${one.model ?? 'model not named'}${one.attempt > 1 ? ` · attempt ${one.attempt}` : ''}`
}

// How a call ended, in a few words.
export function callEnding(one) {
  const what = CALL_ENDINGS[one.ending] ?? one.ending,
    status = one.status !== null && one.status >= 400 ? ` ${one.status}` : '',
    by = one.ending === 'cut' && one.cut_by ? ` by the ${one.cut_by}` : '',
    why = one.reason && one.ending !== 'completed' ? `, ${oneLine(one.reason)}` : ''
  return `${what}${status}${by}${why}`
}

// The tokens of a call: request and answer.
export function callTokens({ usage }) {
  if (!usage) return ''
  const { input_tokens: sent, output_tokens: got, cached_tokens: cached, reasoning_tokens: thought } = usage
  const number = value => (value === null ? '?' : grouped(value))
  const parts = [`${number(sent)} → ${number(got)} tokens`]
  if (cached) parts.push(`${number(cached)} cached`)
  if (thought) parts.push(`${number(thought)} of reasoning`)
  return parts.join(', ')
}

// How sure the link of a call to its turn is.
export function linkSentence(one) {
  if (one.certainty === null || one.certainty === undefined) return 'no turn is known'
  const by = SURE[one.by] ?? one.by
  if (isUnsure(one)) return `ambiguous: one of ${count(one.candidates.length, 'turn')}`
  return one.certainty === 'exact' ? `exact, ${by}` : `likely, ${by}`
}

// The texts of a row in the wire: what, and how it went.
export function callTexts(one) {
  const took = one.ended_ns === null ? '' : ` after ${seconds(one.ended_ns - one.started_ns)}`
  const said = [
    `${isBadCall(one) ? '✗ ' : ''}${callEnding(one)}${took}`,
    isUnsure(one) ? linkSentence(one) : null,
    one.first_token_ns === null ? null : `first token after ${seconds(one.first_token_ns - one.started_ns)}`,
    callTokens(one) || null,
    one.tools.length ? `asks for ${one.tools.map(oneLine).join(', ')}` : null,
    one.error ? oneLine(one.error) : one.said ? `“${clip(oneLine(one.said), 120)}”` : null,
  ]
  return [`model ${oneLine(callName(one))}`, said.filter(Boolean).join(' · ')]
}

// The bar of a call. `waits`: its first byte and its first token, if they came.
export function callItem(one, end) {
  const label = `${isUnsure(one) ? '? ' : ''}${one.attempt > 1 ? `↻ ${one.attempt} · ` : ''}${one.model ?? ''} · ${callEnding(one)}`
  return {
    kind: 'call', from: one.started_ns, to: Math.max(one.ended_ns ?? end, one.started_ns), label,
    tone: isBadCall(one) ? 'failed' : one.ending === 'open' ? 'running' : 'done', ref: { call: one.exchange }, row: 0,
    waits: [one.first_byte_ns, one.first_token_ns], isRetry: one.attempt > 1, isUnsure: isUnsure(one),
  } // prettier-ignore
}

// The times at which something happened in calls, for the pace of playback.
export function momentsOf(calls) {
  const all = calls.flatMap(one => [one.started_ns, one.first_byte_ns, one.first_token_ns, one.ended_ns])
  return all.filter(at => at !== null)
}

// The rows of the event list for calls.
export function callRows(calls) {
  return calls.map(one => ({
    kind: 'call',
    name: `call ${one.exchange}`,
    at: one.started_ns,
    x: { exchange: one.exchange, stream: one.stream, method: 'model', target: one.model ?? '' },
    call: one,
    failed: isBadCall(one),
  }))
}

// The calls of a turn of the session `key`, in a sentence: their number, the retries, their time without overlaps.
export function callsOfTurn(calls, key, turn) {
  const own = calls.filter(one => one.key === key && one.turn === turn)
  if (!own.length) return ''
  let busy = 0,
    until = -Infinity
  for (const { started_ns: from, ended_ns: to } of own.toSorted((a, b) => a.started_ns - b.started_ns)) {
    if (to === null) continue
    busy += Math.max(0, to - Math.max(from, until))
    until = Math.max(until, to)
  }
  const requests = new Set(own.map(one => one.request)).size,
    bad = own.filter(isBadCall).length
  return [
    count(requests, 'model call') + (requests < own.length ? ` (${count(own.length, 'attempt')})` : ''),
    bad ? `${bad} without a whole answer` : '',
    busy ? seconds(busy) : '',
  ]
    .filter(Boolean)
    .join(' · ')
}
