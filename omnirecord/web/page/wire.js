// The list of events: as many as there are, of which those in sight are on the page.

import { fill, h, say, shows } from './dom.js'
import { VERDICTS } from './table.js'
import { clock, gap } from './words.js'

const LINE = 26
const TALLEST = 16_000_000 // pixels: browsers give up a little above this

export class Wire {
  constructor(deck) {
    this.deck = deck
    this.pool = []
    this.space = h('div', { class: 'wire-space' })
    this.box = h(
      'div',
      {
        class: 'wire-rows',
        role: 'listbox',
        tabindex: '0',
        'aria-label': 'Events',
        onkeydown: event => this.key(event),
      },
      this.space,
    )
    this.count = h('span', { class: 'wire-count', role: 'status' })
    this.element = h(
      'div',
      { class: 'wire' },
      this.filters(),
      h(
        'div',
        { class: 'wire-head', 'aria-hidden': 'true' },
        ...['#', 'time', 'gap', 'type', 'says'].map(name => h('span', {}, name)),
      ),
      this.box,
    )
    this.top = this.tall = this.height = 0 // where it is scrolled to, and how much of it is seen: reading them would cost a layout
    this.box.addEventListener(
      'scroll',
      () => {
        this.top = this.box.scrollTop
        this.later()
      },
      { passive: true },
    )
    this.box.addEventListener('click', event => this.click(event))
    new ResizeObserver(([entry]) => {
      this.tall = entry.contentRect.height
      this.showSelected()
      this.later()
    }).observe(this.box)
    deck.on(news => this.update(news))
  }

  filters() {
    const { deck } = this
    const typed = (name, label, placeholder, run) =>
      h('input', {
        type: 'search',
        name,
        'aria-label': label,
        placeholder,
        oninput: event => run(event.target.value.trim()),
      })
    this.type = typed('type', 'Only types that contain this, or fit a glob', 'type', type => deck.setFilter({ type }))
    let timer = 0
    this.text = typed('text', 'Only events whose frame contains this', 'text', text => {
      clearTimeout(timer)
      timer = setTimeout(() => deck.findText(text).catch(problem => deck.fail(problem)), 200)
    })
    this.since = typed('since', 'Only from this second on', 'from s', value =>
      deck.setFilter({ from: this.time(value) }),
    )
    this.until = typed('until', 'Only up to this second', 'to s', value => deck.setFilter({ to: this.time(value) }))
    const verdict = h(
      'select',
      {
        'aria-label': 'Only events with this verdict',
        onchange: event => deck.setFilter({ verdict: event.target.value }),
      },
      h('option', { value: '' }, 'any verdict'),
      h('option', { value: 'odd' }, 'not valid'),
      ...VERDICTS.toReversed().map(one => h('option', { value: one }, one)),
    )
    this.stream = h('select', {
      'aria-label': 'Only events of this stream',
      hidden: true,
      onchange: event => deck.setFilter({ stream: event.target.value }),
    })
    const beats = h(
      'label',
      { class: 'check' },
      h('input', {
        type: 'checkbox',
        checked: true,
        onchange: event => deck.setFilter({ beats: event.target.checked }),
      }),
      'heartbeats',
    )
    return h(
      'div',
      { class: 'filters' },
      this.type,
      this.text,
      verdict,
      this.stream,
      this.since,
      this.until,
      beats,
      this.count,
    )
  }

  time(value) {
    const s = Number(value)
    return value === '' || Number.isNaN(s) ? null : this.deck.begin + s * 1e9
  }

  get total() {
    return this.deck.places ? this.deck.places.length : this.deck.table.order.length
  }

  placeOf(index) {
    return this.deck.places ? this.deck.places[index] : index
  }

