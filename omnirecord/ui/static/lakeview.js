// What the list and the trends of a lake share: filters, in the address and as controls, and the state of the query.

import { busyLine, button, choice, fill, h, icon, labelled, shows } from './dom.js'
import { NeedsToken } from './source.js'
import { clip, grouped, moment } from './words.js'

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
    const chosen = name => choice({ name }, [], value => set(name, value))
    let timer = 0
    this.controls = {
      from: field('date', 'from'),
      to: field('date', 'to'),
      status: chosen('status'),
      model: chosen('model'),
      label: choice({ name: 'label' }, [], value => this.setLabels([...labelsOf(this.asked), value])),
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
    const names = { from: 'From, UTC', to: 'To', status: 'Status', model: 'Model', label: 'Label', text: 'Question or id' },
      fields = Object.entries(names).map(([name, shown]) => labelled(shown, this.controls[name]))
    this.cleared = h('button.quiet', { onclick: () => this.clear() }, 'Clear filters')
    this.chips = h('ul.chips', { 'aria-label': 'Chosen labels' })
    this.element = h(
      'details.lake-filter',
      { open: !narrow.matches },
      h('summary', 'Filters'),
      h('div.filter-fields', ...fields, this.cleared),
      this.chips,
    )
    this.list = h('ul.facet')
    this.findings = h('details.facets', { open: !narrow.matches }, h('summary', h('h2', 'Findings')), this.list)
    narrow.addEventListener('change', () => (this.element.open = this.findings.open = !narrow.matches))
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
    const taken = name === 'label' ? labelsOf(this.asked) : []
    const options = rows
      .filter(({ value }) => !taken.includes(value))
      .map(({ value, many }) => h('option', { value, selected: value === chosen }, `${said(name, value)} (${grouped(many)})`))
    fill(this.controls[name], h('option', { value: '' }, name === 'label' ? 'add one' : 'all'), ...options)
  }

  setLabels(labels) {
    this.change({ label: labels.filter(Boolean).join('\n') || null })
  }

  showChips() {
    const labels = labelsOf(this.asked)
    shows(this.chips, labels.length > 0)
    const chip = one => {
      const remove = () => this.setLabels(labels.filter(other => other !== one))
      return h('li', h('code', clip(one, LONGEST_VALUE)), button(`Remove the label ${one}`, '', remove, icon('close')))
    }
    fill(this.chips, ...labels.map(chip))
  }

  showFindings() {
    const rows = [...(this.counts?.finding ?? [])].filter(one => one.many || one.value === this.asked.finding),
      chosen = this.asked.finding,
      focused = document.activeElement?.dataset?.finding
    if (chosen && !rows.some(one => one.value === chosen)) rows.unshift({ value: chosen, severity: null, many: 0 })
    const facet = ({ value, severity, many }) => {
      const is = value === chosen,
        onclick = () => this.change({ finding: is ? null : value })
      return h(
        'button',
        { 'aria-pressed': String(is), 'data-finding': value, onclick },
        h(`span.dot.${severity ?? 'none'}`, { 'aria-hidden': 'true' }),
        h('span.facet-name', said('finding', value)),
        severity ? h('span.unseen', `, ${severity}, `) : '',
        h('span.facet-count', grouped(many)),
      )
    }
    fill(this.list, ...rows.map(one => h('li', facet(one))))
    if (focused) [...this.list.querySelectorAll('button')].find(one => one.dataset.finding === focused)?.focus()
  }
}

function labelsOf(asked) {
  return (asked.label ?? '').split('\n').filter(Boolean)
}

function said(name, value) {
  return value === 'none' ? (NO_VALUE[name] ?? value) : clip(value, LONGEST_VALUE)
}

const BUSY_AFTER = 150 // ms

// A subclass has `name`, the view and the request, and `draw`, which shows the answer.
export class LakeView {
  constructor(app, name, title) {
    this.app = app
    this.name = name
    this.filter = new LakeFilter(change => this.go({ ...change, page: null }))
    this.state = h('div.lake-state')
    this.read = h('span.remark')
    this.again = h('button.quiet', { title: 'Read the lake again (r)', onclick: () => this.renew() }, 'Read again')
    this.head = h('div.lake-head', h('h1', title), h('span.lake-read', this.read, this.again))
    this.body = h('div.lake-body')
    this.element = h(
      'main.lake',
      this.filter.element,
      h('div.lake-columns', this.filter.findings, h('div', this.head, this.state, this.body)),
    )
    this.number = 0
    shows(this.again, false)
  }

  // Change filters: the address changes, and the view follows it.
  go(change, view = this.name) {
    location.hash = lakeAddress(view, { ...this.asked, ...change })
  }

  async load(asked, isRenewed = false) {
    this.asked = asked
    this.filter.show(asked)
    const number = ++this.number
    const timer = setTimeout(() => this.busy(true), BUSY_AFTER)
    try {
      const answer = await this.app.source.ask(this.name, { ...asked, renew: isRenewed ? '1' : null })
      if (number !== this.number) return
      this.busy(false)
      this.tell(answer)
      this.filter.count(answer.counts)
      this.draw(answer)
    } catch (problem) {
      if (number !== this.number) return
      this.busy(false)
      if (problem instanceof NeedsToken) return this.app.fail(problem)
      this.fail(problem)
    } finally {
      clearTimeout(timer)
    }
  }

  renew() {
    this.load(this.asked, true)
  }

  close() {
    this.number++
  }

  // The old answer stays while a query runs.
  busy(is) {
    this.body.setAttribute('aria-busy', String(is))
    fill(this.state, is ? busyLine('Asking the lake') : '')
  }

  tell({ read_at: at, trouble, missing }) {
    fill(this.read, `as of ${moment(at).slice(11)} UTC`)
    shows(this.again, true)
    if (missing) fill(this.state, h('p.problem', { role: 'alert' }, missing))
    if (trouble) fill(this.state, h('p.problem', { role: 'alert' }, `This is an older state of the lake. ${trouble}`))
  }

  fail(problem) {
    const again = h('button.quiet', { onclick: () => this.renew() }, 'Try again'),
      said = h('span', problem.message.replace(/^omnirecord: /, ''))
    fill(this.state, h('p.problem', { role: 'alert' }, said, ' ', again))
  }

  // Why there is nothing to show.
  empty(inAll) {
    if (!inAll && !isFiltered(this.asked))
      return h('p.empty', 'This lake holds no sessions yet. Ship a cassette: ', h('code', `omnirecord ship CASSETTE --lake ${this.app.lake}`))
    const clear = h('button.quiet', { onclick: () => this.filter.clear() }, 'Clear filters')
    return h('p.empty', 'No session matches the filters. ', clear)
  }
}
