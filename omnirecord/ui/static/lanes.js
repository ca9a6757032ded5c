// The content of the timeline: activities with start and end, in lanes. Pure. Times are ns on the recording's clock.

import { callItem } from './calls.js'
import { isUnanswered } from './talk.js'
import { isFailed } from './lines.js'

const MOST_ROWS = 4

// `told`: the session and its sub-agents as the server sends them. `findings`: with their times.
export function lanesOf({ family, exchanges, calls = [] }, findings, end) {
  const [main, ...others] = family,
    turns = family.flatMap(one => one.turns)
  const lanes = [
    lane('turns', 'Turns', main.turns.map(turn => turnItem(turn, end))),
    lane('calls', 'Model', calls.map(one => callItem(one, end))),
    lane('answer', 'Answer', main.turns.flatMap(answerItems)),
    lane('tools', 'Tools', turns.flatMap(turn => turn.tools.map(tool => toolItem(tool, turn, end)))),
    lane('approvals', 'Approvals', turns.flatMap(turn => turn.approvals.map(one => approvalItem(one, turn, end)))),
    lane('children', 'Sub-agents', childItems(main, others, end)),
    ...connections(exchanges, end),
    lane('requests', 'Requests', exchanges.filter(x => x.kind !== 'sse').map(requestItem)),
    lane('findings', 'Findings', findings.filter(one => one.at !== null).map(findingItem)),
  ]
  return lanes.filter(one => one.items.length)
}

function lane(id, label, items) {
  const sorted = items.toSorted((a, b) => a.from - b.from || a.to - b.to)
  return { id, label, items: sorted, rows: id === 'turns' || id === 'answer' || id === 'findings' ? 1 : stack(sorted) }
}

// Put each item into the first row with room; the last row takes the rest, which overlaps.
export function stack(items) {
  const ends = []
  for (const item of items) {
    let row = ends.findIndex(end => end <= item.from)
    if (row < 0) row = ends.length < MOST_ROWS ? ends.length : MOST_ROWS - 1
    ends[row] = Math.max(ends[row] ?? -Infinity, item.to)
    item.row = row
  }
  return Math.max(ends.length, 1)
}

function item(kind, from, to, label, tone, ref) {
  return { kind, from, to: Math.max(to, from), label, tone, ref, row: 0 }
}

function turnItem(turn, end) {
  const from = turn.asked_ns === null ? turn.started_ns : Math.min(turn.started_ns, turn.asked_ns)
  const asked = turn.asked[0]?.text ?? '(what was asked is not recorded)'
  const silences = turn.silences.map(one => one.from_ns + one.length_ns)
  const to = turn.ended_ns ?? Math.max(turn.last_event_ns, ...silences)
  return item('turn', from, Math.min(to, end), `${turn.turn} · ${asked}`, turn.ended, { turn: turn.turn })
}

function answerItems(turn) {
  const passage = (kind, one) =>
    item(kind, one.first_ns, one.last_ns, one.text.slice(0, 200), kind, { turn: turn.turn })
  return [...turn.thoughts.map(one => passage('thought', one)), ...turn.messages.map(one => passage('said', one))]
}

function toolItem(tool, turn, end) {
  const to = tool.returned_ns ?? turn.ended_ns ?? end
  return item(
    'tool',
    tool.called_ns,
    to,
    `${tool.name} ${tool.arguments}`.slice(0, 200),
    tool.returned_ns === null ? 'open' : 'done',
    { turn: turn.turn },
  )
}

function approvalItem(one, turn, end) {
  const done = one.resolved_ns ?? one.answered_ns,
    how = isUnanswered(one, turn.ended_ns) ? 'open' : (one.action ?? 'done')
  return item('approval', one.asked_ns, done ?? turn.ended_ns ?? end, one.message.slice(0, 200), how, {
    turn: turn.turn,
  })
}

function childItems(main, others, end) {
  const told = new Map(others.map(one => [one.session_id, one])),
    children = main.turns.flatMap(turn => turn.children),
    ids = new Set(children.map(child => child.session_id))
  const seen = children.map(child => {
    const own = told.get(child.session_id)
    const to = Math.max(child.updated_ns ?? 0, ...(own ? [own.ended_ns ?? end] : []), child.spawned_ns)
    return item(
      'child',
      child.spawned_ns,
      to > child.spawned_ns ? to : end,
      child.title ?? child.session_id,
      child.status ?? 'open',
      { key: own?.key ?? null },
    )
  })
  const unseen = others.filter(one => !ids.has(one.session_id))
  return [
    ...seen,
    ...unseen.map(one =>
      item('child', one.begun_ns, one.ended_ns ?? end, one.title ?? one.session_id, 'open', { key: one.key }),
    ),
  ]
}

function connections(exchanges, end) {
  const labelOf = x => (x.party_name ?? x.party).replace(/^\w/, c => c.toUpperCase()).replace(/^(Client)-/, '$1 ')
  const streamItem = x => item('stream', x.at_ns, x.end_ns ?? end, `stream ${x.stream}`, x.ending, { exchange: x.exchange })
  const parties = Map.groupBy(exchanges.filter(x => x.kind === 'sse'), labelOf)
  return [...parties].map(([label, own]) => lane('stream', label, own.map(streamItem)))
}

function requestItem(x) {
  const label = `${x.method} ${x.target} ${x.status ?? ''}`.trim()
  return item(
    'request',
    x.at_ns,
    x.end_ns ?? x.answered_ns ?? x.at_ns,
    label,
    isFailed(x) ? 'failed' : 'done',
    { exchange: x.exchange },
  )
}

function findingItem(one) {
  return item('finding', one.at, one.at, `${one.severity}: ${one.code}: ${one.message}`, one.severity, {
    finding: one.index,
    stream: one.stream,
    seq: one.seqs[0],
  })
}

// The silences of all turns, as stretches.
export function silencesOf(family) {
  const all = family[0].turns.flatMap(turn => turn.silences)
  return all
    .map(one => ({ from: one.from_ns, to: one.from_ns + one.length_ns, isWaiting: Boolean(one.during) }))
    .sort((a, b) => a.from - b.from)
}

// The hatched stretches: silences, and `gaps` that are shortened in playback. Stretches with a running tool, an open
// approval or a model call come last.
export function stretchesOf(silences, gaps, lanes) {
  const waits = lanes.filter(one => ['tools', 'approvals', 'calls'].includes(one.id)).flatMap(one => one.items)
  const isIn = at => waits.some(one => one.from <= at && at <= one.to)
  const found = [...gaps, ...silences.map(one => ({ ...one, isNamed: true }))]
  return found
    .map(one => ({ ...one, isWaiting: one.isWaiting || isIn((one.from + one.to) / 2) }))
    .sort((a, b) => a.isWaiting - b.isWaiting)
}

// Findings with the time of their first event; null if it is not loaded.
export function timed(findings, table, end) {
  return findings.map((one, index) => {
    const row = one.stream === null ? undefined : table.rowOf(one.stream, one.seqs[0])
    const at = row === undefined ? (one.stream === null ? end : null) : table.at[row]
    return { ...one, index, at }
  })
}
