// One model call in full, also as a page of its own: facts, answer, request, events, headers and raw bodies. And the
// list of model calls outside the turns. Long texts are cut, and load whole on demand.

import { callEnding, callName, callTokens, isBadCall, linkSentence } from './calls.js'
import { add, cell, copyButtons, fill, filled, h, numberCell, tableBox } from './dom.js'
import { exchangeHalves, factList } from './facts.js'
import { write } from './routes.js'
import { clip, clock, count, gap, grouped, moment, momentAt, oneLine, seconds } from './words.js'

const LONG_PIECE = 20_000 // characters of a long text in one element, so that the browser lays out only visible ones
const AROUND = 12 // events that are shown before the selected one
const SHOWN_EVENTS = 60 // events that are shown at once

// `source`; `begin`: the zero of the times, in ns; `go(delta)`: selects an event of the call.
export class CallPanel {
  constructor({ source, begin, go }) {
    Object.assign(this, { source, begin, go })
  }

  // The parts of the panel. `call`: the answer of the server; `full`: its exchange.
  parts(call, full) {
    const asked = call.request_body
    return [
      factList(this.facts(call)),
      forkBox(this.source, call.fork),
      h('h3', 'Answer'),
      this.answer(call),
      asked ? this.request(call, asked) : h('p.remark', 'The request is no conversation of this API.'),
      this.events(call),
      h('h3', 'Raw'),
      exchangeHalves(full),
    ]
  }

  facts(one) {
    const since = at => (at === null ? 'never' : `after ${seconds(at - one.started_ns)}`)
    return [
      ['model', `${one.model ?? 'not named'} · ${one.api}`],
      ['status', one.status === null ? 'no answer' : String(one.status)],
      ['ending', h('span', { class: isBadCall(one) ? 'error-text' : '' }, callEnding(one))],
      ['started', clock(one.started_ns - this.begin, 3)],
      one.error ? ['error', h('span.error-text', one.error)] : null,
      ['first byte', since(one.first_byte_ns)],
      ['first token', one.stream === null ? 'not streamed' : since(one.first_token_ns)],
      ['took', one.ended_ns === null ? 'still open' : seconds(one.ended_ns - one.started_ns)],
      ['attempt', `${one.attempt} of request ${one.request}`],
      ['tokens', callTokens(one) || 'not reported'],
      ['turn', this.turns(one)],
      ['response', one.response_id ?? 'no id'],
    ]
  }

  // The turn of a call, or the turns that are possible, with links.
  turns(one) {
    const sure = linkSentence(one),
      places = one.key === null ? one.candidates : [one]
    const links = places.map(({ key, turn }) =>
      key === null ? '' : h('a', { href: write({ view: 'session', key, call: one.exchange }) }, `turn ${turn}`),
    )
    return h('span', ...links.flatMap((link, i) => (i ? [', ', link] : [link])), links.length ? ` (${sure})` : sure)
  }

  answer({ answer, exchange }) {
    const { texts, reasoning, tools } = answer
    const parts = [
      reasoning.text ? this.entry('reasoning', 'reasoning', reasoning, exchange, 'reasoning') : '',
      ...texts.map((one, i) => this.entry('assistant', 'assistant', one, exchange, `text.${i}`)),
      ...tools.map((one, i) => this.entry('call', `call of ${one.name}`, one, exchange, `argument.${i}`, one.call_id)),
    ].filter(Boolean)
    return parts.length ? parts : h('p.remark', 'No text and no tool call.')
  }

  request({ exchange }, asked) {
    const { instructions, tools, settings, count: many } = asked
    const list = h('div.said-list')
    this.items(list, exchange, asked)
    return [
      h('h3', `Request: ${count(many, 'message')}`),
      asked.previous_id ? h('p.remark', 'It continues ', h('code', asked.previous_id), '.') : '',
      instructions.text
        ? h('details', h('summary', `Instructions, ${sizeOf(instructions)}`), this.text(instructions, exchange, 'instructions'))
        : '',
      tools.length
        ? h('details', h('summary', count(tools.length + asked.more_tools, 'tool')), ...tools.map((one, i) => this.tool(one, exchange, i)))
        : '',
      settings.length
        ? h('details', h('summary', count(settings.length, 'setting')), factList(settings.map(([name, value]) => [name, h('code', value)])))
        : '',
      list,
    ]
  }

  // Put the messages of a request before those in the list, with a button for earlier ones.
  items(list, exchange, { begin, items }) {
    const rows = items.map((one, i) => this.entry(one.kind, one.kind === 'output' && one.name ? `${one.label} ${one.name}` : one.label, one, exchange, `item.${begin + i}`, one.call_id))
    const earlier = begin
      ? h('button.quiet', { onclick: event => this.earlier(event.target, list, exchange, begin) }, `Show earlier messages (${grouped(begin)} more)`)
      : ''
    list.prepend(...(earlier ? [earlier] : []), ...rows)
  }

