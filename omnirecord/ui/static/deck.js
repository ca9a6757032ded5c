// One session: its loaded data and its playhead.

import { callRows } from './calls.js'
import { ALL, passing, passingOthers } from './filters.js'
import { silencesOf, timed } from './lanes.js'
import { Lines, nameOf, othersOf } from './lines.js'
import { Playhead } from './playhead.js'
import { write } from './routes.js'
import { script } from './talk.js'

const SUMMARIES = 200

export class Deck extends Playhead {
  constructor(source, key, { now = () => performance.now(), frame = run => requestAnimationFrame(run) } = {}) {
    super({ now, frame })
    Object.assign(this, { source, key })
    this.found = [] // findings, with their times
    this.summaries = new Map() // row -> one-line summary
    this.asked = new Set() // requested blocks of summaries
    this.filter = { ...ALL }
    this.opened = new Set() // runs of deltas that are open in the list, by name
    this.others = [] // requests, WebSocket messages and model calls, by time
    this.spent = new Map() // `key turn` -> where the time of the turn went
    this.forks = new Map() // `key turn` -> the end of the command that forks at the turn
    this.hasCalls = false // whether the cassette has a model hop
    this.deltaTimes = new Map() // `call.delta` -> time, of shown events of calls
    this.list()
    this.problem = null
    this.asks = this.taken = 0 // number of requests for the session, and of the shown answer
    this.isLoaded = this.isFollowed = false
  }

  // ---- data

  async load(streams) {
    const columns = this.loadEvents(streams)
    await Promise.race([columns, this.firstPiece])
    await this.loadSession()
    if (this.isClosed) return
    await this.loadCalls()
    const known = new Set(streams),
      others = this.session.exchanges.map(x => x.stream).filter(one => one !== null && !known.has(one))
    await columns
    await this.loadEvents(others)
    if (this.isFollowed) await this.catchUp()
    this.isLoaded = true
    this.arrange()
    await this.loadFindings()
  }

  // Load the events that were missed while the connection was lost, including new streams and unfinished loads.
  async catchUp() {
    if (!this.session) await this.loadSession()
    if (this.isClosed) return
    const streams = this.session.exchanges.map(x => x.stream).filter(one => one !== null)
    for (const stream of streams) await this.loadStream(stream)
    this.isLoaded = true
  }

  async loadFindings() {
    const all = await this.source.ask('findings', { session: this.session.family[0].session_id })
    const streams = new Set([...this.session.exchanges, ...this.calls].map(x => x.stream)),
      ids = new Set(this.session.family.map(told => told.session_id))
    this.raw = all.filter(one =>
      one.stream === null
        ? one.session_id !== null && ids.has(one.session_id) && one.recording === this.recording
        : streams.has(one.stream),
    )
    this.arrange()
  }

  loadEvents(streams) {
    const { promise, resolve: first } = Promise.withResolvers()
    this.firstPiece = promise
    return (async () => {
      for (const stream of streams) await this.loadStream(stream, first)
      first()
    })()
  }

  async loadStream(stream, first = () => {}) {
    for (;;) {
      const piece = await this.source.ask('events', { stream, after: this.table.last.get(stream) ?? 0 })
      if (this.isClosed) return
      const isNew = this.table.add(piece) > 0,
        isDue = this.now() - (this.arranged ?? -Infinity) > 300
      if (isNew && (isDue || !piece.more)) this.arrange()
      first()
      if (!piece.more) return
    }
  }

  // An answer that arrives after a newer one is dropped.
  async loadSession() {
    const number = ++this.asks,
      session = await this.source.ask('session', { key: this.key })
    if (this.isClosed || number < this.taken) return
    this.taken = number
    this.take(session)
  }

  // Load the model calls; they are shown with the session.
  async loadCalls() {
    if (!this.hasCalls) return
    const { calls, spent } = await this.source.ask('calls', { key: this.key })
    if (this.isClosed) return
    this.calls = calls
    this.spent = new Map(spent.map(({ key, turn, sentence }) => [`${key} ${turn}`, sentence]))
    this.forks = new Map(spent.map(({ key, turn, fork }) => [`${key} ${turn}`, fork]))
    if (this.session) this.take(this.session)
  }

