// The list of recordings and their sessions.

import { callList } from './callsview.js'
import { cell, chooser, fill, filled, h, numberCell, tableBox } from './dom.js'
import { exchangeParts } from './facts.js'
import { sharedNote } from './panes.js'
import { write } from './routes.js'
import { oddIn } from './table.js'
import { clip, clock, count, grouped, moment, oneLine, sessionName, tookOf } from './words.js'

const HEADS = ['', 'Session', 'Start', 'Duration', 'Events', 'Findings', 'Ending']

// Whether a row is a conversation of model calls without a session.
const isConversation = row => row.session_id?.startsWith('conversation-')

export class SessionsView {
  constructor(source, overview, findings) {
    this.source = source
    this.overview = overview
    this.findings = findings
    this.chosen = new Set()
    this.body = h('div')
    this.compare = h('div.compare-bar', { hidden: true })
    this.element = h('main.sessions', h('h1.unseen', 'Sessions'), this.body, this.compare)
    this.draw()
  }

  // `calls`: the model calls, which the server links after the list is shown.
  renew(overview, findings, calls = this.calls) {
    Object.assign(this, { overview, findings, calls })
    const place = this.reached().indexOf(document.activeElement)
    this.draw()
    this.reached()[place]?.focus()
  }

  // The elements that a keyboard reaches, in order.
  reached() {
    return [...this.body.querySelectorAll('a, input')]
  }

  draw() {
    const { overview } = this
    if (!overview.sessions.length && !this.calls?.calls.length)
      return fill(
        this.body,
        h('p.empty', 'This cassette has no sessions yet.'),
        overview.is_recorded && h('p.empty', 'It is being recorded: new sessions appear here.'),
      )
    const trees = this.trees()
    const outside = (this.findings ?? []).filter(one => one.session_id === null && one.stream === null)
    fill(
      this.body,
      ...overview.incidents.map(one =>
        h('p.problem', `Problem of the recorder, in recording ${one.recording}: ${one.message}`),
      ),
      overview.shared ? sharedNote(overview.shared) : '',
      overview.files?.length === 2
        ? h('p.beside', h('a', { href: '#/compare' }, 'Differences between the two cassettes'))
        : '',
      ...outside.map(one =>
        h('p.outside', h(`span.severity.${one.severity}`, one.severity), h('code', one.code), ` ${one.message}`),
      ),
      overview.sessions.length ? this.table(trees) : '',
      this.calls ? callList(this.calls, overview) : '',
      overview.others.length ? this.others() : '',
    )
  }

  table(trees) {
    const of = one => trees.filter(({ row }) => row.recording === one.recording)
    const shown = this.overview.recordings.filter(one => !one.is_model_hop || of(one).length)
    return tableBox(HEADS, shown.map(one => this.recording(one, of(one))))
  }

  // Requests without a session, and requests of runners; each opens in place.
  others() {
    const { others, more_others: more } = this.overview,
      ontoggle = event => (this.isOpen = event.target.open)
    return h(
      'details.others',
      { open: this.isOpen, ontoggle },
      h('summary', count(others.length + (more ?? 0), 'other request')),
      ...others.map(x => this.other(x)),
      more ? h('p.remark', `… and ${more} more: omnirecord ls --exchanges`) : '',
    )
  }

  other(x) {
    const body = h('div.other-body')
    const show = async () => fill(body, exchangeParts(x, await this.source.ask('exchange', { exchange: x.exchange }), 0))
    const open = event => event.target.open && !body.childElementCount && filled(body, show)
    return h(
      'details',
      { ontoggle: open },
      h(
        'summary',
        h('span.took', `${x.recording} · ${clock(x.at_ns, 2)} · ${x.party_name ?? x.party} · `),
        h('code', `${x.method} ${clip(x.target, 200)}`),
        ` ${x.status ?? 'no answer'}`,
        x.kind === 'websocket' ? ' · WebSocket' : '',
      ),
      body,
    )
  }

  // Sessions with their sub-agents after them, indented.
  trees() {
    const { sessions } = this.overview,
      ids = new Set(sessions.map(one => `${one.recording}.${one.session_id}`)),
      done = new Set(),
      found = []
    const visit = (row, depth) => {
      if (done.has(row.key)) return
      done.add(row.key)
      found.push({ row, depth })
      for (const child of sessions)
        if (row.session_id !== null && child.recording === row.recording && child.parent_session_id === row.session_id)
          visit(child, depth + 1)
    }
    for (const row of sessions)
      if (row.parent_session_id === null || !ids.has(`${row.recording}.${row.parent_session_id}`)) visit(row, 0)
    for (const row of sessions) visit(row, 0)
    return found
  }

  recording(one, rows) {
    const facts = [
      one.file,
      moment(one.started_at) + ' UTC',
      one.upstream,
      one.server_version ? `server ${one.server_version}` : null,
      ...Object.entries(one.labels).map(([key, value]) => `${key}=${value}`),
      count(one.exchanges, 'request'),
      `contract ${one.contract}`,
    ].filter(Boolean)
    const head = h('th', { colspan: HEADS.length, scope: 'rowgroup' }, `Recording ${one.recording}`, h('small', ` ${facts.join(' · ')}`))
    return h(
      'tbody',
      h('tr.recording', head),
      ...rows.map(({ row, depth }) => this.row(row, depth)),
      rows.length ? '' : h('tr', h('td.none', { colspan: HEADS.length }, 'no sessions')),
    )
  }

  row(row, depth) {
    const name = sessionName(row),
      bad = oddIn(row.verdicts).reduce((sum, [, n]) => sum + n, 0)
    const check = chooser(name, this.chosen.has(row.key), is => this.choose(row.key, is)),
      link = { href: write({ view: 'session', key: row.key }), style: { paddingLeft: `${depth * 20}px` } }
    return h(
      'tr',
      h('td.choose', this.overview.compares === false || isConversation(row) ? '' : check),
      h('td.name', h('a', link, depth ? '↳ ' : '', clip(oneLine(name), 100)), h('code', isConversation(row) ? `#${row.session_id.slice(13)}` : (row.session_id ?? ''))),
      cell('Start', row.started_at ? moment(row.started_at).slice(11) : '–'),
      numberCell('Duration', row.started_at ? tookOf(row) : '–'),
      numberCell('Events', grouped(row.events), bad ? h('span.verdict.invalid', `${bad} odd`) : ''),
      cell('Findings', this.count(row)),
      cell('Ending', h(`span.ending.${row.conclusion.outcome}`, row.conclusion.verdict)),
    )
  }

  count(row) {
    if (!this.findings) return '…'
    const mine = this.findings.filter(
      one =>
        one.recording === row.recording &&
        (row.session_id === null ? one.stream === row.stream : one.session_id === row.session_id),
    )
    if (!mine.length) return h('span.none', 'none')
    return ['error', 'warning', 'note']
      .map(severity => [severity, mine.filter(one => one.severity === severity).length])
      .filter(([, n]) => n)
      .map(([severity, n]) => h(`span.severity.${severity}`, count(n, severity)))
  }

  choose(key, is) {
    is ? this.chosen.add(key) : this.chosen.delete(key)
    const [a, b] = [...this.chosen],
      many = this.chosen.size
    this.compare.hidden = many === 0
    fill(
      this.compare,
      many === 2
        ? h('a.primary', { href: write({ view: 'compare', a, b }) }, 'Compare these two sessions')
        : `Choose ${many === 1 ? 'a second session' : 'exactly two sessions'} to compare.`,
    )
  }
}
