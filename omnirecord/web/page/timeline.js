// The timeline: lanes on a canvas, drawn when what they show changes; the playhead is an element above it, so that
// moving it draws nothing.

import { button, fill, h, icon } from './dom.js'
import { lanesOf } from './lanes.js'
import { shortened, toPlay, toTime } from './pacing.js'
import { following, isWhole, panned, playedAt, step, whole, xOf, zoomed } from './scale.js'
import { upTo } from './table.js'
import { clip, clock, oneLine, seconds } from './words.js'

const RULER = 22
const BAR = 17
const BETWEEN = 7
const EVENTS = 30
const NEAR = 5  // pixels within which something thin is hit

export class Timeline {
  constructor(deck, onExchange) {
    Object.assign(this, { deck, onExchange })
    this.view = whole(1)
    this.lanes = []
    this.width = 0
    this.canvas = h('canvas', { class: 'lanes', role: 'img', 'aria-label': 'Timeline of the session, in lanes. The slider above moves the playhead; the list of events has the same as text.' })
    this.head = h('div', { class: 'head' })
    this.tip = h('div', { class: 'tip', hidden: true })
    this.labels = h('div', { class: 'lane-labels', 'aria-hidden': 'true' })
    this.zoom = h('div', { class: 'zoom' },
      button('Zoom in', '+', () => this.zoomBy(0.5), icon('plus')), button('Zoom out', '-', () => this.zoomBy(2), icon('minus')),
      button('Show all', '0', () => this.showAll(), icon('fit')))
    this.box = h('div', { class: 'lanes-box' }, this.canvas, this.head, this.tip)
    this.element = h('section', { class: 'timeline', 'aria-label': 'Timeline' }, this.labels, this.box, this.zoom)
    this.listen()
    deck.on(news => this.update(news))
  }

  listen() {
    const { box } = this
    new ResizeObserver(([entry]) => { this.width = entry.contentRect.width; this.draw() }).observe(box)
    box.addEventListener('pointerdown', event => this.down(event))
    box.addEventListener('pointermove', event => this.move(event))
    box.addEventListener('pointerup', event => this.up(event))
    box.addEventListener('pointercancel', () => { this.drag = null })
    box.addEventListener('pointerleave', () => { this.tip.hidden = true })
    box.addEventListener('wheel', event => this.wheel(event), { passive: false })
  }

  update(news) {
    const { deck } = this
    if (news.has('data')) {
      const wasWhole = isWhole(this.view, this.duration ?? 1)
      this.duration = deck.pace.duration
      if (wasWhole || this.view.to > this.duration) this.view = whole(this.duration)
      this.lanes = deck.session ? lanesOf(deck.session, deck.found, deck.end) : []
      this.arrange()
    }
    if (news.has('data') || news.has('theme')) this.draw()
    if (news.has('time')) this.moveHead()
  }

  // Which lane is how far down.
  arrange() {
    let y = RULER
    const events = { id: 'events', label: 'Events', items: [], rows: 1, y, height: EVENTS }
    y += EVENTS + BETWEEN
    for (const lane of this.lanes) {
      Object.assign(lane, { y, height: lane.rows * BAR })
      y += lane.height + BETWEEN
    }
    this.shown = [events, ...this.lanes]
    this.height = y
    this.box.style.height = `${y}px`
    fill(this.labels, ...this.shown.map(lane => h('div', { class: 'lane-label', style: { top: `${lane.y}px`, height: `${lane.height}px` } }, lane.label)))
  }

  x(at) { return xOf(this.view, toPlay(this.deck.pace, at), this.width) }

  at(x) { return toTime(this.deck.pace, playedAt(this.view, x, this.width)) }

  moveHead() {
    const { deck } = this
    if (deck.isPlaying) {
      const view = following(this.view, deck.played, deck.pace.duration)
      if (view !== this.view) {
        this.view = view
        this.draw()
      }
    }
    const x = this.x(deck.at), inside = x >= -1 && x <= this.width + 1
    this.head.style.transform = `translateX(${Math.min(Math.max(x, 0), this.width)}px)`
    this.head.style.opacity = inside ? '1' : '0'
  }

  // ---- drawing

