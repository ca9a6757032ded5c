// Plots of numbers by day, as SVG: stacked bars, or lines. Each has its numbers as a table.

import { fill, h, say, shows, svg, tableBox } from './dom.js'
import { clip, grouped } from './words.js'

const PLOT_HEIGHT = 190
const PLOT_LEFT = 52
const PLOT_BOTTOM = 22
const PLOT_TOP = 8
const PLOT_RIGHT = 10
const PLOT_HINT = 'Point at a day, or use ← and →.'

export class Plot {
  // `kind`: bars or lines. `format` makes a number a text, `tick` one of the scale. `go` opens a day.
  constructor(title, kind, format, go, tick = format) {
    Object.assign(this, { title, kind, format, go, tick })
    this.day = null
    this.legend = h('ul.plot-legend')
    this.note = h('p.remark')
    this.readout = h('p.plot-readout')
    this.box = h('div.plot', {
      role: 'slider',
      tabindex: 0,
      'aria-label': `${title}, by day`,
      onkeydown: event => this.key(event),
      onmousemove: event => this.select(this.dayAt(event)),
      onclick: event => this.select(this.dayAt(event)),
    })
    this.table = h('details.plot-table', { ontoggle: () => this.fillTable() }, h('summary', 'Numbers'))
    this.none = h('p.empty', 'Nothing on these days.')
    this.element = h('figure', h('figcaption', h('h2', title)), this.none, this.legend, this.box, this.readout, this.note, this.table)
    this.resized = new ResizeObserver(() => this.draw())
    this.resized.observe(this.box)
  }

  close() {
    this.resized.disconnect()
  }

  // `series`: {name, values, tone, isDashed, isOnlyInTable}. `note`: a sentence below the plot.
  show(days, series, note = '') {
    Object.assign(this, { days, series, drawn: series.filter(one => !one.isOnlyInTable) })
    const isEmpty = !this.drawn.some(one => one.values.some(Boolean))
    for (const one of [this.legend, this.box, this.readout, this.table]) shows(one, !isEmpty)
    shows(this.none, isEmpty)
    say(this.note, note)
    fill(
      this.legend,
      ...this.drawn.map(one => h('li', h('span', { class: `key ${one.tone}${one.isDashed ? ' dashed' : ''}`, 'aria-hidden': 'true' }), clip(one.name, 40))),
    )
    this.box.setAttribute('aria-valuemin', 0)
    this.box.setAttribute('aria-valuemax', days.length - 1)
    this.select(this.day !== null && this.day < days.length ? this.day : null)
    this.fillTable()
    this.draw()
  }

  // ---- the day

