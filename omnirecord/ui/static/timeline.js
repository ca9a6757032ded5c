// The timeline: its lanes, the playhead, and pointer input. The playhead is an element of its own, so moving it draws
// nothing.

import { button, fill, h, icon } from './dom.js'
import { lanesOf, stretchesOf } from './lanes.js'
import { BAR, BETWEEN, EVENTS, Picture, RULER } from './timelinebars.js'
import { following, isWhole, panned, playedAt, shortened, whole, zoomed } from './scale.js'
import { clip, clock, oneLine, seconds } from './words.js'

const NEAR = 5 // pixels within which a thin item is hit

export class Timeline extends Picture {
  // `onSelected`: the event of a finding, a request or a model call was selected.
  constructor(deck, onSelected) {
    super()
    Object.assign(this, { deck, onSelected })
    this.view = whole(1)
    this.lanes = []
    this.stretches = []
    this.width = 0
    this.canvas = h('canvas.lanes', {
      role: 'img',
      'aria-label':
        'Timeline of the session, in lanes. The slider above moves the playhead; the wire lists the same events as text.',
    })
    this.head = h('div.head')
    this.future = h('div.future', { style: { top: `${RULER}px` } })
    this.tip = h('div.tip', { hidden: true })
    this.labels = h('div.lane-labels', { 'aria-hidden': 'true' })
    this.zoom = h(
      'div.zoom',
      button('Zoom in', '+', () => this.zoomBy(0.5), icon('plus')),
      button('Zoom out', '-', () => this.zoomBy(2), icon('minus')),
      button('Show all', '0', () => this.showAll(), icon('fit')),
    )
    this.legend = h('p.legend')
    const on = {
      onpointerdown: event => this.down(event),
      onpointermove: event => this.move(event),
      onpointerup: event => this.up(event),
      onpointercancel: () => (this.drag = null),
      onpointerleave: () => (this.tip.hidden = true),
    }
    this.box = h('div.lanes-box', on, this.canvas, this.future, this.head, this.tip)
    this.box.addEventListener('wheel', event => this.wheel(event), { passive: false })
    this.element = h('section.timeline', { 'aria-label': 'Timeline' }, this.labels, this.box, this.zoom, this.legend)
    new ResizeObserver(([entry]) => {
      this.width = entry.contentRect.width
      this.draw()
    }).observe(this.box)
    deck.on(news => this.update(news))
  }

  update(news) {
    const { deck } = this
    if (news.has('data')) {
      const wasWhole = isWhole(this.view, this.duration ?? 1)
      this.duration = deck.pace.duration
      if (wasWhole || this.view.to > this.duration) this.view = whole(this.duration)
      this.lanes = deck.session ? lanesOf({ ...deck.session, calls: deck.calls }, deck.found, deck.end) : []
      this.stretches = stretchesOf(deck.silences ?? [], shortened(deck.pace), this.lanes)
      this.arrange()
    }
    if (news.has('data') || news.has('theme')) this.draw()
    if (news.has('time')) this.moveHead()
  }

  // Compute the vertical place of each lane.
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
    fill(
      this.labels,
      ...this.shown.map(lane =>
        h('div.lane-label', { title: lane.label, style: { top: `${lane.y}px`, height: `${lane.height}px` } }, lane.label),
      ),
    )
    fill(this.legend, ...this.swatches().map(([kind, name]) => h('span', h(`i.swatch.${kind}`), name)))
  }

  // The legend: each visible kind of area, with its name.
  swatches() {
    const { stretches, lanes, deck } = this,
      calls = lanes.find(one => one.id === 'calls')?.items ?? []
    const waiting = `silence, waiting for a tool${deck.calls.length ? ', an approval or the model' : ' or an approval'}`
    return [
      ['silence', 'silence', stretches.some(one => !one.isWaiting)],
      ['waiting', waiting, stretches.some(one => one.isWaiting)],
      ['future', 'after the playhead', true],
      ['call-wait', 'model: waiting for the first token', calls.length],
      ['call-stream', 'model: streaming', calls.length],
      ['call-retry', 'retry', calls.some(one => one.isRetry)],
      ['call-unsure', 'turn not certain', calls.some(one => one.isUnsure)],
    ].filter(([, , isShown]) => isShown)
  }

  moveHead() {
    const { deck } = this
    if (deck.isPlaying) {
      const view = following(this.view, deck.played, deck.pace.duration)
      if (view !== this.view) {
        this.view = view
        this.draw()
      }
    }
    const x = this.x(deck.at),
      inside = x >= -1 && x <= this.width + 1
    const inView = Math.min(Math.max(x, 0), this.width)
    this.head.style.transform = this.future.style.transform = `translateX(${inView}px)`
    this.head.style.opacity = inside ? '1' : '0'
  }

  // ---- pointer

  hit(x, y) {
    const lane = this.shown?.find(one => y >= one.y - BETWEEN / 2 && y < one.y + one.height + BETWEEN / 2)
    if (!lane) return null
    const row = Math.min(Math.max(Math.floor((y - lane.y) / BAR), 0), lane.rows - 1)
    const near = lane.items.filter(
      item => item.row === row && this.x(item.from) - NEAR <= x && x <= this.x(item.to) + NEAR,
    )
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
    const [x, y] = this.place(event),
      { drag } = this
    if (!drag) return this.hover(x, y)
    if (Math.abs(x - drag.x) > 3) drag.moved = true
    if (drag.scrubs) this.deck.point(this.at(x))
    else if (drag.moved) {
      this.view = panned(
        drag.view,
        ((drag.x - x) / this.width) * (drag.view.to - drag.view.from),
        this.deck.pace.duration,
      )
      this.draw()
    }
  }

  up(event) {
    const { drag } = this
    this.drag = null
    if (!drag || drag.scrubs || drag.moved) return
    const [x, y] = this.place(event),
      item = this.hit(x, y)
    const { finding, stream, seq, exchange, call } = item?.ref ?? {}
    if (finding !== undefined && this.deck.pointAt(stream, seq)) return this.onSelected()
    this.deck.point(item?.kind === 'finding' ? item.from : this.at(x))
    if (!exchange && !call) return
    this.deck.select(exchange ? { exchange } : { call })
    this.onSelected()
  }

  hover(x, y) {
    const item = this.hit(x, y),
      { tip, deck } = this
    tip.hidden = false
    const at = `${clock(this.at(x) - deck.begin, 2)}`
    fill(
      tip,
      item
        ? h('b', `${clock(item.from - deck.begin, 2)}${item.to > item.from ? ` · ${seconds(item.to - item.from)}` : ''}`)
        : at,
      item ? h('div', clip(oneLine(item.label), 160)) : '',
    )
    const left = Math.max(0, Math.min(x + 12, this.width - tip.offsetWidth - 4)),
      below = y + 14
    const top = below + tip.offsetHeight <= this.height ? below : Math.max(0, y - tip.offsetHeight - 8)
    tip.style.transform = `translate(${left}px, ${top}px)`
  }

  wheel(event) {
    event.preventDefault()
    const [x] = this.place(event),
      sideways = event.shiftKey ? event.deltaY : event.deltaX
    if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      this.view = panned(this.view, (sideways / this.width) * (this.view.to - this.view.from), this.deck.pace.duration)
    } else {
      this.view = zoomed(
        this.view,
        Math.exp(event.deltaY * 0.0016),
        playedAt(this.view, x, this.width),
        this.deck.pace.duration,
      )
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
