// The rows of the event list: events, requests and WebSocket messages by time. A run of deltas is one row, which can be
// expanded. Pure.

import { countWhile } from './table.js'

const FEWEST = 3 // fewest deltas of a run

// The requests, WebSocket messages and model calls of a session, by time: {kind, name, at, x, failed} and {…, message},
// {…, call}.
export function othersOf({ exchanges, messages }, calls = []) {
  const byNumber = new Map(exchanges.map(x => [x.exchange, x]))
  const requests = exchanges.map(x => ({ kind: 'request', name: `${x.exchange}`, at: x.at_ns, x, failed: isFailed(x) }))
  const others = messages.map(message => ({
    kind: 'message',
    name: `${message.exchange}.${message.place}`,
    at: message.at_ns,
    x: byNumber.get(message.exchange),
    message,
    failed: false,
  }))
  return [...requests, ...others, ...calls].sort((a, b) => a.at - b.at || a.x.exchange - b.x.exchange)
}

// Whether a request got an error, or no answer.
export function isFailed(x) {
  return x.status === null ? x.end_ns !== null : x.status >= 400
}

// `places`: the shown events, as places in the order of `table`; null for all. `others`: the shown requests and
// messages. `opened`: the names of expanded runs; null if nothing is folded.
export class Lines {
  constructor(table, places, others, opened) {
    Object.assign(this, { table, places, opened })
    this.list = [] // a place in the order of the table, or ~n for the nth of `things`
    this.keys = [] // number of events of the table before the row
    this.things = [] // requests, messages, runs
    this.inner = new Set() // rows inside an expanded run
    this.named = new Map() // name of a request or message -> its row
    this.events = places ? places.length : table.order.length
    this.requests = others.filter(one => one.kind === 'request').length
    this.build(others)
  }

  build(others) {
    const { table, events } = this
    const folds = this.opened ? table.types.map(type => /\.delta$/.test(type ?? '')) : []
    let next = 0
    for (let i = 0; i < events; ) {
      const first = this.place(i)
      while (next < others.length && others[next].at <= table.sorted[first]) this.putOther(others[next++], first)
      const end = folds[this.type(i)] ? this.endOfRun(i, others[next]?.at ?? Infinity) : i + 1
      const run = end - i >= FEWEST ? this.putRun(i, end) : null
      for (; (!run || run.isOpen) && i < end; i++) this.put(this.place(i), this.place(i), run)
      i = end
    }
    while (next < others.length) this.putOther(others[next++], table.order.length)
  }

  place(i) {
    return this.places ? this.places[i] : i
  }

  type(i) {
    return this.table.type[this.table.order[this.place(i)]]
  }

  endOfRun(from, before) {
    const { sorted } = this.table,
      type = this.type(from)
    let end = from + 1
    while (end < this.events && this.type(end) === type && sorted[this.place(end)] < before) end++
    return end
  }

  put(entry, key, run) {
    if (run) this.inner.add(this.list.length)
    this.list.push(entry)
    this.keys.push(key)
  }

  putOther(one, key) {
    this.named.set(one.name, this.list.length)
    this.put(~this.things.length, key)
    this.things.push(one)
  }

  putRun(from, end) {
    const { table } = this,
      place = this.place(from),
      row = table.order[place],
      name = `${table.stream[row]}:${table.seq[row]}`
    const run = { kind: 'run', name, place, row, from, end, at: table.sorted[place], isOpen: this.opened.has(name) }
    run.length = table.sorted[this.place(end - 1)] - run.at
    this.put(~this.things.length, place)
    this.things.push(run)
    return run
  }

  // The row at an index: an event, a request, a message or a run.
  at(index) {
    const entry = this.list[index],
      { table } = this
    if (entry === undefined) return undefined
    if (entry < 0) return this.things[~entry]
    return { kind: 'event', place: entry, row: table.order[entry], at: table.sorted[entry], isInner: this.inner.has(index) }
  }

  // The first events of a run, as rows of the table.
  beginningOf(run, most) {
    return Array.from({ length: Math.min(run.end - run.from, most) }, (_, i) => this.table.order[this.place(run.from + i)])
  }

  // The index of an event, or of its run; for a hidden event, that of the row before it.
  indexOf(place) {
    return countWhile(this.list.length, i => this.keys[i] <= place) - 1
  }

  // The last row up to a time; -1 if there is none.
  indexAt(at) {
    return countWhile(this.list.length, i => this.timeOf(i) <= at) - 1
  }

  timeOf(i) {
    const entry = this.list[i]
    return entry < 0 ? this.things[~entry].at : this.table.sorted[entry]
  }

  // The index of the selection; -1 if there is none, or if it is hidden.
  indexOfSelected(selected) {
    if (!selected) return -1
    if (selected.call !== undefined) return this.named.get(`call ${selected.call}`) ?? -1
    if (selected.exchange !== undefined) return this.named.get(nameOf(selected)) ?? -1
    const index = this.indexOf(this.table.placeOf(selected.row)),
      line = this.at(index)
    if (line?.kind === 'run') return this.places && !this.holds(line, selected.row) ? -1 : index
    return line?.row === selected.row ? index : -1
  }

  holds(run, row) {
    const place = this.table.placeOf(row)
    return place >= run.place && place <= this.place(run.end - 1)
  }
}

// The name of a request, or of a message of it.
export function nameOf({ exchange, message }) {
  return message === undefined ? `${exchange}` : `${exchange}.${message}`
}
