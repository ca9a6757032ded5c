// Silences made short: a second time, in which no gap between two moments is longer than a cap. Pure.

import { upTo } from './table.js'

// `moments`: sorted times at which something came; `begin` and `end`: of the whole; `cap` in ns, Infinity for none.
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

// A time on the recording's clock as time of playing, and back: straight lines between the moments.
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

// The gaps that are played in less time than they took, in order.
export function shortened(pace) {
  const found = []
  for (let i = 1; i < pace.times.length; i++) {
    const length = pace.times[i] - pace.times[i - 1]
    if (length > pace.cap) found.push({ from: pace.times[i - 1], to: pace.times[i] })
  }
  return found
}
