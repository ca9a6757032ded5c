// The panes beside the conversation, except the event list: findings and details of the session.

import { h } from './dom.js'
import { factList } from './facts.js'
import { write } from './routes.js'
import { oddIn } from './table.js'
import { ENDINGS, NO_TIMES, count, moment, size, tookOf } from './words.js'

// `all`: the findings of `doctor`; undefined while they are loaded. `go` opens an event.
export function findingParts(all, go) {
  if (!all) return [h('p.empty', 'Looking for problems …')]
  if (!all.length) return [h('p.empty', 'No findings.')]
  return all.map(one => finding(one, go))
}

function finding(one, go) {
  const events = one.seqs.map(seq => h('button.event-link', { onclick: () => go(one.stream, seq) }, `${one.stream}:${seq}`))
  return h(
    'article',
    { class: `finding ${one.severity}` },
    h('header', h(`span.severity.${one.severity}`, one.severity), h('h2', one.code)),
    h('p', one.message),
    one.because
      ? h('p.remark', `because of ${one.because}`)
      : [h('p.remark', h('b', 'Why it matters: '), one.why), h('p.remark', h('b', 'Next step: '), one.next)],
    events.length ? h('p.links', ...events) : '',
  )
}

// The details of a session.
export function aboutParts(row, deck, overview) {
  const recording = overview.recordings.find(one => one.recording === row.recording),
    main = deck.session?.family[0],
    bad = oddIn(row.verdicts)
  const rows = [
    ['session', row.session_id ?? 'none: a stream without a session'],
    row.parent_session_id ? ['sub-agent of', row.parent_session_id] : null,
    ['began', row.started_at ? `${moment(row.started_at)} UTC` : NO_TIMES],
    ['took', tookOf(row)],
    ['how it ended', row.conclusion.verdict],
    ['connected', row.conclusion.connected.join(', ') || 'no client'],
    ['last stream', ENDINGS[row.ending] ?? row.ending],
    row.last_status ? ['last status', row.last_status] : null,
    ['events', count(deck.table.size, 'event')],
    ['against the contract', bad.length ? bad.map(([name, n]) => `${n} ${name}`).join(', ') : 'none'],
    ['streams', String(row.streams)],
    ['requests', String(row.exchanges)],
    ['size', size(row.bytes)],
    main?.cost_usd ? ['cost', `$${main.cost_usd.toFixed(4)}`] : null,
    ['upstream', recording?.upstream ?? 'not recorded'],
    recording?.server_version ? ['server version', recording.server_version] : null,
    ...Object.entries(recording?.labels ?? {}).map(([key, value]) => [`label ${key}`, value]),
    ['contract', recording?.contract ?? ''],
    ['recorded by', `omnirecord ${recording?.version ?? ''}`],
  ]
  const others = deck.session?.family.slice(1) ?? []
  return [
    factList(rows),
    others.length
      ? [
          h('h2', 'Sub-agents'),
          ...others.map(one =>
            h('p', h('a', { href: write({ view: 'session', key: one.key }) }, one.title ?? one.session_id)),
          ),
        ]
      : '',
    overview.shared ? sharedNote(overview.shared) : '',
    ...overview.incidents
      .filter(one => one.recording === row.recording)
      .map(one => h('p.problem', `Problem of the recorder: ${one.message}`)),
  ]
}

// The note about the scrubbing of an exported file.
export function sharedNote(shared) {
  const rows = shared.replaced.map(one => h('li', `${one.count} × ${one.kind}, in ${one.place}`))
  return h(
    'section.shared',
    { 'aria-label': 'Replaced secrets' },
    h('h2', 'Replaced secrets'),
    h('p', shared.sentence),
    rows.length ? h('ul', ...rows) : '',
  )
}
