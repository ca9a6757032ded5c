// The views of the entries of a turn, one class per kind. Each has an element, and updates it to a given time.
//
// Markdown is marked without rendering it: code, headings, strong text. All characters stay. The time is linear: inline
// marks end with their line.

import { add, fill, h, say, shows } from './dom.js'
import { write } from './routes.js'
import { count, grouped, oneLine, seconds } from './words.js'

const FENCE = /^ {0,3}(`{3,}|~{3,})[^\n]*/
const HEADING = /^ {0,3}#{1,6} /
const INLINE = /(`{1,2})(?!`)[^\n]{1,200}?\1(?!`)|\*\*(?=\S)[^\n*]{1,200}\*\*/g
const MAY_BE = /[`~#]|\*\*/

// Split a text into [kind, text]: plain, fence, heading, code or strong. The parts joined are the text.
export function markdownIn(text) {
  if (!MAY_BE.test(text)) return [['plain', text]]
  const pieces = []
  let fence = null
  for (const line of text.split(/(?<=\n)/)) {
    const sign = FENCE.exec(line)?.[1]
    if (fence) {
      pieces.at(-1)[1] += line
      if (sign?.startsWith(fence) && line.trim() === sign) fence = null
    } else if (sign) {
      pieces.push(['fence', line])
      fence = sign
    } else if (HEADING.test(line)) pieces.push(['heading', line])
    else inline(line, pieces)
  }
  return pieces
}

function inline(line, pieces) {
  let at = 0
  for (const found of line.matchAll(INLINE)) {
    unmarked(line.slice(at, found.index), pieces)
    pieces.push([found[1] ? 'code' : 'strong', found[0]])
    at = found.index + found[0].length
  }
  unmarked(line.slice(at), pieces)
}

function unmarked(text, pieces) {
  if (pieces.at(-1)?.[0] === 'plain') pieces.at(-1)[1] += text
  else if (text) pieces.push(['plain', text])
}

const LONG = 12_000 // characters of a text that are shown at first
const ASKERS = { user: 'You', agent: 'Parent agent', system: 'System' }
const ANSWERS = {
  accept: 'accepted',
  decline: 'declined',
  cancel: 'cancelled',
  unanswered: 'no answer seen, closed by the server',
  too_late: 'answered too late',
}

class Entry {
  constructor(entry, turn, name = entry.kind, ...children) {
    Object.assign(this, { entry, turn })
    this.element = h(`div.entry.${name}`, ...children)
  }

  update() {}
}

class Asked extends Entry {
  constructor(entry, turn) {
    const { by, text } = entry.of,
      said = by === 'system' ? text.replace(/^\[System: /, '').replace(/\]$/, '') : text,
      shown = h('div.text', { dir: 'auto' }, ...withMarkdown(cut(said)))
    super(entry, turn, `asked.by-${by}`, h('div.who', ASKERS[by]), shown)
  }
}

// A growing text, cut if it is very long.
class Text extends Entry {
  constructor(entry, turn, name, head) {
    super(entry, turn, name)
    this.text = h('div.text', { dir: 'auto' })
    const onclick = () => {
      this.all = true
      this.show()
    }
    this.more = h('button.quiet', { hidden: true, onclick })
    add(this.element, [head, this.text, this.more])
  }

  update(state) {
    if (this.state?.text === state.text && this.state.whole === state.whole) return
    this.state = state
    this.show()
  }

  show() {
    const { text, whole } = this.state,
      rest = this.all ? 0 : text.length - LONG
    this.write(rest <= 0 ? text : whole ? text.slice(0, LONG) : `…${text.slice(-LONG)}`)
    this.text.classList.toggle('growing', !whole)
    shows(this.more, rest > 0)
    if (rest > 0) say(this.more, `${grouped(rest)} more characters: show all`)
  }

  write(text) {
    say(this.text, text)
  }
}

class Said extends Text {
  constructor(entry, turn) {
    super(entry, turn, 'said', h('div.who', 'Assistant'))
    if (entry.of.as_stored === false)
      this.element.append(h('p.remark', 'The server stored another text than it streamed.'))
  }

  write(text) {
    fill(this.text, ...withMarkdown(text))
  }
}

class Thought extends Text {
  constructor(entry, turn) {
    const took = entry.of.last_ns > entry.of.first_ns ? ` for ${seconds(entry.of.last_ns - entry.of.first_ns)}` : ''
    super(entry, turn, 'thought', h('div.who', `Thought${took}`))
  }
}

class Tool extends Entry {
  constructor(entry, turn) {
    super(entry, turn, 'tool')
    const { name, arguments: given } = entry.of
    this.took = h('span.took')
    this.output = h('pre.output', { hidden: true })
    add(this.element, [
      h('div.who', h('span.tool-name', name || 'tool'), this.took),
      given ? h('pre.arguments', cut(pretty(given))) : '',
      this.output,
    ])
  }

  update({ output, returned }, at) {
    const { of } = this.entry
    const name = `${returned}/${output?.length ?? -1}`
    const { isOver, hasTimes } = this.turn.deck,
      took = hasTimes ? seconds(of.returned_ns - of.called_ns) : '',
      running = isOver ? 'no answer was seen' : `running, ${seconds(Math.max(at - of.called_ns, 0))}`
    say(this.took, returned ? took : running)
    this.element.classList.toggle('running', !returned)
    if (this.shown === name) return
    this.shown = name
    shows(this.output, output !== null)
    say(this.output, output === null ? '' : cut(shell(output) ?? (output || '(nothing)')))
  }
}

class Approval extends Entry {
  constructor(entry, turn) {
    super(entry, turn, 'approval')
    this.answer = h('div.answer')
    this.who = h('div.who')
    add(this.element, [this.who, h('div.text', { dir: 'auto' }, entry.of.message), this.answer])
  }

  update({ action }, at) {
    const { of } = this.entry,
      done = of.resolved_ns ?? of.answered_ns,
      { isOver, hasTimes } = this.turn.deck
    this.element.classList.toggle('open', !action || action === 'unanswered' || action === 'too_late')
    say(this.who, action || isOver ? 'The agent asked for approval' : 'The agent waits for approval')
    const by = of.answered_by ? ` by ${of.answered_by}` : '',
      after = hasTimes ? ` after ${seconds(done - of.asked_ns)}` : '',
      waiting = isOver ? 'no answer' : `waiting, ${seconds(at - of.asked_ns)}`
    say(this.answer, action ? `${ANSWERS[action] ?? action}${by}${after}` : waiting)
  }
}

class Child extends Entry {
  constructor(entry, turn) {
    super(entry, turn, 'child')
    this.status = h('span.took')
    const own = turn.deck.children?.get(entry.of.session_id),
      { title, session_id } = entry.of
    this.own = own && turn.depth < 3 ? own.turns.map(one => turn.nested(one, own.told.key)) : []
    this.inner = h('div.inner', ...this.own.map(one => one.element))
    const link = own ? h('a', { href: write({ view: 'session', key: own.told.key }) }, 'open') : ''
    this.last = own ? null : h('p.remark')
    add(this.element, [h('div.who', `Sub-agent ${title ?? session_id}`, this.status, link), this.inner, this.last])
  }

  update({ status }, at) {
    say(this.status, status ?? 'started')
    for (const one of this.own) {
      const begun = one.one.begin <= at
      shows(one.element, begun)
      if (begun) one.update(at)
    }
    const unheard = 'No client was connected to it: this is from the stream of its parent.'
    if (this.last) say(this.last, (status && this.entry.of.last_message) || unheard)
  }
}

class Trouble extends Entry {
  constructor(entry, turn) {
    const { of } = entry,
      where = [of.source, of.tool_name].filter(Boolean).join(' '),
      why = [of.code, of.message].filter(Boolean).join(': ') || 'no reason given',
      most = of.max_attempts === null ? '' : ` of ${of.max_attempts}`,
      again = of.kind !== 'retry' ? 'Error' : `Tried again${of.attempt === null ? '' : ` (attempt ${of.attempt}${most})`}`
    super(entry, turn, 'trouble', h('div.who', `${again}${where && ` · ${where}`}`), h('div.text', { dir: 'auto' }, why))
  }
}

class Note extends Entry {
  constructor(entry, turn) {
    super(entry, turn, 'note', entry.of.text)
  }
}

class Silence extends Entry {
  update({ length, over }) {
    const { during, heartbeats, length_ns, unheard_ns } = this.entry.of
    shows(this.element, over || length > 1e9)
    const beats = heartbeats ? ` (${count(heartbeats, 'heartbeat')})` : length_ns > 35e9 ? ' (not even a heartbeat)' : '',
      known = unheard_ns ? ` (for ${seconds(unheard_ns)} of it no client was connected)` : beats
    const waiting = during ? `, waiting for ${during === 'approval' ? 'approval' : oneLine(during)}` : ''
    say(this.element, `silence for ${seconds(length)}${waiting}${over ? known : ' …'}`)
  }
}

export const VIEWS = {
  asked: Asked, said: Said, thought: Thought, tool: Tool, approval: Approval, child: Child, trouble: Trouble,
  note: Note, silence: Silence,
} // prettier-ignore

function withMarkdown(text) {
  return markdownIn(text).map(([kind, piece]) => (kind === 'plain' ? piece : h('span', { class: `md-${kind}` }, piece)))
}

function cut(text) {
  const rest = text.length - LONG
  return rest <= 0 ? text : `${text.slice(0, LONG)}… (${count(rest, 'more character')}: its event has them)`
}

function pretty(text) {
  try {
    const value = JSON.parse(text)
    const entries = value && typeof value === 'object' && !Array.isArray(value) ? Object.entries(value) : null
    if (entries?.length === 1 && typeof entries[0][1] === 'string') return `${entries[0][0]}: ${entries[0][1]}`
    return text.length > 100 ? JSON.stringify(value, null, 2) : text
  } catch {
    return text
  }
}

// The output of a shell tool, as on a terminal.
function shell(output) {
  try {
    const value = JSON.parse(output)
    if (!value || typeof value !== 'object' || !('stdout' in value)) return null
    const printed = [value.stdout, value.stderr].filter(one => typeof one === 'string').join('')
    const odd = [
      value.exit_code ? `exit code ${value.exit_code}` : '',
      value.timed_out === true ? 'timed out' : '',
    ].filter(Boolean)
    return (printed || '(nothing)') + (odd.length ? `\n[${odd.join(', ')}]` : '')
  } catch {
    return null
  }
}
