// The filter of the event list. Pure.

import { VERDICTS, isOdd } from './table.js'

// `from` and `to`: seconds since the start of the session. `fold`: whether a run of deltas is one row. `rows`: only
// `events`, or only `requests`. `text`: the search text. `found`: its result, {events: stream -> set of numbers,
// exchanges: set of numbers}.
export const ALL = {
  rows: '', type: '', text: '', verdict: '', stream: '', from: null, to: null, beats: true, fold: true, found: null,
} // prettier-ignore
const LEAVES_OUT = ['rows', 'type', 'verdict', 'stream', 'from', 'to', 'beats', 'found']

export function isAll(filter) {
  return LEAVES_OUT.every(name => filter[name] === ALL[name])
}

// The matching places in the order of `table`; null for all.
export function passing(table, filter, begin) {
  if (isAll(filter)) return null
  if (filter.rows === 'requests') return []
  const types = table.types.map(type => fits(type ?? '', filter.type))
  const verdict = VERDICTS.indexOf(filter.verdict),
    stream = filter.stream === '' ? null : Number(filter.stream),
    odd = filter.verdict === 'odd'
  const places = []
  for (let place = 0; place < table.order.length; place++) {
    const row = table.order[place]
    if (!types[table.type[row]]) continue
    if (verdict >= 0 && table.verdict[row] !== verdict) continue
    if (odd && !isOdd(VERDICTS[table.verdict[row]])) continue
    if (stream !== null && table.stream[row] !== stream) continue
    if (!isWithin(table.at[row] - begin, filter)) continue
    if (!filter.beats && table.isBeat(row)) continue
    if (filter.found && !filter.found.events.get(table.stream[row])?.has(table.seq[row])) continue
    places.push(place)
  }
  return places
}

// The matching requests and WebSocket messages.
export function passingOthers(others, filter, begin) {
  if (isAll(filter)) return others
  if (filter.rows === 'events') return []
  return others.filter(
    one =>
      fits(`${one.x.method} ${one.x.target}`, filter.type) &&
      (filter.verdict === '' || (filter.verdict === 'odd' && one.failed)) &&
      (filter.stream === '' || one.x.stream === Number(filter.stream)) &&
      isWithin(one.at - begin, filter) &&
      (!filter.found || holdsText(one, filter)),
  )
}

function isWithin(ns, { from, to }) {
  return (from === null || ns >= from * 1e9) && (to === null || ns <= to * 1e9)
}

function holdsText({ x }, { text, found }) {
  return found.exchanges.has(x.exchange) || x.target.toLowerCase().includes(text.toLowerCase())
}

// The conditions of a filter in words.
export function saidOf({ rows, type, text, verdict, stream, from, to, beats }) {
  return [
    rows && `only ${rows}`,
    type && `type “${type}”`,
    text && `text “${text}”`,
    verdict && (verdict === 'odd' ? 'not valid, or failed' : `verdict ${verdict}`),
    stream && `stream ${stream}`,
    from !== null && `from ${from} s`,
    to !== null && `to ${to} s`,
    !beats && 'no heartbeats',
  ]
    .filter(Boolean)
    .join(', ')
}

// Convert a filter to the form in an address, and back.
export function toAddress(filter) {
  return Object.fromEntries(
    Object.entries(filter)
      .filter(([name, value]) => name !== 'found' && value !== ALL[name])
      .map(([name, value]) => [name, value === false ? 'no' : String(value)]),
  )
}

export function ofAddress(route) {
  const seconds = text => (/^-?\d+(\.\d+)?$/.test(text ?? '') ? Number(text) : null)
  const texts = ['rows', 'type', 'text', 'verdict', 'stream'].map(name => [name, route[name] ?? ''])
  const flags = ['beats', 'fold'].map(name => [name, route[name] !== 'no'])
  return { ...ALL, ...Object.fromEntries([...texts, ...flags]), from: seconds(route.from), to: seconds(route.to) }
}

// Match a type against a glob, as `events --type` does, or against a part of its name.
export function fits(type, wanted) {
  if (!wanted) return true
  if (!/[*?]/.test(wanted)) return type.includes(wanted)
  const pattern = wanted
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${pattern}$`, 's').test(type)
}
