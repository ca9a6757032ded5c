// The list of events, requests and messages. Only the visible rows are elements.

import { callTexts } from './calls.js'
import { fill, h, say, shows } from './dom.js'
import { FilterBar } from './filterbar.js'
import { saidOf } from './filters.js'
import { VERDICTS } from './table.js'
import { ENDINGS, clip, clock, gap, oneLine, seconds, shortTarget, size } from './words.js'

const LINE = 26
const TALLEST = 16_000_000 // pixels: browsers fail a little above this
const BEGINNING = 12 // deltas of a run that are read for its beginning

export class Wire {
  constructor(deck) {
    this.deck = deck
    this.pool = []
    this.space = h('div.wire-space')
    this.box = h(
      'div.wire-rows',
      {
        role: 'listbox',
        tabindex: '0',
        'aria-label': 'Events, requests and messages',
        onkeydown: event => this.key(event),
        onclick: event => this.click(event),
        onscroll: () => {
          this.top = this.box.scrollTop
          this.later()
        },
      },
      this.space,
    )
    this.filters = new FilterBar(deck)
    this.none = h('div.wire-none', { role: 'status', hidden: true })
    this.element = h(
      'div.wire',
      this.filters.element,
      h(
        'div.wire-head',
        { 'aria-hidden': 'true' },
        ...['#', 'time', 'gap', 'type', 'says'].map(name => h('span', name)),
      ),
      this.none,
      this.box,
    )
    this.top = this.tall = this.height = 0 // scroll position and visible size; reading them from the page would cost a layout
    new ResizeObserver(([entry]) => {
      this.tall = entry.contentRect.height
      this.showSelected()
      this.later()
    }).observe(this.box)
    deck.on(news => this.update(news))
  }

  get lines() {
    return this.deck.lines
  }

  get total() {
    return this.lines.list.length
  }

  update(news) {
    if (news.has('data') || news.has('filter')) this.measure()
    if (news.has('filter') || news.has('selected')) this.showSelected()
    if (news.has('follow')) this.showIndex(this.lines.indexAt(this.deck.at))
    this.later()
  }

  measure() {
    const { total, deck } = this,
      height = total * LINE,
      wasLow = this.top + this.tall > this.height - LINE
    this.height = height
    this.squeeze = height > TALLEST ? height / TALLEST : 1
    this.space.style.height = `${height / this.squeeze}px`
    if (wasLow && deck.isLive && !deck.selected) this.scrollTo(height)
    this.tellNone()
  }

  // Show a text instead of an empty list.
  tellNone() {
    const { deck } = this,
      filter = saidOf(deck.filter),
      isEmpty = this.total === 0 && deck.session !== null
    shows(this.none, isEmpty)
    if (!isEmpty) return
    fill(
      this.none,
      h('p', filter ? `No row passes the filter: ${filter}.` : 'This session has no events and no requests.'),
      filter ? h('button.primary', { onclick: () => this.filters.clear() }, 'Clear the filter') : '',
    )
  }

  later() {
    if (this.isDue) return
    this.isDue = true
    this.deck.frame(() => {
      this.isDue = false
      this.draw()
    })
  }

  draw() {
    const { box, deck, pool, lines } = this,
      top = this.top * this.squeeze || 0,
      first = Math.max(0, Math.floor(top / LINE) - 4)
    const many = Math.max(0, Math.min(this.total - first, Math.ceil(this.tall / LINE) + 8))
    while (pool.length < many) this.addRow()
    const shown = Array.from({ length: many }, (_, i) => lines.at(first + i))
    deck.wantSummaries(shown.flatMap(one => (one.said && one.said === one.rows?.length ? [] : this.rowsOf(one))))
    const selected = lines.indexOfSelected(deck.selected),
      shift = top - this.top
    pool.forEach((line, i) => {
      shows(line.element, i < many)
      if (i < many) this.show(line, shown[i], first + i, selected, (first + i) * LINE - shift)
    })
    const active = pool.find((line, i) => i < many && line.index === selected)
    active ? box.setAttribute('aria-activedescendant', active.element.id) : box.removeAttribute('aria-activedescendant')
  }

  // The events whose summaries are in a row.
  rowsOf(one) {
    if (one.kind === 'event') return [one.row]
    return one.kind === 'run' ? (one.rows ??= this.lines.beginningOf(one, BEGINNING)) : []
  }

  // The number of loaded summaries of a row.
  saidOf(one) {
    const rows = this.rowsOf(one)
    if (one.said !== rows.length) one.said = rows.filter(row => this.deck.summaries.has(row)).length
    return one.said
  }

  addRow() {
    const line = { cells: ['seq', 'time', 'gap', 'type', 'summary'].map(name => h(`span.cell.${name}`)) }
    line.element = h('div.event', { role: 'option', id: `event-${this.pool.length}` }, ...line.cells)
    this.pool.push(line)
    this.space.append(line.element)
  }

  show(line, one, index, selected, y) {
    const { deck } = this
    if (line.y !== y) line.element.style.transform = `translateY(${(line.y = y)}px)`
    const is = index === selected,
      name = `event ${this.nameOf(one)}${is ? ' selected' : ''}${one.at > deck.at ? ' ahead' : ''}`
    if (line.name !== name) {
      line.element.className = line.name = name
      line.element.setAttribute('aria-selected', is)
    }
    const said = this.saidOf(one)
    if (line.lines === this.lines && line.index === index && line.said === said) return
    Object.assign(line, { lines: this.lines, index, said })
    line.element.dataset.index = index
    line.element.setAttribute('aria-setsize', this.total)
    line.element.setAttribute('aria-posinset', index + 1)
    const [number, before, type, summary] = this.textsOf(one)
    const texts = [number, deck.hasTimes ? clock(one.at - deck.begin, 3) : '–', before === null ? '' : deck.hasTimes ? gap(before) : '–', type, summary]
    texts.forEach((text, i) => say(line.cells[i], text))
    line.cells[2].classList.toggle('long', before >= 5e9)
  }

