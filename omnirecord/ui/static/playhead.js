// The playhead of a session: its position, playback and selection. Once a frame, it tells its listeners the names of
// the changes: data, time, playing, selected, follow…

import { momentsOf } from './calls.js'
import { pacing, toPlay, toTime } from './scale.js'
import { Table, upTo } from './table.js'
import { moments } from './talk.js'

export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16, 32]
export const CAPS = [0.5, 1, 2, 5, 10, Infinity] // seconds

export class Playhead {
  constructor({ now, frame }) {
    Object.assign(this, { now, frame })
    this.table = new Table()
    this.calls = [] // the model calls of the session
    this.session = null
    this.turns = []
    this.listeners = []
    this.news = new Set()
    this.speed = 1
    this.cap = 2
    this.isPlaying = this.isClosed = false
    this.isAtEnd = true // follow the end while events arrive
    this.at = this.begin = this.end = 0
    this.selected = null // {row} or {exchange}
    this.waiting = 0 // number of events since following stopped
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

  setPace() {
    const spoken = this.session ? moments(this.turns).concat(this.session.exchanges.map(x => x.at_ns)) : []
    const all = Float64Array.from(this.table.news.concat(spoken, momentsOf(this.calls))).sort()
    this.pace = pacing(all, this.begin, this.end, this.cap * 1e9)
  }

  get played() {
    return toPlay(this.pace, this.at)
  }

  moveTo(at, { keep = false } = {}) {
    this.at = Math.min(Math.max(at, this.begin), this.end)
    this.isAtEnd = this.at >= this.end
    if (this.isAtEnd) this.waiting = 0
    if (!keep && this.isPlaying) this.anchor()
    this.changed('time')
  }

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

  toggle() {
    this.isPlaying ? this.pause() : this.play()
  }

  anchor() {
    this.since = { now: this.now(), played: this.played }
  }

  tick() {
    if (!this.isPlaying || this.isClosed) return
    const played = this.since.played + (this.now() - this.since.now) * 1e6 * this.speed
    this.moveTo(toTime(this.pace, played), { keep: true })
    this.lookThere()
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

  // Move to the next or the previous one of some sorted times.
  hop(times, forward) {
    const here = forward ? upTo(times, this.at) : upTo(times, this.at - 1) - 1
    if (times[here] !== undefined) this.moveTo(times[here])
    else if (!forward) this.moveTo(this.begin)
    this.lookThere()
  }

  select(selected) {
    this.selected = selected
    this.changed('selected')
  }

  // Select the event at the playhead; before the first event, none.
  selectAtPlayhead() {
    const place = this.table.placeAt(this.at),
      row = this.table.order[place]
    if (row === undefined) this.select(null)
    else if (this.selected?.row !== row) this.select({ row })
  }

  // Move the selection, or else the event list, to the playhead.
  lookThere() {
    if (this.selected) this.selectAtPlayhead()
    else this.changed('follow')
  }

  // Move the playhead.
  jump(at) {
    this.moveTo(at)
    this.lookThere()
  }

  // Move the playhead, and select the last event up to that time.
  point(at) {
    this.moveTo(at)
    this.selectAtPlayhead()
  }
}