  draw() {
    const { canvas, width } = this, height = this.height ?? RULER, ratio = devicePixelRatio || 1
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
    const { deck, colours, width } = this, from = this.at(0), to = this.at(width), every = step(to - from, width / 90)
    pen.font = `11px ${colours.font}`
    pen.textBaseline = 'middle'
    let last = -Infinity
    for (let at = Math.ceil((from - deck.begin) / every) * every, n = 0; at + deck.begin <= to && n < 500; at += every, n++) {
      const x = this.x(at + deck.begin), label = clock(at, every < 1e9 ? Math.min(3, Math.ceil(-Math.log10(every / 1e9))) : 0)
      if (x - last < 46) continue
      last = x
      pen.fillStyle = colours.line
      pen.fillRect(Math.round(x), RULER - 4, 1, this.height)
      pen.fillStyle = colours.dim
      pen.fillText(label, Math.min(x + 4, width - 40), RULER / 2)
    }
  }

  drawSilences(pen, height) {
    const { colours, deck } = this
    pen.fillStyle = hatched(pen, colours.silence)
    for (const { from, to } of joined([...deck.silences, ...shortened(deck.pace)])) {
      const a = Math.max(this.x(from), 0), b = Math.min(this.x(to), this.width)
      if (b - a >= 1) pen.fillRect(a, RULER, b - a, height - RULER)
    }
    pen.font = `10.5px ${colours.font}`
    pen.textBaseline = 'middle'
    for (const { from, to } of deck.silences) {
      const a = Math.max(this.x(from), 0), b = Math.min(this.x(to), this.width), label = `${seconds(to - from)} silence`
      if (b - a < pen.measureText(label).width + 8) continue
      pen.fillStyle = colours.dim
      pen.fillText(label, (a + b) / 2 - pen.measureText(label).width / 2, RULER + 7)
    }
  }

  // How many events came in each pixel; heartbeats below, what is odd in red.
  drawEvents(pen) {
    const { colours, deck: { table } } = this, base = RULER + EVENTS - 6, most = EVENTS - 12
    const per = this.counts(table.news), highest = Math.max(1, ...per)
    pen.fillStyle = colours.events
    per.forEach((n, x) => { if (n) pen.fillRect(x, base - Math.max(2, Math.round(most * Math.log1p(n) / Math.log1p(highest))), 1.4, Math.max(2, Math.round(most * Math.log1p(n) / Math.log1p(highest)))) })
    pen.fillStyle = colours.beat
    this.counts(table.beats).forEach((n, x) => { if (n) pen.fillRect(x, base + 2, 1.5, 4) })
    pen.fillStyle = colours.error
    this.counts(table.odd).forEach((n, x) => { if (n) pen.fillRect(x - 0.5, base - most, 2, most) })
  }

