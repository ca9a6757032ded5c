// Shortens silences: playing time, in which no gap between two moments exceeds a cap. Pure.

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
