// The events of a session as columns of numbers, and their order by time. Pure.

export const VERDICTS = ['comment', 'sentinel', 'truncated', 'malformed', 'unknown', 'invalid', 'valid']
export const VALID = VERDICTS.indexOf('valid')
const BEATS = new Set(['session.heartbeat', 'response.heartbeat'])
const COLUMNS = {
  stream: Float64Array,
  seq: Float64Array,
  at: Float64Array,
  sent: Float64Array,
  type: Uint32Array,
  verdict: Uint8Array,
  length: Float64Array,
  issues: Uint32Array,
}

export class Table {
  constructor() {
    this.size = 0
    this.types = [] // names of the numbers in `type`; null for an event without a type
    this.numbers = new Map()
    this.order = [] // rows of the events, by time
    this.last = new Map() // stream -> its highest loaded seq
    this.rows = new Map() // stream -> seq -> row
    for (const [name, Kind] of Object.entries(COLUMNS)) this[name] = new Kind(1024)
    this.forget()
  }

  forget() {
    this.sorted = [] // the times of all events
    this.beats = [] // sorted times of heartbeats
    this.news = [] // sorted times of all other events
    this.odd = [] // sorted times of events that are not valid
  }

  // Add a piece of a stream from the server, whose times are differences.
  add(piece) {
    const { stream } = piece,
      types = piece.types.map(type => this.typeNumber(type)),
      first = this.size
    let at = 0
    piece.seq.forEach((seq, i) => {
      at += piece.dt[i]
      const sent = piece.sent[i] < 0 ? NaN : at + piece.sent[i],
        [type, verdict, length, issues] = [types[piece.type[i]], piece.verdict[i], piece.length[i], piece.issues[i]]
      this.push({ stream, seq, at, sent, type, verdict, length, issues })
    })
    this.arrange(first)
    return this.size - first
  }

  // Add a row of the live stream, in the form of `events --json`.
  addRow({ stream, seq, offset_ns: at, sent_ns: sent, ...row }, length) {
    const type = this.typeNumber(row.type),
      verdict = VERDICTS.indexOf(row.verdict)
    if (!this.push({ stream, seq, at, sent: sent ?? NaN, type, verdict, length, issues: row.issues.length })) return false
    this.arrange(this.size - 1)
    return true
  }

  typeNumber(type) {
    if (!this.numbers.has(type)) {
      this.numbers.set(type, this.types.length)
      this.types.push(type)
    }
    return this.numbers.get(type)
  }

  // Add an event, unless it is there.
  push(values) {
    const { stream, seq } = values
    if (seq <= (this.last.get(stream) ?? 0)) return false
    if (this.size === this.at.length) this.grow()
    const row = this.size++
    for (const name in values) this[name][row] = values[name]
    this.last.set(stream, seq)
    if (!this.rows.has(stream)) this.rows.set(stream, new Map())
    this.rows.get(stream).set(seq, row)
    return true
  }

  grow() {
    for (const [name, Kind] of Object.entries(COLUMNS)) {
      const wider = new Kind(this[name].length * 2)
      wider.set(this[name])
      this[name] = wider
    }
  }

  // Sort the rows from `first` on into the order by time. Rows after all others are appended.
  arrange(first) {
    const lastAt = this.order.length ? this.at[this.order.at(-1)] : -Infinity
    let inOrder = true,
      before = lastAt
    for (let row = first; row < this.size; row++) {
      if (this.at[row] < before) inOrder = false
      before = this.at[row]
      this.order.push(row)
    }
    if (!inOrder) {
      this.order.sort((a, b) => this.at[a] - this.at[b] || this.stream[a] - this.stream[b] || this.seq[a] - this.seq[b])
      this.forget()
    }
    for (let place = this.sorted.length; place < this.order.length; place++) this.note(place)
  }

  note(place) {
    const row = this.order[place],
      at = this.at[row],
      verdict = this.verdict[row]
    this.sorted.push(at)
    ;(this.isBeat(row) ? this.beats : this.news).push(at)
    if (verdict < VALID && verdict > 1) this.odd.push(at)
  }

  isBeat(row) {
    return this.verdict[row] === 0 || BEATS.has(this.types[this.type[row]])
  }

  rowOf(stream, seq) {
    return this.rows.get(stream)?.get(seq)
  }

  // The place of the last event up to a time; -1 if there is none.
  placeAt(at) {
    return upTo(this.sorted, at) - 1
  }

  placeOf(row) {
    let place = this.placeAt(this.at[row])
    while (place > 0 && this.order[place] !== row) place--
    return place
  }

  // The gap before the event at a place.
  gapBefore(place) {
    return place > 0 ? this.sorted[place] - this.sorted[place - 1] : 0
  }
}

// The number of values in a sorted list that are at most `value`.
export function upTo(sorted, value) {
  return countWhile(sorted.length, i => sorted[i] <= value)
}

// The number of first places, of `many`, for which `holds` is true.
export function countWhile(many, holds) {
  let low = 0,
    high = many
  while (low < high) {
    const middle = (low + high) >> 1
    if (holds(middle)) low = middle + 1
    else high = middle
  }
  return low
}

// Whether a verdict is that of a broken event.
export function isOdd(verdict) {
  return !['valid', 'comment', 'sentinel'].includes(verdict)
}

// The entries of broken events in numbers by verdict.
export function oddIn(verdicts) {
  return Object.entries(verdicts).filter(([name]) => isOdd(name))
}
