// The part of a session that the timeline shows, in playing time, and its place on the screen. Pure.

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
