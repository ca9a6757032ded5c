// One session on the table: its data as far as it has come, where the playhead is, what is selected. What shows it is
// told once a frame what has changed, in words: data, time, playing, selected, filter, live.

import { ALL, passing } from './filters.js'
import { silencesOf, timed } from './lanes.js'
import { pacing, toPlay, toTime } from './pacing.js'
import { moments, script } from './talk.js'
import { Table, upTo } from './table.js'

export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16, 32]
export const CAPS = [0.5, 1, 2, 5, 10, Infinity]  // seconds
const GISTS = 200

export class Deck {
  constructor(source, key, { now = () => performance.now(), frame = run => requestAnimationFrame(run) } = {}) {
    Object.assign(this, { source, key, now, frame })
    this.table = new Table()
    this.session = null
    this.turns = []
    this.found = []             // findings, with their times
    this.gists = new Map()      // row -> what it says
    this.asked = new Set()      // blocks of gists that are on their way
    this.listeners = []
    this.news = new Set()
    this.speed = 1
    this.cap = 2
    this.isPlaying = false
    this.isAtEnd = true         // the playhead stays at the end while there comes more
    this.at = 0
    this.selected = null        // {row} or {exchange}
    this.filter = { ...ALL }
    this.places = null          // what passes the filter; null for all
    this.waiting = 0            // how much has come since the page stands still
    this.begin = this.end = 0
    this.problem = null
    this.isLoaded = this.isClosed = this.isFollowed = false
    this.pace = pacing([], 0, 0, this.cap * 1e9)
  }

  on(listener) {
    this.listeners.push(listener)
  }

  changed(...what) {
    if (!this.news.size) this.frame(() => this.tell())
    for (const one of what) this.news.add(one)
  }

  tell() {
    const news = this.news
    this.news = new Set()
    if (!this.isClosed) for (const listener of this.listeners) listener(news)
  }

  close() {
    this.isClosed = true
    this.isPlaying = false
  }

  // ---- data

  async load(streams) {
    const columns = this.loadEvents(streams)
    await Promise.race([columns, this.firstPiece])
    const session = await this.source.session(this.key)
    if (this.isClosed) return
    this.take(session)
    const known = new Set(streams), others = session.exchanges.map(x => x.stream).filter(one => one !== null && !known.has(one))
    await columns
    await this.loadEvents(others)
    this.isLoaded = true
    this.arrange()
    await this.loadFindings()
  }

  async loadFindings() {
    const all = await this.source.findings(this.session.family[0].session_id ?? undefined)
    const streams = new Set(this.session.exchanges.map(x => x.stream))
    this.raw = all.filter(one => this.session.family.some(told => told.session_id === one.session_id) || streams.has(one.stream))
    this.arrange()
  }

  loadEvents(streams) {
    let first
    this.firstPiece = new Promise(resolve => { first = resolve })
    return (async () => {
      for (const stream of streams) await this.loadStream(stream, first)
      first()
    })()
  }

  async loadStream(stream, first = () => {}) {
    for (;;) {
      const piece = await this.source.events(stream, this.table.last.get(stream) ?? 0)
      if (this.isClosed) return
      this.table.add(piece)
      this.arrange()
      first()
      if (!piece.more) return
    }
  }

  take(session) {
    this.session = session
    this.turns = reused(this.turns, script(session.family[0]))
    this.children = new Map(session.family.slice(1).map(told => [told.session_id, { told, turns: script(told) }]))
    this.begins = this.turns.map(one => one.begin)
    this.arrange()
  }

  // Put together anew what follows from the data.
  arrange() {
    const family = this.session?.family ?? []
    const begins = family.map(one => one.begun_ns), ends = family.map(one => one.ended_ns ?? 0)
    const { sorted } = this.table
    this.begin = Math.min(...begins, ...(sorted.length ? [sorted[0]] : []), Infinity)
    this.end = Math.max(...ends, sorted.at(-1) ?? 0, this.begin)
    if (!Number.isFinite(this.begin)) this.begin = this.end = 0
    this.found = this.session ? timed(this.raw ?? [], this.table, this.end) : []
    this.silences = this.session ? silencesOf(family) : []
    this.setPace()
    if (this.isAtEnd && !this.isPlaying) this.at = this.end
    this.places = passing(this.table, this.filter)
    this.changed('data', 'time')
  }

  setPace() {
    const spoken = this.session ? moments(this.turns).concat(this.session.exchanges.map(x => x.at_ns)) : []
    const all = Float64Array.from(this.table.news.concat(spoken)).sort()
    this.pace = pacing(all, this.begin, this.end, this.cap * 1e9)
  }

  // ---- the playhead

  get played() { return toPlay(this.pace, this.at) }

  moveTo(at, { keep = false } = {}) {
    this.at = Math.min(Math.max(at, this.begin), this.end)
    this.isAtEnd = this.at >= this.end
    if (this.isAtEnd) this.waiting = 0
    if (!keep && this.isPlaying) this.anchor()
    this.changed('time')
  }

  movePlayed(played) { this.moveTo(toTime(this.pace, played)) }