  async earlier(button, list, exchange, until) {
    const known = await this.source.ask('call', { exchange, until })
    button.remove()
    this.items(list, exchange, known.request_body)
  }

  entry(kind, label, text, exchange, part, id) {
    return h(
      'div',
      { class: `said-item by-${kind}` },
      h('div.who', label, id ? h('code', id) : ''),
      text.text ? this.text(text, exchange, part) : h('p.remark', '(empty)'),
    )
  }

  tool({ name, description, schema }, exchange, i) {
    return h(
      'details.said-item',
      h('summary', h('span.tool-name', name)),
      description.text ? this.text(description, exchange, `description.${i}`) : '',
      schema.text ? this.text(schema, exchange, `schema.${i}`) : '',
    )
  }

  // A text, with a button that loads the rest of it.
  text({ text, cut }, exchange, part) {
    const body = h('pre.raw', { dir: 'auto' }, text)
    if (cut === null) return body
    const box = h('div', body)
    const whole = async () => {
      const found = await this.source.ask('part', { exchange, part })
      fill(box, ...pieces(found.text), found.cut ? h('p.remark', `The first part of ${sizeOf(found)}.`) : '')
    }
    const onclick = event => {
      event.target.disabled = true
      filled(box, whole, true)
    }
    return add(box, [h('button.quiet', { onclick }, `Show all of ${sizeOf({ text, cut })}`)])
  }

  // ---- events

  events({ stream, exchange, shift_ns: shift }) {
    if (stream === null) return ''
    this.list = h('ol.call-events')
    this.chosen = h('div.call-event', { tabindex: '-1' })
    Object.assign(this, { stream, exchange, shift })
    return [h('h3', 'Events'), this.list, this.chosen]
  }

  // Show the events around one, which is selected. Returns its time; null if there is none.
  async showEvents(delta) {
    const { source, stream } = this,
      after = Math.max(0, (delta ?? 1) - 1 - AROUND)
    const columns = await source.ask('events', { stream, after }),
      { rows } = await source.ask('summaries', { stream, after, count: SHOWN_EVENTS })
    const said = new Map(rows)
    let at = 0,
      found = null
    const lines = []
    const many = Math.min(columns.seq.length, SHOWN_EVENTS)
    for (let i = 0; i < many; i++) {
      at += columns.dt[i]
      const seq = columns.seq[i]
      if (seq === delta) found = at + this.shift
      lines.push(this.line(seq, at + this.shift, columns.types[columns.type[i]], said.get(seq) ?? '', seq === delta))
    }
    const last = columns.seq[many - 1]
    fill(
      this.list,
      after ? h('li', this.jump('Earlier events', Math.max(1, after - SHOWN_EVENTS + AROUND + 2))) : '',
      ...lines,
      columns.seq.length > many || columns.more ? h('li', this.jump('Later events', last + AROUND)) : '',
    )
    return found
  }

  // Show one event: its frame, and its partner on the client hop, to which `cross` moves.
  async showEvent(seq, cross) {
    const { source, stream } = this,
      [event, move] = await Promise.all(['event', 'move'].map(name => source.ask(name, { stream, seq })))
    fill(
      this.chosen,
      h('h3', `Event ${seq}`),
      move ? h('p.remark', 'caused ', partnerLine(move, () => cross(move))) : '',
      h('pre.raw', typeof event.raw === 'string' ? event.raw : '(not recorded as text)'),
    )
  }

  jump(name, delta) {
    return h('button.quiet', { onclick: () => this.showEvents(delta) }, name)
  }

  line(seq, at, type, said, is) {
    return h(
      'li',
      { class: is ? 'selected' : '' },
      h(
        'button.call-line',
        { 'aria-current': is ? 'true' : null, onclick: () => this.go(seq) },
        h('span.took', `${seq} · ${clock(at - this.begin, 3)}`),
        h('span.type', type ?? ''),
        h('span.snippet', clip(oneLine(said), 200)),
      ),
    )
  }
}

// The command that goes on from here with a change. `fork`: its end, behind the name of the cassette.
export function forkBox(source, fork) {
  if (!fork) return ''
  const name = source.cassette ?? 'CASSETTE'
  return h(
    'details.fork',
    h('summary', 'Fork from here'),
    h('code', `omnirecord fork ${/[^\w./-]/.test(name) ? `'${name}'` : name}${fork}`),
  )
}

