// The conversation at the playhead. Each entry has one element, which is changed only where what it shows does.

import { add, button, fill, h, say, shows } from './dom.js'
import { turnAt, turnPlace } from './talk.js'
import { clock, count, oneLine, seconds } from './words.js'

const MOST_TURNS = 8      // how many are on the page at once; earlier ones are asked for
const LONG = 12_000        // of a text, how many characters are shown unasked

const ASKERS = { user: 'You', agent: 'Parent agent', system: 'System' }
const ANSWERS = { accept: 'accepted', decline: 'declined', cancel: 'cancelled' }

export class TalkView {
  constructor(deck) {
    this.deck = deck
    this.turns = []             // {one, element, entries}
    this.extra = 0
    this.earlier = h('button', { type: 'button', class: 'quiet', hidden: true, onclick: () => this.more() })
    this.list = h('div', { class: 'talk-turns' })
    this.why = h('div', { class: 'why', hidden: true })
    this.empty = h('p', { class: 'empty', hidden: true })
    this.element = h('section', { class: 'talk', 'aria-label': 'Conversation at the playhead', tabindex: '0' }, h('div', { class: 'talk-inner' }, this.earlier, this.empty, this.list, this.why))
    deck.on(news => { if (['data', 'time', 'live'].some(one => news.has(one))) this.update() })
  }

  more() {
    this.extra += MOST_TURNS
    this.update()
  }

  update() {
    const { deck } = this
    if (!deck.session) return say(this.empty, 'Reading the session …'), shows(this.empty, true)
    const last = turnPlace(deck.turns, deck.at), first = Math.max(0, last + 1 - MOST_TURNS - this.extra)
    this.showTurns(first, last)
    shows(this.earlier, first > 0)
    if (first > 0) say(this.earlier, `${count(first, 'earlier turn')}: show more`)
    shows(this.empty, last < 0)
    say(this.empty, deck.turns.length ? 'Nothing was said yet at this point.' : 'Nobody asked anything in this session.')
    this.showWhy()
    if (deck.isPlaying) this.element.scrollTop = 0  // its end: it is laid out from below
  }

  showTurns(first, last) {
    const wanted = this.deck.turns.slice(first, last + 1)
    if (this.turns.length !== wanted.length || this.turns.some((shown, i) => shown.one !== wanted[i])) {
      const known = new Map(this.turns.map(shown => [shown.one, shown]))
      for (const shown of this.turns) if (!wanted.includes(shown.one)) shown.element.remove()
      this.turns = wanted.map(one => known.get(one) ?? new TurnView(one, this.deck))
      let after = null
      for (const { element } of this.turns.toReversed()) {
        if (element.nextSibling !== after || !element.isConnected) this.list.insertBefore(element, after)
        after = element
      }
    }
    for (const shown of this.turns) shown.update(this.deck.at)
  }

  showWhy() {
    const { deck } = this, { stopped } = deck.session.family[0], is = deck.isOver
    shows(this.why, is)
    if (!is) return
    this.why.className = stopped.at_rest ? 'why' : 'why bad'
    say(this.why, `Why it stops here: ${stopped.sentence}`)
  }
}

class TurnView {
  constructor(one, deck, depth = 0) {
    Object.assign(this, { one, deck, depth, entries: new Map() })
    const { turn } = one
    this.list = h('div', { class: 'entries' })
    this.end = h('footer', { class: 'turn-end', hidden: true })
    const at = button(`Move the playhead to turn ${turn.turn}`, '', () => deck.point(one.begin), clock(one.begin - deck.begin, 1))
    at.className = 'turn-time'
    this.element = h('article', { class: 'turn', 'aria-label': `Turn ${turn.turn}` }, h('header', {}, h('span', { class: 'turn-number' }, `Turn ${turn.turn}`), at), this.list, this.end)
    if (!turn.asked.length) this.list.append(h('p', { class: 'entry note' }, '(what was asked is not in this recording)'))
  }

  update(at) {
    const { shown, ended } = turnAt(this.one, at)
    for (const view of this.entries.values()) view.stale = true
    shown.forEach(({ entry, state }) => {
      let view = this.entries.get(entry)
      if (!view) this.entries.set(entry, view = this.make(entry))
      view.stale = false
      shows(view.element, true)
      view.update(state, at)
    })
    for (const view of this.entries.values()) if (view.stale) shows(view.element, false)
    shows(this.end, ended || this.deck.isOver)
    if (!this.end.hidden) this.tellEnd(ended)
  }

  // Its element stands behind those of the entries before it.
  make(entry) {
    const view = new VIEWS[entry.kind](entry, this)
    const place = this.one.entries.indexOf(entry)
    const after = this.one.entries.slice(place + 1).map(one => this.entries.get(one)).find(Boolean)
    this.list.insertBefore(view.element, after?.element ?? null)
    return view
  }