  // Where a place of the table is in the list, or would be.
  indexOf(place) {
    const { places } = this.deck
    if (!places) return place
    let low = 0,
      high = places.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (places[middle] < place) low = middle + 1
      else high = middle
    }
    return low
  }

  update(news) {
    if (news.has('data') || news.has('filter')) this.measure()
    if (news.has('filter')) this.showSelected()
    if (news.has('selected')) this.showSelected()
    if (news.has('follow')) this.showPlace(this.deck.table.placeAt(this.deck.at))
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
    const all = deck.table.size,
      streams = [...deck.table.last.keys()]
    say(
      this.count,
      total === all
        ? `${all.toLocaleString('en')} events`
        : `${total.toLocaleString('en')} of ${all.toLocaleString('en')}`,
    )
    shows(this.stream, streams.length > 1)
    if (this.stream.childElementCount !== streams.length + 1)
      fill(
        this.stream,
        h('option', { value: '' }, 'all streams'),
        ...streams.map(one => h('option', { value: one }, `stream ${one}`)),
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
    const { box, deck, pool } = this,
      top = this.top * this.squeeze || 0,
      first = Math.max(0, Math.floor(top / LINE) - 4)
    const many = Math.min(this.total - first, Math.ceil(this.tall / LINE) + 8)
    while (pool.length < many) this.addRow()
    deck.wantGists(Array.from({ length: Math.max(many, 0) }, (_, i) => deck.table.order[this.placeOf(first + i)]))
    const head = deck.table.placeAt(deck.at),
      shift = top - this.top
    pool.forEach((line, i) => {
      const index = first + i,
        is = i < many
      shows(line.element, is)
      if (is) this.show(line, index, this.placeOf(index), head, index * LINE - shift)
    })
    const active =
      deck.selected?.row === undefined
        ? null
        : pool.find(line => line.row === deck.selected.row && !line.element.hidden)
    active ? box.setAttribute('aria-activedescendant', active.element.id) : box.removeAttribute('aria-activedescendant')
  }

  addRow() {
    const line = {
      cells: ['seq', 'time', 'gap', 'type', 'gist'].map(name => h('span', { class: `cell ${name}` })),
      row: -1,
    }
    line.element = h('div', { class: 'event', role: 'option', id: `event-${this.pool.length}` }, ...line.cells)
    this.pool.push(line)
    this.space.append(line.element)
  }

  show(line, index, place, head, y) {
    const { table, begin } = this.deck,
      row = table.order[place],
      [seq, time, before, type, gist] = line.cells,
      verdict = VERDICTS[table.verdict[row]]
    if (line.y !== y) line.element.style.transform = `translateY(${(line.y = y)}px)`
    const is = row === this.deck.selected?.row,
      name = `event ${verdict}${is ? ' selected' : ''}${place > head ? ' ahead' : ''}`
    if (line.name !== name) {
      line.element.className = line.name = name
      line.element.setAttribute('aria-selected', is)
    }
    const said = this.deck.gists.get(row) ?? '',
      many = table.last.size > 1
    if (line.row === row && line.said === said && line.begin === begin && line.place === place && line.many === many)
      return
    Object.assign(line, { row, said, begin, place, many })
    line.element.dataset.place = place
    line.element.setAttribute('aria-setsize', this.total)
    line.element.setAttribute('aria-posinset', index + 1)
    say(seq, many ? `${table.stream[row]}:${table.seq[row]}` : `${table.seq[row]}`)
    const { hasTimes } = this.deck
    say(time, hasTimes ? clock(table.at[row] - begin, 3) : '–')
    say(before, hasTimes ? gap(table.gapBefore(place)) : '–')
    before.classList.toggle('long', table.gapBefore(place) >= 5e9)
    say(type, table.typeOf(row) ?? verdict)
    say(gist, verdict === 'valid' || verdict === (table.typeOf(row) ?? verdict) ? said : `${verdict} · ${said}`)
  }

  click(event) {
    const line = event.target.closest('.event')
    if (!line) return
    const row = this.deck.table.order[Number(line.dataset.place)]
    this.deck.moveTo(this.deck.table.at[row])
    this.deck.select({ row })
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.tall / LINE) - 1)
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key]
    if (by === undefined || event.ctrlKey || event.metaKey) return
    event.preventDefault()
    event.stopPropagation()
    this.hop(by)
  }

  // So many events on in the list.
  hop(by) {
    const { deck } = this,
      row = deck.selected?.row,
      here = row === undefined ? this.indexOf(deck.table.placeAt(deck.at)) : this.indexOf(deck.table.placeOf(row))
    const index = Math.min(Math.max(here + by, 0), this.total - 1)
    if (index < 0) return
    const to = deck.table.order[this.placeOf(index)]
    deck.moveTo(deck.table.at[to])
    deck.select({ row: to })
  }

  showSelected() {
    const { table, selected } = this.deck
    if (selected?.row !== undefined) this.showPlace(table.placeOf(selected.row))
  }

  showPlace(place) {
    const { top, tall } = this,
      y = (this.indexOf(Math.max(place, 0)) * LINE) / (this.squeeze || 1)
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
