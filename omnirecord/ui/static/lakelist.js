// The sessions of a lake, page by page.

import { cell, choice, chooser, fill, h, numberCell, tableBox } from './dom.js'
import { LakeView, lakeAddress } from './lakeview.js'
import { clip, count, grouped, moment, oneLine, seconds, sessionName } from './words.js'

const COLUMNS_OF_LAKE = ['', 'Session', 'Start, UTC', 'Duration', 'Turns', 'Model', 'First token', 'Worst finding', 'Ending']
const ORDERS = [['', 'newest first'], ['finding', 'worst finding first']] // prettier-ignore
const MOST_LABELS = 4 // labels of a row

export class LakeSessions extends LakeView {
  constructor(app) {
    super(app, 'sessions', 'Sessions')
    this.element.classList.add('sessions')
    this.chosen = new Map()
    this.order = choice({ name: 'sort' }, ORDERS, sort => this.go({ sort, page: null }))
    this.found = h('span.lake-found', { role: 'status' })
    this.head.insertBefore(this.found, this.head.lastChild)
    this.head.insertBefore(h('label.setting', 'Sort', this.order), this.head.lastChild)
    this.compare = h('div.compare-bar', { hidden: true })
    this.element.append(this.compare)
  }

  key(key) {
    const links = [...this.body.querySelectorAll('td.name a')],
      place = links.indexOf(document.activeElement)
    if (key === 'j' || key === 'k') links[Math.min(Math.max(place + (key === 'j' ? 1 : -1), 0), links.length - 1)]?.focus()
    else if (key === 's') this.go({ sort: this.asked.sort ? null : 'finding', page: null })
    else if (key === '[' || key === ']') this.turn(key === ']' ? 1 : -1)
    else return false
    return true
  }

  turn(by) {
    const { page, pages } = this
    if (page + by >= 1 && page + by <= pages) this.go({ page: page + by })
  }

  draw(answer) {
    const { sessions, total, page, on_a_page: size, in_all: inAll } = answer
    this.page = page
    this.pages = Math.max(1, Math.ceil(total / size))
    this.order.value = this.asked.sort === 'finding' ? 'finding' : ''
    const first = (page - 1) * size + 1
    fill(this.found, total ? `${grouped(first)}–${grouped(first + sessions.length - 1)} of ${count(total, 'session')}` : 'no session')
    if (!total) return fill(this.body, this.empty(inAll))
    const isMoved = this.drawn !== undefined && this.drawn !== page
    this.drawn = page
    fill(
      this.body,
      tableBox(COLUMNS_OF_LAKE, [h('tbody', ...sessions.map(row => this.row(row)))], {
        class: 'lake-table',
        caption: h('caption.unseen', 'Sessions of the lake'),
      }),
      this.pages > 1 ? this.pager() : '',
    )
    if (isMoved) this.element.scrollTo(0, 0)
  }

  row(row) {
    const name = clip(oneLine(sessionName(row)), 100),
      labels = Object.entries(row.labels ?? {})
    const check = chooser(name, this.chosen.has(row.session_id), is => this.choose(row.session_id, name, is))
    const isOpen = row.session_id !== null
    return h(
      'tr',
      h('td.choose', isOpen ? check : ''),
      h(
        'td.name',
        isOpen
          ? h('a', { href: `session/id=${encodeURIComponent(row.session_id)}/` }, row.parent_session_id ? '↳ ' : '', name)
          : h('span.unopened', { title: 'A stream without a session cannot be opened here.' }, name),
        h('code', clip(row.session_id ?? 'stream without a session', 60)),
        labels.length
          ? h(
              'span.labels',
              ...labels.slice(0, MOST_LABELS).map(([key, value]) => h('span', clip(`${key}=${value}`, 40))),
              labels.length > MOST_LABELS ? `and ${labels.length - MOST_LABELS} more` : '',
            )
          : '',
        row.recordings.length > 1 ? h('span.remark', `in ${row.recordings.length} recordings`) : '',
      ),
      cell('Start', row.started_at ? moment(row.started_at).split(' ').flatMap(one => [h('span', one), ' ']) : '–'),
      numberCell('Duration', took(row.duration_s)),
      numberCell('Turns', grouped(row.turns)),
      cell('Model', clip(row.model ?? '–', 24)),
      numberCell('First token', took(row.first_token_s)),
      h('td.worst', { 'data-label': 'Finding' }, worstFinding(row)),
      cell('Ending', h(`span.ending.${row.outcome}`, clip(row.verdict ?? '', 160))),
    )
  }

  pager() {
    const link = (page, label) =>
      page >= 1 && page <= this.pages
        ? h('a', { href: lakeAddress('sessions', { ...this.asked, page: page === 1 ? null : page }) }, label)
        : h('span.none', label)
    return h(
      'nav.pager',
      { 'aria-label': 'Pages' },
      link(this.page - 1, '‹ Previous'),
      h('span', `page ${grouped(this.page)} of ${grouped(this.pages)}`),
      link(this.page + 1, 'Next ›'),
    )
  }

  // Two chosen sessions, also of different pages of the list, can be compared.
  choose(id, name, is) {
    is ? this.chosen.set(id, name) : this.chosen.delete(id)
    const [a, b] = [...this.chosen.keys()].map(encodeURIComponent),
      many = this.chosen.size
    this.compare.hidden = many === 0
    fill(
      this.compare,
      h('span', [...this.chosen.values()].map(one => `“${clip(one, 40)}”`).join(' and '), ' · '),
      many === 2
        ? h('a.primary', { href: `compare/a=${a}/b=${b}/` }, 'Compare these two sessions')
        : many === 1
          ? 'choose a second session to compare '
          : 'choose exactly two sessions to compare ',
      h('button.quiet', { onclick: () => this.unchoose() }, 'Choose none'),
    )
  }

  unchoose() {
    this.chosen.clear()
    this.compare.hidden = true
    for (const one of this.body.querySelectorAll('td.choose input')) one.checked = false
  }
}

function took(s) {
  return s === null ? '–' : seconds(s * 1e9)
}

function worstFinding(row) {
  if (!row.finding_code) return h('span.none', 'none')
  const more = row.errors + row.warnings + row.notes - 1
  return [
    h(`span.severity.${row.finding_severity}`, { title: row.finding_message }, row.finding_code),
    more > 0 ? h('span.remark', `and ${more} more`) : '',
  ]
}