  tellEnd(ended) {
    const { turn, begin } = this.one, how = ended ? turn.ended : turn.ended_ns === null ? 'unfinished' : turn.ended
    if (this.end.dataset.how === how) return
    this.end.dataset.how = how
    this.end.className = `turn-end ${how === 'completed' ? '' : 'bad'}`
    const { usage } = turn, took = turn.ended_ns === null ? null : `after ${seconds(turn.ended_ns - begin)}`
    const why = turn.error ? [turn.error.code, turn.error.message].filter(Boolean).join(': ') : ''
    const tokens = usage && usage.input_tokens !== null ? `${usage.input_tokens.toLocaleString('en')} in, ${(usage.output_tokens ?? 0).toLocaleString('en')} out tokens` : null
    const last = how === 'unfinished' && turn.events ? `its end was not recorded, last event after ${seconds(turn.last_event_ns - begin)}` : how === 'unfinished' ? 'the agent never took it up' : null
    const parts = [took, last, turn.first_text_ns === null ? null : `first text after ${seconds(turn.first_text_ns - begin)}`, tokens,
      usage?.cost_usd === null || usage?.cost_usd === undefined ? null : `$${usage.cost_usd.toFixed(4)}`, turn.agent ? `agent ${oneLine(turn.agent)}` : null,
      turn.model && turn.model !== turn.agent ? `model ${oneLine(turn.model)}` : null, turn.odd_events ? `${count(turn.odd_events, 'event')} against the contract` : null]
    fill(this.end, h('b', {}, how), took ? ' ' : ' · ', parts.filter(Boolean).join(' · '), why ? h('div', { class: 'error-text' }, why) : '')
  }
}

// ---- the kinds of entries

class Entry {
  constructor(entry, turn, name, ...children) {
    Object.assign(this, { entry, turn })
    this.element = h('div', { class: `entry ${name}` }, ...children)
  }

  update() {}
}

class Asked extends Entry {
  constructor(entry, turn) {
    super(entry, turn, `asked by-${entry.of.by}`)
    const text = entry.of.by === 'system' ? entry.of.text.replace(/^\[System: /, '').replace(/\]$/, '') : entry.of.text
    add(this.element, [h('div', { class: 'who' }, ASKERS[entry.of.by]), h('div', { class: 'text', dir: 'auto' }, text)])
  }
}

// A text that grows: one text node, cut where it is very long.
class Text extends Entry {
  constructor(entry, turn, name, head) {
    super(entry, turn, name)
    this.text = h('div', { class: 'text', dir: 'auto' })
    this.more = h('button', { type: 'button', class: 'quiet', hidden: true, onclick: () => { this.all = true; this.show() } })
    add(this.element, [head, this.text, this.more])
  }

  update(state) {
    if (this.state?.text === state.text && this.state.whole === state.whole) return
    this.state = state
    this.show()
  }

  show() {
    const { text, whole } = this.state, rest = this.all ? 0 : text.length - LONG
    say(this.text, rest <= 0 ? text : whole ? text.slice(0, LONG) : `…${text.slice(-LONG)}`)
    this.text.classList.toggle('growing', !whole)
    shows(this.more, rest > 0)
    if (rest > 0) say(this.more, `${rest.toLocaleString('en')} more characters: show all`)
  }
}

class Said extends Text {
  constructor(entry, turn) {
    super(entry, turn, 'said', h('div', { class: 'who' }, 'Assistant'))
    if (entry.of.as_stored === false) this.element.append(h('p', { class: 'remark' }, 'The server stored another text than it streamed.'))
  }
}

class Thought extends Text {
  constructor(entry, turn) {
    const took = entry.of.last_ns > entry.of.first_ns ? ` for ${seconds(entry.of.last_ns - entry.of.first_ns)}` : ''
    super(entry, turn, 'thought', h('div', { class: 'who' }, `Thought${took}`))
  }
}

class Tool extends Entry {
  constructor(entry, turn) {
    super(entry, turn, 'tool')
    const { name, arguments: given } = entry.of
    this.took = h('span', { class: 'took' })
    this.output = h('pre', { class: 'output', hidden: true })
    add(this.element, [h('div', { class: 'who' }, h('span', { class: 'tool-name' }, name || 'tool'), this.took), given ? h('pre', { class: 'arguments' }, pretty(given)) : '', this.output])
  }

