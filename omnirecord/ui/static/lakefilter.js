// The filters of the page on a lake, in the address and as controls, with the number of sessions for each value.

import { button, fill, h, icon, labelled, shows } from './dom.js'
import { clip } from './words.js'

const FILTERS = ['from', 'to', 'label', 'finding', 'status', 'model', 'text']
const ASKED = [...FILTERS, 'sort', 'page']
const LONGEST_VALUE = 60 // characters of a value in a control
const NO_VALUE = { finding: 'no finding', model: 'not known' }

// The view and the filters in a fragment.
export function lakeRoute(hash) {
  const [path, query] = hash.replace(/^#\/?/, '').split('?'),
    given = new URLSearchParams(query ?? '')
  const asked = Object.fromEntries(ASKED.map(name => [name, given.get(name)]).filter(([, value]) => value))
  return { view: path === 'trends' ? 'trends' : 'sessions', asked }
}

export function lakeAddress(view, asked) {
  const given = new URLSearchParams(ASKED.map(name => [name, asked[name]]).filter(([, value]) => value))
  return `#/${view}${given.size ? `?${given}` : ''}`
}

export function isFiltered(asked) {
  return FILTERS.some(name => asked[name])
}

export class LakeFilter {
  // `change` gets the filters that a control sets; null clears one.
  constructor(change) {
    this.change = change
    const narrow = matchMedia('(max-width: 900px)')
    const set = (name, value) => change({ [name]: value.trim() || null })
    const field = (type, name) => h('input', { type, name, onchange: event => set(name, event.target.value) })
    const chosen = name => h('select', { name, onchange: event => set(name, event.target.value) })
    let timer = 0
    this.controls = {
      from: field('date', 'from'),
      to: field('date', 'to'),
      status: chosen('status'),
      model: chosen('model'),
      label: h('select', { name: 'label', onchange: event => this.addLabel(event.target.value) }),
      text: h('input', {
        type: 'search',
        name: 'text',
        title: 'Part of the question, or the beginning of the session id',
        oninput: event => {
          clearTimeout(timer)
          timer = setTimeout(() => set('text', event.target.value), 300)
        },
      }),
    }
    const { from, to, status, model, label, text } = this.controls
    this.cleared = h('button', { type: 'button', class: 'quiet', onclick: () => this.clear() }, 'Clear filters')
    this.chips = h('ul', { class: 'chips', 'aria-label': 'Chosen labels' })
    this.element = h(
      'details',
      { class: 'lake-filter', open: !narrow.matches },
      h('summary', {}, 'Filters'),
      h(
        'div',
        { class: 'filter-fields' },
        labelled('From, UTC', from),
        labelled('To', to),
        labelled('Status', status),
        labelled('Model', model),
        labelled('Label', label),
        labelled('Question or id', text),
        this.cleared,
      ),
      this.chips,
    )
    this.list = h('ul', { class: 'facet' })
    this.findings = h(
      'details',
      { class: 'facets', open: !narrow.matches },
      h('summary', {}, h('h2', {}, 'Findings')),
      this.list,
    )
    narrow.addEventListener('change', () => {
      this.element.open = this.findings.open = !narrow.matches
    })
  }

  focus() {
    this.element.open = true
    this.controls.text.focus()
  }

  clear() {
    this.change(Object.fromEntries(FILTERS.map(name => [name, null])))
  }

  // Show the filters that are set; the counts follow with the answer.
  show(asked) {
    this.asked = asked
    for (const name of ['from', 'to', 'text']) {
      const control = this.controls[name]
      if (control !== document.activeElement || control.type === 'date')
        control.value = (asked[name] ?? '').slice(0, control.type === 'date' ? 10 : undefined)
    }
    for (const name of ['status', 'model', 'label']) this.offer(name, this.counts?.[name] ?? [])
    shows(this.cleared, isFiltered(asked))
    this.showChips()
    this.showFindings()
  }

  count(counts) {
    this.counts = counts
    this.show(this.asked)
  }

  // The options of a select, with their counts. A chosen value without sessions stays.
  offer(name, counted) {
    const chosen = name === 'label' ? '' : (this.asked[name] ?? ''),
      rows = [...counted]
    if (chosen && !rows.some(one => one.value === chosen)) rows.unshift({ value: chosen, many: 0 })
    const taken = new Set(labelsOf(this.asked))
    fill(
      this.controls[name],
      h('option', { value: '' }, name === 'label' ? 'add one' : 'all'),
      ...rows
        .filter(one => name !== 'label' || !taken.has(one.value))
        .map(one =>
          h('option', { value: one.value, selected: one.value === chosen }, `${said(name, one.value)} (${number(one.many)})`),
        ),
    )
  }

  addLabel(label) {
    if (label) this.change({ label: [...labelsOf(this.asked), label].join('\n') })
  }

  showChips() {
    const labels = labelsOf(this.asked)
    shows(this.chips, labels.length > 0)
    fill(
      this.chips,
      ...labels.map(one =>
        h(
          'li',
          {},
          h('code', {}, clip(one, LONGEST_VALUE)),
          button(`Remove the label ${one}`, '', () => this.removeLabel(one), icon('close')),
        ),
      ),
    )
  }

  removeLabel(label) {
    this.change({ label: labelsOf(this.asked).filter(one => one !== label).join('\n') || null })
  }

  showFindings() {
    const rows = [...(this.counts?.finding ?? [])].filter(one => one.many || one.value === this.asked.finding),
      chosen = this.asked.finding,
      focused = document.activeElement?.dataset?.finding
    if (chosen && !rows.some(one => one.value === chosen)) rows.unshift({ value: chosen, severity: null, many: 0 })
    fill(
      this.list,
      ...rows.map(one =>
        h(
          'li',
          {},
          h(
            'button',
            {
              type: 'button',
              'aria-pressed': String(one.value === chosen),
              'data-finding': one.value,
              onclick: () => this.change({ finding: one.value === chosen ? null : one.value }),
            },
            h('span', { class: `dot ${one.severity ?? 'none'}`, 'aria-hidden': 'true' }),
            h('span', { class: 'facet-name' }, said('finding', one.value)),
            one.severity ? h('span', { class: 'unseen' }, `, ${one.severity}, `) : '',
            h('span', { class: 'facet-count' }, number(one.many)),
          ),
        ),
      ),
    )
    if (focused) [...this.list.querySelectorAll('button')].find(one => one.dataset.finding === focused)?.focus()
  }
}

function labelsOf(asked) {
  return (asked.label ?? '').split('\n').filter(Boolean)
}

function said(name, value) {
  return value === 'none' ? (NO_VALUE[name] ?? value) : clip(value, LONGEST_VALUE)
}

function number(many) {
  return many.toLocaleString('en')
}