  take(session) {
    this.session = session
    this.turns = reused(this.turns, script(session.family[0]))
    this.children = new Map(session.family.slice(1).map(told => [told.session_id, { told, turns: script(told) }]))
    this.begins = this.turns.map(one => one.begin)
    this.others = othersOf(session, callRows(this.calls))
    this.arrange()
  }

  // Whether times were recorded: an imported raw body has none.
  get hasTimes() {
    return this.end > this.begin
  }

  // Derive the lists from the data.
  arrange() {
    this.arranged = this.now()
    const family = this.session?.family ?? []
    const begins = family.map(one => one.begun_ns),
      ends = family.map(one => one.ended_ns ?? 0).concat(this.calls.map(one => one.ended_ns ?? one.started_ns))
    const { sorted } = this.table
    this.begin = Math.min(...begins, ...(sorted.length ? [sorted[0]] : []), Infinity)
    this.end = Math.max(...ends, sorted.at(-1) ?? 0, this.begin)
    if (!Number.isFinite(this.begin)) this.begin = this.end = 0
    this.found = this.session ? timed(this.raw ?? [], this.table, this.end) : []
    this.silences = this.session ? silencesOf(family) : []
    this.setPace()
    if (this.isAtEnd && !this.isPlaying) this.at = this.end
    this.list()
    this.changed('data', 'time')
  }

  // Derive the rows of the event list.
  list() {
    const { table, filter, begin } = this
    this.lines = new Lines(
      table,
      passing(table, filter, begin),
      passingOthers(this.others, filter, begin),
      filter.fold ? this.opened : null,
    )
  }

  // ---- selection

  pointAt(stream, seq) {
    const row = this.table.rowOf(stream, seq),
      call = this.calls.find(one => one.stream === stream)
    if (call) return this.pointAtCall(call.exchange, seq)
    if (row === undefined) return false
    this.moveTo(this.table.at[row])
    this.select({ row })
    return true
  }

  // Select a request, or a message such as `12.3`.
  pointAtOther(name) {
    const one = this.others.find(other => other.name === name)
    if (!one) return
    this.moveTo(one.at)
    this.select(one.kind === 'message' ? { exchange: one.x.exchange, message: one.message.place } : { exchange: one.x.exchange })
  }

  // Select a model call, or an event of it.
  pointAtCall(exchange, delta) {
    const one = this.calls.find(call => call.exchange === exchange)
    if (!one) return false
    this.moveTo(this.deltaTimes.get(`${exchange}.${delta}`) ?? one.started_ns)
    this.select(delta ? { call: exchange, delta } : { call: exchange })
    return true
  }

  // Take the time of an event of a call, once it is loaded.
  noteDelta(exchange, delta, at) {
    const name = `${exchange}.${delta}`,
      isNew = !this.deltaTimes.has(name)
    this.deltaTimes.set(name, at)
    if (isNew && !this.isPlaying) this.moveTo(at)
  }

  // Move from a delta to its partner on the other hop.
  async hopAcross() {
    const { selected, table } = this
    const call = this.calls.find(one => one.exchange === selected?.call && one.stream !== null)
    let place = null
    if (selected?.row !== undefined) place = { stream: table.stream[selected.row], seq: table.seq[selected.row] }
    else if (call && selected.delta) place = { stream: call.stream, seq: selected.delta }
    const move = place && this.calls.length ? await this.source.ask('move', place) : null
    if (move) this.goAlong(move)
  }

  goAlong({ key, exchange, stream, seq }) {
    const isHere = exchange === null ? this.pointAt(stream, seq) : this.pointAtCall(exchange, seq)
    if (!isHere && key) location.hash = write({ view: 'session', key, ...(exchange === null ? { event: `${stream}:${seq}` } : { call: exchange, delta: seq }) })
  }

  // The time of the selection.
  timeOf({ row, exchange, message, call, delta }) {
    if (row !== undefined) return this.table.at[row]
    if (call !== undefined) return this.deltaTimes.get(`${call}.${delta}`) ?? this.calls.find(one => one.exchange === call)?.started_ns
    return this.others.find(other => other.name === nameOf({ exchange, message }))?.at
  }

  setFilter(change) {
    this.filter = { ...this.filter, ...change }
    this.list()
    this.changed('filter')
  }