  update({ output, returned }, at) {
    const { of } = this.entry
    const name = `${returned}/${output?.length ?? -1}`
    const { isOver } = this.turn.deck
    say(this.took, returned ? seconds(of.returned_ns - of.called_ns) : isOver ? 'no answer was seen' : `running, ${seconds(Math.max(at - of.called_ns, 0))}`)
    this.element.classList.toggle('running', !returned)
    if (this.shown === name) return
    this.shown = name
    shows(this.output, output !== null)
    say(this.output, output === null ? '' : shell(output) ?? (output || '(nothing)'))
  }
}

class Approval extends Entry {
  constructor(entry, turn) {
    super(entry, turn, 'approval')
    this.answer = h('div', { class: 'answer' })
    add(this.element, [h('div', { class: 'who' }, 'The agent waits for approval'), h('div', { class: 'text', dir: 'auto' }, entry.of.message), this.answer])
  }

  update({ action }, at) {
    const { of } = this.entry, done = of.resolved_ns ?? of.answered_ns, { isOver } = this.turn.deck
    this.element.classList.toggle('open', !action)
    say(this.answer, action ? `${ANSWERS[action] ?? action}${of.answered_by ? ` by ${of.answered_by}` : ''} after ${seconds(done - of.asked_ns)}`
      : isOver ? 'nobody answered' : `waiting, ${seconds(at - of.asked_ns)}`)
  }
}

class Child extends Entry {
  constructor(entry, turn) {
    super(entry, turn, 'child')
    this.status = h('span', { class: 'took' })
    const own = turn.deck.children?.get(entry.of.session_id), { title, session_id } = entry.of
    this.own = own && turn.depth < 3 ? own.turns.map(one => new TurnView(one, turn.deck, turn.depth + 1)) : []
    this.inner = h('div', { class: 'inner' }, ...this.own.map(one => one.element))
    const link = own ? h('a', { href: `#/session/${encodeURIComponent(own.told.key)}` }, 'open') : ''
    add(this.element, [h('div', { class: 'who' }, `Sub-agent ${title ?? session_id}`, this.status, link), this.inner])
    if (!own) this.last = h('p', { class: 'remark' })
    if (this.last) this.element.append(this.last)
  }

  update({ status }, at) {
    say(this.status, status ?? 'started')
    for (const one of this.own) {
      const begun = one.one.begin <= at
      shows(one.element, begun)
      if (begun) one.update(at)
    }
    if (this.last) say(this.last, status && this.entry.of.last_message ? this.entry.of.last_message : 'Nobody listened to it: this is what its parent was told.')
  }
}

class Trouble extends Entry {
  constructor(entry, turn) {
    const { of } = entry
    super(entry, turn, 'trouble')
    const where = [of.source, of.tool_name].filter(Boolean).join(' '), why = [of.code, of.message].filter(Boolean).join(': ') || 'no reason given'
    const again = of.kind === 'retry' ? `Tried again${of.attempt === null ? '' : ` (attempt ${of.attempt}${of.max_attempts === null ? '' : ` of ${of.max_attempts}`})`}` : 'Error'
    add(this.element, [h('div', { class: 'who' }, `${again}${where ? ` · ${where}` : ''}`), h('div', { class: 'text', dir: 'auto' }, why)])
  }
}

class Note extends Entry {
  constructor(entry, turn) {
    super(entry, turn, 'note', entry.of.text)
  }
}

class Silence extends Entry {
  constructor(entry, turn) {
    super(entry, turn, 'silence')
  }

  update({ length, over }) {
    const { during, heartbeats, length_ns, unheard_ns } = this.entry.of
    shows(this.element, over || length > 1e9)
    const beats = over ? unheard_ns ? ` (for ${seconds(unheard_ns)} of it nobody was connected)` : heartbeats ? ` (${count(heartbeats, 'heartbeat')})` : length_ns > 35e9 ? ' (not even a heartbeat)' : '' : ' …'
    say(this.element, `silence for ${seconds(length)}${during ? `, waiting for ${during === 'approval' ? 'approval' : oneLine(during)}` : ''}${beats}`)
  }
}

const VIEWS = { asked: Asked, said: Said, thought: Thought, tool: Tool, approval: Approval, child: Child, trouble: Trouble, note: Note, silence: Silence }

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

// What a shell tool answers, as a terminal would have it.
function shell(output) {
  try {
    const value = JSON.parse(output)
    if (!value || typeof value !== 'object' || !('stdout' in value)) return null
    const printed = [value.stdout, value.stderr].filter(one => typeof one === 'string').join('')
    const odd = [value.exit_code ? `exit code ${value.exit_code}` : '', value.timed_out === true ? 'timed out' : ''].filter(Boolean)
    return (printed || '(nothing)') + (odd.length ? `\n[${odd.join(', ')}]` : '')
  } catch {
    return null
  }
}