  key(event) {
    const last = this.days.length - 1,
      moves = { ArrowLeft: this.day === null ? last : this.day - 1, ArrowRight: this.day === null ? 0 : this.day + 1, Home: 0, End: last }
    if (event.key === 'Enter' && this.day !== null) this.go(this.days[this.day])
    else if (event.key === 'Escape') this.select(null)
    else if (event.key in moves) this.select(Math.min(Math.max(moves[event.key], 0), last))
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  dayAt(event) {
    const x = event.clientX - this.box.getBoundingClientRect().left - PLOT_LEFT,
      place = Math.floor((x / (this.box.clientWidth - PLOT_LEFT - PLOT_RIGHT)) * this.days.length)
    return Math.min(Math.max(place, 0), this.days.length - 1)
  }

  select(day) {
    this.day = day
    const told = day === null ? PLOT_HINT : this.told(day)
    this.box.setAttribute('aria-valuenow', day ?? 0)
    this.box.setAttribute('aria-valuetext', day === null ? 'no day chosen' : told)
    if (this.shown === told) return
    this.shown = told
    fill(
      this.readout,
      told,
      day === null ? '' : [' · ', h('button.quiet', { onclick: () => this.go(this.days[day]) }, 'List its sessions')],
    )
    this.mark()
  }

  told(day) {
    const parts = this.drawn.map(one => [one.name, one.values[day]]).filter(([, value]) => value)
    return `${this.days[day]}: ${parts.map(([name, value]) => `${clip(name, 40)} ${this.format(value)}`).join(', ') || 'nothing'}`
  }

  // ---- the picture

  draw() {
    const width = this.box.clientWidth
    if (!width || !this.days?.length) return
    const room = width - PLOT_LEFT - PLOT_RIGHT,
      every = room / this.days.length,
      highest = this.highest(),
      ticks = ticksTo(highest),
      top = ticks.at(-1)
    const x = place => PLOT_LEFT + place * every,
      y = value => PLOT_TOP + (PLOT_HEIGHT - PLOT_TOP - PLOT_BOTTOM) * (1 - value / top)
    this.cursor = svg('rect.plot-day', { y: PLOT_TOP, height: PLOT_HEIGHT - PLOT_TOP - PLOT_BOTTOM, width: Math.max(every, 2) })
    this.x = x
    fill(
      this.box,
      svg(
        'svg',
        { width, height: PLOT_HEIGHT, viewBox: `0 0 ${width} ${PLOT_HEIGHT}`, 'aria-hidden': 'true', focusable: 'false' },
        svg('title', this.title),
        this.cursor,
        ...ticks.flatMap(value => [
          svg('line.plot-line', { x1: PLOT_LEFT, x2: width - PLOT_RIGHT, y1: y(value), y2: y(value) }),
          svg('text.plot-text', { x: PLOT_LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, this.tick(value)),
        ]),
        ...this.dates(every).map(place =>
          svg('text.plot-text', { x: Math.min(x(place) + every / 2, width - 17), y: PLOT_HEIGHT - 6, 'text-anchor': 'middle' }, this.days[place].slice(5)),
        ),
        ...(this.kind === 'bars' ? this.bars(x, y, every) : this.lines(x, y, every)),
      ),
    )
    this.mark()
  }

  highest() {
    const { drawn } = this
    if (this.kind === 'bars') return Math.max(...this.days.map((_, day) => drawn.reduce((sum, one) => sum + one.values[day], 0)))
    return Math.max(...drawn.flatMap(one => one.values.map(value => value ?? 0)))
  }

  // The days that have their date below: as many as there is room for.
  dates(every) {
    const by = Math.max(1, Math.ceil(46 / every)),
      found = []
    for (let place = this.days.length - 1; place >= 0; place -= by) found.push(place)
    return found
  }

  bars(x, y, every) {
    const gap = every > 6 ? Math.min(every * 0.2, 14) : 0,
      most = 48,
      wide = Math.min(every - gap, most),
      sums = this.days.map(() => 0)
    const bar = (value, day) => {
      if (!value) return ''
      const low = y(sums[day]),
        high = y((sums[day] += value))
      return `M${x(day) + (every - wide) / 2} ${low}V${high}h${wide}V${low}z`
    }
    return this.drawn.map(one => svg(`path.bar.${one.tone}`, { d: one.values.map(bar).join('') }))
  }

  lines(x, y, every) {
    return this.drawn.flatMap(one => {
      const points = one.values.map((value, day) => (value === null ? null : [x(day) + every / 2, y(value)]))
      const step = (point, day) => (point ? `${points[day - 1] ? 'L' : 'M'}${point.join(' ')}` : '')
      return [
        svg('path', { class: `curve ${one.tone}${one.isDashed ? ' dashed' : ''}`, d: points.map(step).join('') }),
        ...points
          .filter((point, day) => point && (every > 8 || (!points[day - 1] && !points[day + 1])))
          .map(([cx, cy]) => svg(`circle.spot.${one.tone}`, { cx, cy, r: 2.6 })),
      ]
    })
  }

  mark() {
    if (!this.cursor) return
    this.cursor.setAttribute('visibility', this.day === null ? 'hidden' : 'visible')
    if (this.day !== null) this.cursor.setAttribute('x', this.x(this.day))
  }

  // ---- the numbers

  fillTable() {
    if (!this.table.open || !this.days) return
    fill(
      this.table,
      h('summary', 'Numbers'),
      tableBox(['Day', ...this.series.map(one => clip(one.name, 40))], [h('tbody', ...this.days.map((day, place) => this.row(day, place)))], {
        box: { tabindex: 0, role: 'group', 'aria-label': `Numbers: ${this.title}` },
      }),
    )
  }

  row(day, place) {
    const cell = ({ values, isOnlyInTable }) =>
      values[place] === null ? '–' : isOnlyInTable ? grouped(values[place]) : this.format(values[place])
    return h('tr', h('th', { scope: 'row' }, day), ...this.series.map(one => h('td.number', cell(one))))
  }
}

// Round values from 0 to at least `highest`, four or five of them.
export function ticksTo(highest) {
  const wanted = Math.max(highest, 1e-9) / 4,
    power = 10 ** Math.floor(Math.log10(wanted)),
    by = [1, 2, 2.5, 5, 10].map(one => one * power).find(one => one >= wanted * 0.999)
  const step = highest >= 1 && Number.isInteger(highest) ? Math.max(1, Math.ceil(by)) : by
  return Array.from({ length: Math.ceil(highest / step - 1e-9) + 1 }, (_, n) => n * step)
}