  async findText(text) {
    if (!text) return this.setFilter({ text: '', found: null })
    const numbers = [...this.session.exchanges, ...this.calls].map(x => x.exchange),
      { exchanges, streams } = await this.source.matching([...this.table.last.keys()], numbers, text)
    const events = new Map(Object.entries(streams).map(([stream, seqs]) => [Number(stream), new Set(seqs)]))
    this.setFilter({ text, found: { events, exchanges: new Set(exchanges) } })
  }

  // Expand or collapse a run of deltas in the list.
  turnRun({ name }) {
    if (!this.opened.delete(name)) this.opened.add(name)
    this.list()
    this.changed('filter')
  }

  // Load the summaries of these rows in blocks. The delay skips rows that are only scrolled past.
  wantSummaries(rows) {
    this.wanted = rows.filter(row => !this.summaries.has(row))
    if (!this.wanted.length || this.isAsking) return
    this.isAsking = true
    setTimeout(() => {
      this.isAsking = false
      const blocks = new Map(this.wanted.map(row => [`${this.table.stream[row]}.${blockOf(this.table.seq[row])}`, row]))
      for (const [name, row] of blocks)
        if (!this.asked.has(name)) this.askSummaries(name, this.table.stream[row], blockOf(this.table.seq[row]))
    }, 60)
  }

  async askSummaries(name, stream, block) {
    this.asked.add(name)
    try {
      const { rows } = await this.source.ask('summaries', { stream, after: block * SUMMARIES, count: SUMMARIES })
      for (const [one, summary] of rows) {
        const row = this.table.rowOf(stream, one)
        if (row !== undefined) this.summaries.set(row, summary)
      }
      if (rows.length < SUMMARIES) this.asked.delete(name)
      this.changed('summaries')
    } catch (problem) {
      this.asked.delete(name)
      this.fail(problem)
    }
  }

  fail(problem) {
    this.problem = problem
    this.changed('problem')
  }

  // ---- live

  // Take rows of the live stream. Returns whether any of them belongs to this session.
  receive(rows) {
    const mine = rows.filter(row => this.isMine(row))
    for (const row of mine) this.receiveOne(row)
    if (!mine.length) return false
    if (!this.isAtEnd) this.waiting += mine.length
    this.arrange()
    this.changed('live')
    return true
  }

  // Whether the playhead is at the end and no more events will arrive.
  get isOver() {
    return this.isLoaded && !(this.isFollowed && this.isOpen) && this.at >= this.end
  }

  // Whether a client still listens to the session.
  get isOpen() {
    return this.session?.family[0].conclusion.outcome === 'recording'
  }

  get isLive() {
    return this.isFollowed && this.isAtEnd && !this.isPlaying
  }

  // Stop following the end of the recording; `goLive` returns to it.
  still() {
    this.isAtEnd = false
    this.changed('playing')
  }

  goLive() {
    this.isPlaying = false
    this.moveTo(this.end)
    this.changed('playing')
  }

  isMine(row) {
    return (
      this.table.last.has(row.stream) ||
      (row.recording === this.recording &&
        (this.session?.family ?? []).some(one => one.session_id !== null && one.session_id === row.session_id))
    )
  }

  // The recording of the session.
  get recording() {
    return Number(this.key.split('.')[0])
  }

  receiveOne(row) {
    const last = this.table.last.get(row.stream) ?? 0
    if (row.seq > last + 1) return this.loadStream(row.stream).catch(problem => this.fail(problem))
    return this.table.addRow(row, typeof row.raw === 'string' ? row.raw.length : 0)
  }

  async refresh() {
    await this.loadSession()
    if (this.isClosed) return
    await this.loadCalls()
    for (const { stream } of this.session.exchanges)
      if (stream !== null && !this.table.last.has(stream)) await this.loadStream(stream)
  }
}

// The new turns; an unchanged turn is replaced by its old object, so that its view is kept.
function reused(before, turns) {
  return turns.map((one, i) => {
    const old = before[i]
    const same =
      old &&
      !one.turn.children.length &&
      JSON.stringify([old.turn, old.entries]) === JSON.stringify([one.turn, one.entries])
    return same ? old : one
  })
}

function blockOf(seq) {
  return Math.floor((seq - 1) / SUMMARIES)
}