// The partner of a delta on the other hop. `go` moves there.
export function partnerLine(move, go) {
  const isOfClient = move.exchange === null,
    where = isOfClient ? `client event ${move.stream}:${move.seq}` : `model call ${move.exchange}, event ${move.seq}`,
    how = `${gap(Math.abs(move.gap_ns))} ${isOfClient === move.gap_ns >= 0 ? 'later' : 'earlier'}`
  return h(
    'span.partner',
    h('button.event-link', { title: 'Move to the other hop (c)', onclick: go }, where),
    ` ${how}, ${move.by === 'text' ? 'same text' : 'nearest by time: the texts differ'}`,
  )
}

function sizeOf({ text, cut }) {
  return `${grouped(cut ?? text.length)} characters`
}

// A long text in several elements.
function pieces(text) {
  return Array.from({ length: Math.ceil(text.length / LONG_PIECE) }, (_, i) =>
    h('pre.raw.piece', { dir: 'auto' }, text.slice(i * LONG_PIECE, (i + 1) * LONG_PIECE)),
  )
}

// The title of a call.
export function callTitle(one) {
  return [`Model call ${one.exchange} `, h('span.type', callName(one))]
}

const CALL_HEADS = ['Call', 'Start', 'First token', 'Duration', 'Tokens', 'Ending']
const SHOWN_CALLS = 500

// The calls that belong to no turn, or to several. `found`: the answer of the server.
export function callList(found, overview) {
  const loose = found.calls.filter(one => one.key === null),
    linked = found.calls.length - loose.length
  if (!loose.length) return ''
  const started = new Map(overview.recordings.map(one => [one.recording, one.started_at]))
  return h(
    'section.calls',
    { 'aria-label': 'Model calls' },
    h('h2', overview.sessions.length ? `${count(loose.length, 'model call')} without a certain turn` : count(loose.length, 'model call')),
    linked ? h('p.remark', `${count(linked, 'further call')} in the timelines of the sessions.`) : '',
    tableBox(CALL_HEADS, [h('tbody', ...loose.slice(0, SHOWN_CALLS).map(one => callLine(one, started.get(one.recording))))]),
    loose.length + found.more > SHOWN_CALLS ? h('p.remark', `… and ${grouped(loose.length + found.more - SHOWN_CALLS)} more`) : '',
  )
}

function callLine(one, startedAt) {
  const own = one.started_ns - one.shift_ns
  return h(
    'tr',
    h(
      'td.name',
      h('a', { href: write({ view: 'call', key: String(one.exchange) }) }, clip(oneLine(one.asked || one.said || `Call ${one.exchange}`), 100)),
      h('code', `${one.exchange} · ${one.model ?? one.api}${one.attempt > 1 ? ` · attempt ${one.attempt}` : ''}`),
      one.certainty ? h('small', ` ${linkSentence(one)}`) : '',
    ),
    cell('Start', startedAt ? momentAt(startedAt, own).slice(11, 23) : moment(null)),
    numberCell('First token', one.first_token_ns === null ? '–' : seconds(one.first_token_ns - one.started_ns)),
    numberCell('Duration', one.ended_ns === null ? 'open' : seconds(one.ended_ns - one.started_ns)),
    numberCell('Tokens', callTokens(one) || '–'),
    cell('Ending', h('span', { class: isBadCall(one) ? 'ending failed' : 'ending' }, callEnding(one))),
  )
}

export class CallView {
  constructor(source, overview, { key, delta }) {
    Object.assign(this, { source, overview, exchange: Number(key) })
    this.body = h('div.call-body', h('p.empty', 'Loading …'))
    this.head = h('h1', `Model call ${Number(key) || ''}`)
    this.copies = h('div.copies')
    this.element = h('main.call-page', h('header', this.head, this.copies), this.body)
    this.delta = Number(delta) || null
    filled(this.body, () => this.run())
  }

  async run() {
    const { exchange, source } = this,
      [call, full] = await Promise.all(['call', 'exchange'].map(name => source.ask(name, { exchange })))
    this.panel = new CallPanel({ source, begin: call.shift_ns, go: delta => this.go(delta) })
    fill(this.head, ...callTitle(call))
    fill(this.copies, copyButtons({ curl: full.curl, id: String(exchange) }, () => location.href))
    fill(this.body, ...this.panel.parts(call, full))
    if (call.stream !== null) await this.show()
  }

  async show() {
    await this.panel.showEvents(this.delta)
    if (this.delta === null) return
    await this.panel.showEvent(this.delta, move => {
      location.hash = write({ view: 'session', key: move.key, event: `${move.stream}:${move.seq}` })
    })
  }

  go(delta) {
    this.delta = delta
    history.replaceState(null, '', write({ view: 'call', key: String(this.exchange), delta }))
    filled(this.body, () => this.show(), true)
  }
}
