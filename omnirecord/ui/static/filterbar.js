// The controls of the event filter, and the number of matching rows.

import { button, choice, fill, h, labelled, say, shows } from './dom.js'
import { ALL, saidOf } from './filters.js'
import { VERDICTS } from './table.js'
import { count, grouped } from './words.js'

const ROWS = [['', 'all'], ['events', 'events'], ['requests', 'requests, messages']] // prettier-ignore

const ANY_VERDICT = [['', 'any'], ['odd', 'not valid, or failed']] // prettier-ignore

export class FilterBar {
  constructor(deck) {
    this.deck = deck
    const set = change => deck.setFilter(change)
    const typed = (name, title, run) =>
      h('input', { type: 'search', name, title, oninput: event => run(event.target.value.trim()) })
    const chosen = (name, options, title) => choice({ name, title }, options, value => set({ [name]: value }))
    const ticked = name =>
      h('input', { type: 'checkbox', name, checked: true, onchange: event => set({ [name]: event.target.checked }) })
    let timer = 0
    const find = text => {
      clearTimeout(timer)
      timer = setTimeout(() => deck.findText(text).catch(problem => deck.fail(problem)), 200)
    }
    this.controls = {
      rows: chosen('rows', ROWS, 'Rows to list'),
      type: typed('type', 'Part of a type, or a glob; for requests, of method and path', type => set({ type })),
      text: typed('text', 'Text in the frame, the body or the message', find),
      verdict: chosen('verdict', [...ANY_VERDICT, ...VERDICTS.toReversed().map(one => [one, one])]),
      stream: chosen('stream', [['', 'all']]),
      from: typed('from', 'Seconds since the session began', value => set({ from: secondsIn(value) })),
      to: typed('to', 'Seconds since the session began', value => set({ to: secondsIn(value) })),
      beats: ticked('beats'),
      fold: ticked('fold'),
    }
    const { beats, fold } = this.controls
    const names = { rows: 'Rows', type: 'Type', text: 'Text', verdict: 'Verdict', stream: 'Stream', from: 'From, s', to: 'To, s' },
      fields = Object.entries(names).map(([name, shown]) => labelled(shown, this.controls[name]))
    this.stream = this.controls.stream.parentElement
    this.count = h('span.wire-count', { role: 'status' })
    this.cleared = h('button.quiet', { hidden: true, onclick: () => this.clear() }, 'Clear')
    this.toggle = button('Filter', 'f', () => this.open(!this.isOpen), 'Filter')
    this.toggle.classList.add('filter-toggle')
    this.element = h(
      'div.filters',
      h('div.filter-fields', ...fields),
      h(
        'div.filter-line',
        this.toggle,
        h('label.check', beats, 'heartbeats'),
        h('label.check', fold, 'fold deltas'),
        this.cleared,
        this.count,
      ),
    )
    this.open(false)
    this.show()
    deck.on(news => {
      if (news.has('data') || news.has('filter')) this.tell()
    })
  }

  // On a narrow page, the fields are collapsed.
  open(is) {
    this.isOpen = is
    this.element.classList.toggle('open', is)
    this.toggle.setAttribute('aria-expanded', String(is))
  }

  focus() {
    this.open(true)
    this.controls.type.focus()
  }

  clear() {
    this.deck.setFilter({ ...ALL, fold: this.deck.filter.fold })
    this.show()
  }

  // Set the controls from the filter.
  show() {
    for (const [name, control] of Object.entries(this.controls)) {
      const value = this.deck.filter[name]
      if (control.type === 'checkbox') control.checked = value
      else control.value = value ?? ''
    }
  }

  tell() {
    const { table, lines, others, filter } = this.deck,
      streams = [...table.last.keys()],
      requests = others.filter(one => one.kind === 'request').length
    shows(this.stream, streams.length > 1)
    if (this.controls.stream.childElementCount !== streams.length + 1) {
      fill(this.controls.stream, h('option', { value: '' }, 'all'), ...streams.map(one => h('option', { value: one }, String(one))))
      this.controls.stream.value = filter.stream
    }
    say(this.count, `${part(lines.events, table.size, 'event')} · ${part(lines.requests, requests, 'request')}`)
    shows(this.cleared, saidOf(filter) !== '')
  }
}

function part(some, all, what) {
  return `${some === all ? '' : `${grouped(some)} of `}${count(all, what)}`
}

function secondsIn(value) {
  const s = Number(value)
  return value === '' || Number.isNaN(s) ? null : s
}