  counts(sorted) {
    const width = Math.ceil(this.width), found = new Uint32Array(width)
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
      const a = this.x(item.from), b = Math.max(this.x(item.to), a + 3)
      if (b < 0 || a > this.width || b <= ends[item.row] + 0.5) continue
      ends[item.row] = b
      const y = lane.y + item.row * BAR
      if (item.kind === 'finding') this.drawFinding(pen, a, y, item)
      else this.drawBar(pen, Math.max(a, -4), Math.min(b, this.width + 4), y, item)
    }
  }

  drawBar(pen, a, b, y, item) {
    const { colours } = this, thin = item.kind === 'request' || item.kind === 'stream', height = BAR - 3
    pen.fillStyle = colours[item.kind] ?? colours.dim
    pen.globalAlpha = item.kind === 'stream' ? 0.35 : 1
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

  drawText(pen, item, a, b, y) {
    pen.save()
    pen.beginPath()
    pen.rect(a, y - BAR, b - a - 4, 2 * BAR)
    pen.clip()
    pen.font = `11px ${this.colours.font}`
    pen.textBaseline = 'middle'
    pen.fillStyle = this.colours.onbar
    pen.fillText(clip(oneLine(item.label), 160), Math.max(a, 0) + 5, y)
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

  // ---- pointing

  hit(x, y) {
    const lane = this.shown?.find(one => y >= one.y - BETWEEN / 2 && y < one.y + one.height + BETWEEN / 2)
    if (!lane) return null
    const row = Math.min(Math.max(Math.floor((y - lane.y) / BAR), 0), lane.rows - 1)
    const near = lane.items.filter(item => item.row === row && this.x(item.from) - NEAR <= x && x <= this.x(item.to) + NEAR)
    return near.toSorted((a, b) => Math.abs(this.x(a.from) - x) - Math.abs(this.x(b.from) - x))[0] ?? null
  }

  place(event) {
    const box = this.box.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }

  down(event) {
    if (event.button !== 0) return
    const [x, y] = this.place(event)
    this.drag = { x, view: this.view, scrubs: y < RULER + EVENTS, moved: false }
    this.box.setPointerCapture(event.pointerId)
    if (this.drag.scrubs) this.deck.point(this.at(x))
  }

  move(event) {
    const [x, y] = this.place(event), { drag } = this
    if (!drag) return this.hover(x, y)
    if (Math.abs(x - drag.x) > 3) drag.moved = true
    if (drag.scrubs) this.deck.point(this.at(x))
    else if (drag.moved) {
      this.view = panned(drag.view, (drag.x - x) / this.width * (drag.view.to - drag.view.from), this.deck.pace.duration)
      this.draw()
    }
  }

  up(event) {
    const { drag } = this
    this.drag = null
    if (!drag || drag.scrubs || drag.moved) return
    const [x, y] = this.place(event), item = this.hit(x, y)
    if (item?.ref.finding !== undefined && this.deck.pointAt(item.ref.stream, item.ref.seq)) return
    this.deck.point(item?.kind === 'finding' ? item.from : this.at(x))
    if (item?.ref.exchange) this.onExchange(item.ref.exchange)
  }

  hover(x, y) {
    const item = this.hit(x, y), { tip, deck } = this
    tip.hidden = false
    const at = `${clock(this.at(x) - deck.begin, 2)}`
    fill(tip, item ? h('b', {}, `${clock(item.from - deck.begin, 2)} · ${item.to > item.from ? seconds(item.to - item.from) : ''}`) : at, item ? h('div', {}, clip(oneLine(item.label), 160)) : '')
    tip.style.transform = `translate(${Math.min(x + 12, this.width - tip.offsetWidth - 4)}px, ${Math.min(y + 14, this.height - 8)}px)`
  }

  wheel(event) {
    event.preventDefault()
    const [x] = this.place(event), sideways = event.shiftKey ? event.deltaY : event.deltaX
    if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      this.view = panned(this.view, sideways / this.width * (this.view.to - this.view.from), this.deck.pace.duration)
    } else {
      this.view = zoomed(this.view, Math.exp(event.deltaY * 0.0016), playedAt(this.view, x, this.width), this.deck.pace.duration)
    }
    this.draw()
  }

  zoomBy(factor) {
    this.view = zoomed(this.view, factor, this.deck.played, this.deck.pace.duration)
    this.draw()
  }

  showAll() {
    this.view = whole(this.deck.pace.duration)
    this.draw()
  }
}

// Stretches that lie over one another, as one.
function joined(stretches) {
  const found = []
  for (const { from, to } of stretches.sort((a, b) => a.from - b.from)) {
    const last = found.at(-1)
    if (last && from <= last.to) last.to = Math.max(last.to, to)
    else found.push({ from, to })
  }
  return found
}

function hatched(pen, colour) {
  const tile = new OffscreenCanvas(8, 8), brush = tile.getContext('2d')
  brush.strokeStyle = colour
  brush.lineWidth = 1.4
  brush.beginPath()
  for (const at of [-8, 0, 8]) brush.moveTo(at - 1, 9), brush.lineTo(at + 9, -1)
  brush.stroke()
  return pen.createPattern(tile, 'repeat')
}

const BAD = new Set(['failed', 'denied', 'unfinished', 'incomplete', 'open', 'upstream_lost', 'recorder_killed', 'decline', 'cancel', 'recorder_stopped'])

// The style's colours, as it has them now.
function palette() {
  const style = getComputedStyle(document.documentElement), colour = name => style.getPropertyValue(`--${name}`).trim()
  const names = ['line', 'dim', 'silence', 'events', 'beat', 'error', 'warning', 'note', 'turn', 'thought', 'said', 'tool', 'approval', 'child', 'stream', 'request', 'onbar']
  return { ...Object.fromEntries(names.map(name => [name, colour(name)])), font: getComputedStyle(document.body).fontFamily }
}