  nameOf(one) {
    if (one.kind === 'event') return `${VERDICTS[this.deck.table.verdict[one.row]]}${one.isInner ? ' inner' : ''}`
    return one.failed ? `${one.kind} failed` : one.kind
  }

  // The texts of a row: number, gap before it, type, summary.
  textsOf(one) {
    const { table } = this.deck
    if (one.kind === 'request') return [`→${one.x.exchange}`, null, ...requestTexts(one.x, one.failed)]
    if (one.kind === 'call') return [`⇒${one.x.exchange}`, null, ...callTexts(one.call)]
    if (one.kind === 'message') return [`⇄${one.x.exchange}`, null, ...messageTexts(one.message)]
    const number = table.last.size > 1 ? `${table.stream[one.row]}:${table.seq[one.row]}` : `${table.seq[one.row]}`,
      before = table.gapBefore(one.place),
      type = table.types[table.type[one.row]]
    if (one.kind === 'run') {
      return [number, before, `${one.isOpen ? '▾' : '▸'} ${type}`, this.runText(one)]
    }
    const verdict = VERDICTS[table.verdict[one.row]],
      said = this.deck.summaries.get(one.row) ?? ''
    return [number, before, type ?? verdict, verdict === 'valid' || verdict === (type ?? verdict) ? said : `${verdict} · ${said}`]
  }

  // The text of a run: number of deltas, duration, beginning. Its deltas may be on the streams of several clients.
  runText(run) {
    const { table, summaries } = this.deck
    const own = this.rowsOf(run).filter(row => table.stream[row] === table.stream[run.row])
    const text = own.map(row => unquoted(summaries.get(row) ?? '')).join('')
    return `${run.end - run.from}${this.deck.hasTimes ? ` in ${gap(run.length)}` : ''} · ${clip(oneLine(text), 200)}`
  }

  click(event) {
    const line = event.target.closest('.event')
    if (line) this.go(Number(line.dataset.index), true)
  }

  // Select a row, and move the playhead to it. `turns`: expand or collapse a run.
  go(index, turns = false) {
    const { deck } = this,
      one = this.lines.at(index)
    if (!one) return
    deck.moveTo(one.at)
    if (one.kind === 'request') deck.select({ exchange: one.x.exchange })
    else if (one.kind === 'call') deck.select({ call: one.x.exchange })
    else if (one.kind === 'message') deck.select({ exchange: one.x.exchange, message: one.message.place })
    else deck.select({ row: one.row })
    if (turns && one.kind === 'run') deck.turnRun(one)
  }

  // Expand the selected run, or collapse the run of the selection.
  turn() {
    let index = this.here()
    while (index >= 0 && this.lines.at(index)?.isInner) index--
    if (this.lines.at(index)?.kind === 'run') this.go(index, true)
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.tall / LINE) - 1)
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key]
    if ((by === undefined && event.key !== 'Enter') || event.ctrlKey || event.metaKey) return
    event.preventDefault()
    event.stopPropagation()
    event.key === 'Enter' ? this.turn() : this.hop(by)
  }

  here() {
    const { lines, deck } = this,
      selected = lines.indexOfSelected(deck.selected)
    return selected >= 0 ? selected : lines.indexAt(deck.at)
  }

  // Move the selection by some rows. The row of an expanded run is skipped: its first event is below it.
  hop(by) {
    const last = this.total - 1
    let index = Math.min(Math.max(this.here() + by, 0), last)
    if (this.lines.at(index)?.isOpen) index += by > 0 || index === 0 ? 1 : -1
    this.go(index)
  }

  showSelected() {
    const index = this.lines.indexOfSelected(this.deck.selected)
    if (index >= 0) this.showIndex(index)
  }

  showIndex(index) {
    const { top, tall } = this,
      y = (Math.max(index, 0) * LINE) / (this.squeeze || 1)
    if (!tall) return
    if (y < top + LINE) this.scrollTo(Math.max(0, y - tall / 3))
    else if (y > top + tall - 2 * LINE) this.scrollTo(y - (tall * 2) / 3)
  }

  scrollTo(top) {
    this.top = Math.min(top, Math.max(0, (this.total * LINE) / (this.squeeze || 1) - this.tall))
    this.box.scrollTop = top
    this.later()
  }
}

function requestTexts(x, failed) {
  const took = x.end_ns === null ? 'still open' : gap(x.end_ns - x.at_ns),
    status = x.status === null ? 'no answer' : `${x.status}`
  const what =
    x.kind === 'sse'
      ? `stream ${x.stream}, ${x.end_ns === null ? 'still open' : `open ${seconds(x.end_ns - x.at_ns)}, ${ENDINGS[x.ending] ?? x.ending}`}`
      : x.kind === 'websocket'
        ? `WebSocket, ${took}`
        : took
  return [`${x.method} ${shortTarget(x.target)}`, `${failed ? '✗ failed: ' : ''}${status} · ${what}`]
}

function messageTexts({ dir, size: bytes, says }) {
  const from = dir === 'up' ? 'client → server' : 'server → client'
  return [`WebSocket ${from}`, typeof says === 'string' ? oneLine(says) : `${size(bytes)}, binary`]
}

// The text of a delta, from its summary.
function unquoted(summary) {
  try {
    const text = JSON.parse(summary)
    return typeof text === 'string' ? text : summary
  } catch {
    return summary
  }
}
