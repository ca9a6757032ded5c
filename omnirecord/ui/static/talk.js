// The conversation at a given time: the turns of `show --json`, cut at that time. Pure.
//
// `script` sorts the entries of a session once; `turnAt` returns their state at a time.

import { countWhile } from './table.js'

const LAST = 2 ** 40

// The turns of a session, each with its entries by time.
export function script(told) {
  return told.turns.map((turn, i) => {
    const entries = entriesOf(turn, told.growth[i] ?? { messages: [], thoughts: [], printed: {} })
    entries.sort((a, b) => a.at - b.at || a.place - b.place)
    return { turn, entries, begin: turn.asked_ns === null ? turn.started_ns : Math.min(turn.started_ns, turn.asked_ns) }
  })
}

function entriesOf(turn, growth) {
  const at = (kind, ns, of, place = LAST, more = {}) => ({ kind, at: ns, place, of, ...more })
  return [
    ...turn.asked.map(one => at('asked', one.at_ns, one, one.place)),
    ...turn.thoughts.map((one, i) => at('thought', one.first_ns, one, one.place, { marks: growth.thoughts[i] })),
    ...turn.messages.map((one, i) => at('said', one.first_ns, one, one.place, { marks: growth.messages[i] })),
    ...turn.tools.map(one => at('tool', one.called_ns, one, one.place, { printed: growth.printed[one.call_id] })),
    ...turn.approvals.map(one => at('approval', one.asked_ns, one, one.place, { endedNs: turn.ended_ns })),
    ...turn.children.map(one => at('child', one.spawned_ns, one, one.place)),
    ...turn.troubles.map(one => at('trouble', one.at_ns, one, one.place)),
    ...turn.notes.map(one => at('note', one.at_ns, one, one.place)),
    ...turn.silences.map(one => at('silence', one.from_ns, one)),
  ]
}

// The visible entries of a turn at `ns`, each as {entry, place, state}, and whether the turn has ended.
export function turnAt({ turn, entries }, ns) {
  const shown = entries
    .filter(entry => entry.at <= ns)
    .map((entry, place) => ({ entry, place, state: stateOf(entry, ns) }))
  return { shown: shown.filter(one => one.state !== null), ended: turn.ended_ns !== null && turn.ended_ns <= ns }
}

// The state of an entry at that time; null if it is not visible yet.
function stateOf(entry, ns) {
  const one = entry.of
  switch (entry.kind) {
    case 'said':
    case 'thought':
      return textAt(entry, ns)
    case 'tool':
      return toolAt(entry, ns)
    case 'approval':
      return { action: approvalAt(one, ns, entry.endedNs) }
    case 'child':
      return { status: one.updated_ns !== null && one.updated_ns <= ns ? one.status : null }
    case 'silence':
      return { length: Math.min(one.length_ns, ns - one.from_ns), over: one.from_ns + one.length_ns <= ns }
    default:
      return {}
  }
}

// The text received by then: all of it after the last mark.
function textAt({ of, marks }, ns) {
  const length = lengthAt(marks, ns)
  if (marks && length === 0) return null
  const whole = !marks || length >= marks.at(-1)
  return { text: whole ? of.text : of.text.slice(0, length), whole }
}

function lengthAt(marks, ns) {
  const passed = marks ? countWhile(marks.length / 2, i => marks[2 * i] <= ns) : 0
  return passed ? marks[2 * passed - 1] : 0
}

function toolAt({ of, printed }, ns) {
  if (of.returned_ns !== null && of.returned_ns <= ns) return { output: of.output, returned: true }
  if (!printed) return { output: null, returned: false }
  const [text, marks] = printed,
    length = lengthAt(marks, ns)
  return { output: length ? text.slice(0, length) : null, returned: false }
}

// `unanswered`: the server closed the question, or the answer came after the turn.
function approvalAt(one, ns, endedNs) {
  const done = one.resolved_ns ?? one.answered_ns
  if (done === null || done > ns) return null
  return isUnanswered(one, endedNs) ? (one.action ? 'too_late' : 'unanswered') : (one.action ?? 'settled')
}

export function isUnanswered(one, endedNs) {
  const at = one.answered_ns ?? (one.action === null ? null : one.resolved_ns)
  return at === null || (one.action === 'accept' && (endedNs ?? null) !== null && at > endedNs)
}

// The last turn that has begun; -1 if there is none.
export function turnPlace(turns, ns) {
  return countWhile(turns.length, i => turns[i].begin <= ns) - 1
}

// The times at which the conversation changes.
export function moments(turns) {
  const found = []
  for (const { turn, entries, begin } of turns) {
    found.push(begin)
    for (const entry of entries) {
      found.push(entry.at)
      for (let i = 0; i < (entry.marks?.length ?? 0); i += 2) found.push(entry.marks[i])
    }
    found.push(...turn.tools.map(one => one.returned_ns), ...turn.approvals.map(one => one.resolved_ns), turn.ended_ns)
  }
  return found.filter(at => at !== null).sort((a, b) => a - b)
}
