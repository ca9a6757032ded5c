// Playing time, in which no gap between two moments exceeds a cap, and the part of it that the timeline shows. Pure.

import { upTo } from './table.js'

// `moments`: sorted times of events. `begin` and `end`: of the session. `cap`: in ns, Infinity for none.
export function pacing(moments, begin, end, cap) {
  const times = [begin],
    played = [0]
  for (const at of [...moments, end]) {
    const before = times.at(-1)
    if (at <= before || at > end) continue
    times.push(at)
    played.push(played.at(-1) + Math.min(at - before, cap))
  }
  return { begin, end: times.at(-1), duration: played.at(-1), times, played, cap }
}

// Convert recorded time to playing time, and back: linear between the moments.
export function toPlay(pace, at) {
  return through(pace.times, pace.played, at)
}

export function toTime(pace, played) {
  return through(pace.played, pace.times, played)
}

function through(from, to, value) {
  const last = from.length - 1
  if (value <= from[0]) return to[0]
  if (value >= from[last]) return to[last]
  const i = Math.min(upTo(from, value) - 1, last - 1),
    width = from[i + 1] - from[i]
  return width > 0 ? to[i] + ((value - from[i]) / width) * (to[i + 1] - to[i]) : to[i]
}

// The shortened gaps, in order.
export function shortened(pace) {
  const found = []
  for (let i = 1; i < pace.times.length; i++) {
    const length = pace.times[i] - pace.times[i - 1]
    if (length > pace.cap) found.push({ from: pace.times[i - 1], to: pace.times[i] })
  }
  return found
}

export function whole(duration) {
  return { from: 0, to: Math.max(duration, 1) }
}

export function isWhole(view, duration) {
  return view.from <= 0 && view.to >= duration
}

export function xOf(view, played, width) {
  return ((played - view.from) / (view.to - view.from)) * width
}

export function playedAt(view, x, width) {
  return view.from + (x / width) * (view.to - view.from)
}

const NARROWEST = 1e6 // ns

// Zoom, and keep the place of `played`.
export function zoomed(view, factor, played, duration) {
  const width = Math.min(Math.max((view.to - view.from) * factor, NARROWEST), Math.max(duration, 1))
  const part = (played - view.from) / (view.to - view.from)
  return within({ from: played - part * width, to: played + (1 - part) * width }, duration)
}

export function panned(view, by, duration) {
  return within({ from: view.from + by, to: view.to + by }, duration)
}

function within(view, duration) {
  const width = view.to - view.from,
    from = Math.max(0, Math.min(view.from, Math.max(duration, 1) - width))
  return { from, to: from + width }
}

// Scroll until the playhead is visible.
export function following(view, played, duration) {
  if (played >= view.from && played <= view.to) return view
  return panned(view, played - view.from - (view.to - view.from) * 0.1, duration)
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400]

// The distance of the marks on a ruler: at most `most` marks in `ns`.
export function step(ns, most) {
  const wanted = ns / Math.max(most, 1) / 1e9
  if (wanted >= 1) return (STEPS.find(one => one >= wanted) ?? Math.ceil(wanted / 86400) * 86400) * 1e9
  const power = 10 ** Math.floor(Math.log10(Math.max(wanted, 1e-9)))
  return [1, 2, 5, 10].map(one => one * power).find(one => one >= wanted * 0.999) * 1e9
}
