// Draws the timeline: lanes on a canvas, redrawn only after a change.

import { playedAt, step, toPlay, toTime, xOf } from './scale.js'
import { upTo } from './table.js'
import { clip, clock, oneLine, seconds } from './words.js'

export const RULER = 22
export const BAR = 17
export const BETWEEN = 7
export const EVENTS = 30

// Has `deck`, `view` (the visible part), `stretches`, `lanes` with their places, `width`, `height` and `canvas`.
export class Picture {
  x(at) {
    return xOf(this.view, toPlay(this.deck.pace, at), this.width)
  }

  at(x) {
    return toTime(this.deck.pace, playedAt(this.view, x, this.width))
  }

  draw() {
    const { canvas, width } = this,
      height = this.height ?? RULER,
      ratio = devicePixelRatio || 1
    if (!width || !this.shown) return
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio)
      canvas.height = Math.round(height * ratio)
      canvas.style.width = `${width}px`
      canvas.style.height = `${height}px`
    }
    const pen = canvas.getContext('2d')
    pen.setTransform(ratio, 0, 0, ratio, 0, 0)
    pen.clearRect(0, 0, width, height)
    this.colours = palette()
    this.drawSilences(pen, height)
    this.drawRuler(pen)
    this.drawEvents(pen)
    for (const lane of this.lanes) this.drawLane(pen, lane)
    this.moveHead()
  }

  drawRuler(pen) {
    const { deck, colours, width } = this,
      from = this.at(0),
      to = this.at(width),
      every = step(to - from, width / 90)
    pen.font = `11px ${colours.font}`
    pen.textBaseline = 'middle'
    let last = -Infinity
    for (
      let at = Math.ceil((from - deck.begin) / every) * every, n = 0;
      at + deck.begin <= to && n < 500;
      at += every, n++
    ) {
      const x = this.x(at + deck.begin),
        label = clock(at, every < 1e9 ? Math.min(3, Math.ceil(-Math.log10(every / 1e9))) : 0)
      if (x - last < 46) continue
      last = x
      pen.fillStyle = colours.line
      pen.fillRect(Math.round(x), RULER - 4, 1, this.height)
      pen.fillStyle = colours.dim
      if (x < width - 100) pen.fillText(label, x + 4, RULER / 2)
    }
  }

  drawSilences(pen, height) {
    const { colours } = this,
      patterns = [hatched(pen, colours.silence), dotted(pen, colours.silence)]
    const seen = this.stretches // the visible parts, in pixels
      .map(one => ({ one, a: Math.round(Math.max(this.x(one.from), 0)), b: Math.round(Math.min(this.x(one.to), this.width)) }))
      .filter(({ a, b }) => b - a >= 1)
    for (const { a, b, one } of seen) {
      pen.clearRect(a, RULER, b - a, height - RULER)
      pen.fillStyle = patterns[Number(one.isWaiting)]
      pen.fillRect(a, RULER, b - a, height - RULER)
    }
    pen.font = `10.5px ${colours.font}`
    pen.textBaseline = 'middle'
    for (const { a, b, one } of seen.filter(({ one }) => one.isNamed)) {
      const label = `${seconds(one.to - one.from)} ${one.isWaiting ? 'waiting' : 'silence'}`
      if (b - a < pen.measureText(label).width + 8) continue
      const { width } = pen.measureText(label),
        left = (a + b - width) / 2
      pen.clearRect(left - 3, RULER + 1, width + 6, 13)
      pen.fillStyle = colours.dim
      pen.fillText(label, left, RULER + 8)
    }
  }

  // Draw the number of events per pixel: heartbeats below, invalid events in red.
  drawEvents(pen) {
    const {
        colours,
        deck: { table },
      } = this,
      base = RULER + EVENTS - 6,
      most = EVENTS - 12
    const per = this.counts(table.news),
      highest = Math.max(1, ...per)
    pen.fillStyle = colours.events
    per.forEach((n, x) => {
      const height = Math.max(2, Math.round((most * Math.log1p(n)) / Math.log1p(highest)))
      if (n) pen.fillRect(x, base - height, 1.4, height)
    })
    pen.fillStyle = colours.beat
    this.counts(table.beats).forEach((n, x) => {
      if (n) pen.fillRect(x, base + 2, 1.5, 4)
    })
    pen.fillStyle = colours.error
    this.counts(table.odd).forEach((n, x) => {
      if (n) pen.fillRect(x - 0.5, base - most, 2, most)
    })
  }

  counts(sorted) {
    const width = Math.ceil(this.width),
      found = new Uint32Array(width)
    let before = upTo(sorted, this.at(0) - 1)
    for (let x = 0; x < width; x++) {
      const upto = upTo(sorted, this.at(x + 1))
      found[x] = upto - before
      before = upto
    }
    return found
  }

  drawLane(pen, lane) {
    const ends = new Array(lane.rows).fill(-Infinity)
    for (const item of lane.items) {
      const a = this.x(item.from),
        b = Math.max(this.x(item.to), a + 3)
      if (b < 0 || a > this.width || b <= ends[item.row] + 0.5) continue
      ends[item.row] = b
      const y = lane.y + item.row * BAR
      if (item.kind === 'finding') this.drawFinding(pen, a, y, item)
      else if (item.kind === 'call') this.drawCall(pen, a, b, y, item)
      else this.drawBar(pen, Math.max(a, -4), Math.min(b, this.width + 4), y, item)
    }
  }

  drawBar(pen, a, b, y, item) {
    const { colours } = this,
      thin = item.kind === 'request' || item.kind === 'stream',
      height = BAR - 3
    pen.fillStyle = colours[item.kind] ?? colours.dim
    pen.globalAlpha = item.kind === 'stream' ? 0.5 : 1
    pen.beginPath()
    pen.roundRect(a, thin ? y + 4 : y, b - a, thin ? height - 6 : height, Math.min(3, (b - a) / 2))
    pen.fill()
    pen.globalAlpha = 1
    if (BAD.has(item.tone)) {
      pen.fillStyle = colours.error
      pen.fillRect(b - 3, y, 3, height)
    }
    if (b - a > 34 && !thin) this.drawText(pen, item, a, b, y + height / 2 + 0.5)
  }

  // A call: pale until the first byte, paler until the first token, full while it streams. A retry begins with a stroke.
  drawCall(pen, a, b, y, item) {
    const { colours } = this,
      height = BAR - 3,
      [byte, token] = item.waits.map(at => (at === null ? b : Math.min(Math.max(this.x(at), a), b)))
    const left = Math.max(a, -4),
      right = Math.min(b, this.width + 4)
    pen.fillStyle = colours.call
    for (const [from, to, alpha] of [[left, Math.min(byte, right), 0.22], [Math.max(byte, left), Math.min(token, right), 0.42], [Math.max(token, left), right, 1]]) {
      if (to <= from) continue
      pen.globalAlpha = alpha
      pen.fillRect(from, y, to - from, height)
    }
    pen.globalAlpha = 1
    pen.strokeStyle = colours.call
    pen.setLineDash(item.isUnsure ? [4, 3] : [])
    pen.strokeRect(left + 0.5, y + 0.5, Math.max(right - left - 1, 1), height - 1)
    pen.setLineDash([])
    if (item.isRetry) {
      pen.fillStyle = colours.warning
      pen.fillRect(left, y, 3, height)
    }
    if (BAD.has(item.tone)) {
      pen.fillStyle = colours.error
      pen.fillRect(right - 3, y, 3, height)
    }
    if (right - left <= 34) return
    const isWaiting = token - left >= right - token
    this.drawText(pen, item, isWaiting ? left + 2 : token, isWaiting ? token - 2 : right, y + height / 2 + 0.5, isWaiting ? colours.ink : colours.onbar)
  }

  drawText(pen, item, a, b, y, colour = this.colours.onbar) {
    pen.save()
    pen.beginPath()
    pen.rect(a, y - BAR, b - a - 4, 2 * BAR)
    pen.clip()
    pen.font = `11px ${this.colours.font}`
    pen.textBaseline = 'middle'
    pen.fillStyle = colour
    pen.fillText(fitting(pen, clip(oneLine(item.label), 160), b - Math.max(a, 0) - 9), Math.max(a, 0) + 5, y)
    pen.restore()
  }

  drawFinding(pen, x, y, item) {
    pen.fillStyle = this.colours[item.tone]
    pen.beginPath()
    pen.moveTo(x, y)
    pen.lineTo(x + 6, y + 11)
    pen.lineTo(x - 6, y + 11)
    pen.fill()
  }
}