  play() {
    if (this.at >= this.end) this.moveTo(this.begin)
    this.isPlaying = true
    this.isAtEnd = false
    this.anchor()
    this.changed('playing')
    this.frame(() => this.tick())
  }

  pause() {
    this.isPlaying = false
    this.changed('playing')
  }

  toggle() { this.isPlaying ? this.pause() : this.play() }

  anchor() { this.since = { now: this.now(), played: this.played } }

  tick() {
    if (!this.isPlaying || this.isClosed) return
    const played = this.since.played + (this.now() - this.since.now) * 1e6 * this.speed
    this.moveTo(toTime(this.pace, played), { keep: true })
    this.selectAtPlayhead()
    if (this.at >= this.end) this.pause()
    else this.frame(() => this.tick())
  }

  setSpeed(speed) {
    this.speed = speed
    if (this.isPlaying) this.anchor()
    this.changed('playing')
  }

  setCap(cap) {
    this.cap = cap
    this.setPace()
    if (this.isPlaying) this.anchor()
    this.changed('data', 'time', 'playing')
  }

  // To the next or the one before of some sorted times.
  hop(times, forward) {
    const here = forward ? upTo(times, this.at) : upTo(times, this.at - 1) - 1
    if (times[here] !== undefined) this.moveTo(times[here])
    else if (!forward) this.moveTo(this.begin)
    this.selectAtPlayhead()
  }

  // ---- what is selected

  select(selected) {
    this.selected = selected
    this.changed('selected')
  }

  selectAtPlayhead() {
    const place = this.table.placeAt(this.at), row = this.table.order[place]
    if (row !== undefined && this.selected?.row !== row) this.select({ row })
  }

  // Move there, and select what came last by then.
  point(at) {
    this.moveTo(at)
    this.selectAtPlayhead()
  }

  pointAt(stream, seq) {
    const row = this.table.rowOf(stream, seq)
    if (row === undefined) return false
    this.moveTo(this.table.at[row])
    this.select({ row })
    return true
  }

  setFilter(change) {
    this.filter = { ...this.filter, ...change }
    this.places = passing(this.table, this.filter)
    this.changed('filter')
  }

  async findText(text) {
    if (!text) return this.setFilter({ found: null })
    const streams = [...this.table.last.keys()], found = await this.source.matching(streams, text)
    this.setFilter({ found: new Map(Object.entries(found).map(([stream, seqs]) => [Number(stream), new Set(seqs)])) })
  }

  // What these rows say, as far as that is here; the rest is asked for by the hundred, once they are looked at for a
  // moment: of what is scrubbed past nothing is needed.
  wantGists(rows) {
    this.wanted = rows.filter(row => !this.gists.has(row))
    if (!this.wanted.length || this.isAsking) return
    this.isAsking = true
    setTimeout(() => {
      this.isAsking = false
      const blocks = new Map(this.wanted.map(row => [`${this.table.stream[row]}.${blockOf(this.table.seq[row])}`, row]))
      for (const [name, row] of blocks) if (!this.asked.has(name)) this.askGists(name, this.table.stream[row], blockOf(this.table.seq[row]))
    }, 60)
  }

  async askGists(name, stream, block) {
    this.asked.add(name)
    try {
      const { rows } = await this.source.gists(stream, block * GISTS, GISTS)
      for (const [one, gist] of rows) {
        const row = this.table.rowOf(stream, one)
        if (row !== undefined) this.gists.set(row, gist)
      }
      if (rows.length < GISTS) this.asked.delete(name)
      this.changed('gists')
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

  // Rows of the live stream. Returns whether any of them is of this session.
  hear(rows) {
    const mine = rows.filter(row => this.isMine(row))
    for (const row of mine) this.hearOne(row)
    if (!mine.length) return false
    if (!this.isAtEnd) this.waiting += mine.length
    this.arrange()
    this.changed('live')
    return true
  }

  // Whether the playhead is where there is no more, and nothing more will come.
  get isOver() { return this.isLoaded && !this.isFollowed && this.at >= this.end }

  get isLive() { return this.isFollowed && this.isAtEnd && !this.isPlaying }

  // Stay here while more comes; and be at the end of it again.
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
    return this.table.last.has(row.stream) || (this.session?.family ?? []).some(one => one.session_id !== null && one.session_id === row.session_id)
  }

  hearOne(row) {
    const last = this.table.last.get(row.stream) ?? 0
    if (row.seq > last + 1) return this.loadStream(row.stream).catch(problem => this.fail(problem))
    return this.table.addRow(row, typeof row.raw === 'string' ? row.raw.length : 0)
  }

  async refresh() {
    const session = await this.source.session(this.key)
    if (!this.isClosed) this.take(session)
  }
}

// The new turns, with the old ones in the place of those that say the same: what shows these can stay as it is.
function reused(before, turns) {
  return turns.map((one, i) => {
    const old = before[i]
    const same = old && !one.turn.children.length && JSON.stringify([old.turn, old.entries]) === JSON.stringify([one.turn, one.entries])
    return same ? old : one
  })
}

function blockOf(seq) {
  return Math.floor((seq - 1) / GISTS)
}
