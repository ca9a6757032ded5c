// Which events the wire shows. Pure.

import { VERDICTS } from './table.js'

export const ALL = { type: '', verdict: '', stream: '', from: null, to: null, beats: true, found: null }

export function isAll(filter) {
  return Object.entries(ALL).every(([name, value]) => filter[name] === value)
}

// The places in the order of `table` of what passes; null for all of them. `found`: stream -> set of numbers, what a
// search for text came to.
export function passing(table, filter) {
  if (isAll(filter)) return null
  const types = table.types.map(type => fits(type ?? '', filter.type))
  const verdict = VERDICTS.indexOf(filter.verdict), stream = filter.stream === '' ? null : Number(filter.stream), odd = filter.verdict === 'odd'
  const places = []
  for (let place = 0; place < table.order.length; place++) {
    const row = table.order[place], at = table.at[row]
    if (!types[table.type[row]]) continue
    if (verdict >= 0 && table.verdict[row] !== verdict) continue
    if (odd && !isOdd(table, row)) continue
    if (stream !== null && table.stream[row] !== stream) continue
    if ((filter.from !== null && at < filter.from) || (filter.to !== null && at > filter.to)) continue
    if (!filter.beats && table.isBeat(row)) continue
    if (filter.found && !filter.found.get(table.stream[row])?.has(table.seq[row])) continue
    places.push(place)
  }
  return places
}

function isOdd(table, row) {
  return !['valid', 'comment', 'sentinel'].includes(VERDICTS[table.verdict[row]])
}

// A glob, as `events --type` takes it, or a part of the type's name.
export function fits(type, wanted) {
  if (!wanted) return true
  if (!/[*?]/.test(wanted)) return type.includes(wanted)
  const pattern = wanted.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.')
  return new RegExp(`^${pattern}$`, 's').test(type)
}