// Cut a text to a width in pixels.
function fitting(pen, text, room) {
  const { width } = pen.measureText(text)
  if (width <= room) return text
  let short = text.slice(0, Math.floor((text.length * room) / width))
  while (short.length > 1 && pen.measureText(`${short}…`).width > room) short = short.slice(0, -1)
  return `${short.trimEnd()}…`
}

function dotted(pen, colour) {
  const tile = new OffscreenCanvas(7, 7),
    brush = tile.getContext('2d')
  brush.fillStyle = colour
  brush.beginPath()
  brush.arc(3.5, 3.5, 1.7, 0, 7)
  brush.fill()
  return pen.createPattern(tile, 'repeat')
}

function hatched(pen, colour) {
  const tile = new OffscreenCanvas(8, 8),
    brush = tile.getContext('2d')
  brush.strokeStyle = colour
  brush.lineWidth = 1.4
  brush.beginPath()
  for (const at of [-8, 0, 8]) (brush.moveTo(at - 1, 9), brush.lineTo(at + 9, -1))
  brush.stroke()
  return pen.createPattern(tile, 'repeat')
}

const BAD = new Set([
  'failed', 'denied', 'unfinished', 'incomplete', 'open', 'upstream_lost', 'recorder_killed', 'decline', 'cancel',
  'recorder_stopped',
]) // prettier-ignore

// The current colours of the style sheet.
function palette() {
  const style = getComputedStyle(document.documentElement),
    colour = name => style.getPropertyValue(`--${name}`).trim()
  const names = [
    'line', 'dim', 'silence', 'events', 'beat', 'error', 'warning', 'note', 'turn', 'thought', 'said', 'tool', 'approval',
    'child', 'stream', 'request', 'onbar', 'call', 'ink',
  ] // prettier-ignore
  return {
    ...Object.fromEntries(names.map(name => [name, colour(name)])),
    font: getComputedStyle(document.body).fontFamily,
  }
}
