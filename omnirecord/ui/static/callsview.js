// The list of model calls outside the turns, and one call as a page of its own.

import { CallPanel, callTitle, partnerLine } from './callpanel.js'
import { callEnding, callTokens, isBadCall, linkSentence } from './calls.js'
import { add, copyButtons, fill, h, tableBox } from './dom.js'
import { write } from './routes.js'
import { clip, count, moment, momentAt, oneLine, seconds } from './words.js'

const CALL_HEADS = ['Call', 'Start', 'First token', 'Duration', 'Tokens', 'Ending']
const SHOWN_CALLS = 500

// The calls that belong to no turn, or to several. `found`: the answer of the server.
export function callList(found, overview) {
  const loose = found.calls.filter(one => one.key === null),
    linked = found.calls.length - loose.length
  if (!loose.length) return ''
  const started = new Map(overview.recordings.map(one => [one.recording, one.started_at]))
  return h(
    'section',
    { class: 'calls', 'aria-label': 'Model calls' },
    h('h2', {}, overview.sessions.length ? `${count(loose.length, 'model call')} without a certain turn` : count(loose.length, 'model call')),
    linked ? h('p', { class: 'remark' }, `${count(linked, 'further call')} in the timelines of the sessions.`) : '',
    tableBox(CALL_HEADS, [h('tbody', {}, ...loose.slice(0, SHOWN_CALLS).map(one => callLine(one, started.get(one.recording))))]),
    loose.length + found.more > SHOWN_CALLS ? h('p', { class: 'remark' }, `… and ${(loose.length + found.more - SHOWN_CALLS).toLocaleString('en')} more`) : '',
  )
}

function callLine(one, startedAt) {
  const own = one.started_ns - one.shift_ns
  return h(
    'tr',
    {},
    h(
      'td',
      { class: 'name' },
      h('a', { href: write({ view: 'call', key: String(one.exchange) }) }, clip(oneLine(one.asked || one.said || `Call ${one.exchange}`), 100)),
      h('code', {}, `${one.exchange} · ${one.model ?? one.api}${one.attempt > 1 ? ` · attempt ${one.attempt}` : ''}`),
      one.certainty ? h('small', {}, ` ${linkSentence(one)}`) : '',
    ),
    h('td', { 'data-label': 'Start' }, startedAt ? momentAt(startedAt, own).slice(11, 23) : moment(null)),
    h('td', { class: 'number', 'data-label': 'First token' }, one.first_token_ns === null ? '–' : seconds(one.first_token_ns - one.started_ns)),
    h('td', { class: 'number', 'data-label': 'Duration' }, one.ended_ns === null ? 'open' : seconds(one.ended_ns - one.started_ns)),
    h('td', { class: 'number', 'data-label': 'Tokens' }, callTokens(one) || '–'),
    h('td', { 'data-label': 'Ending' }, h('span', { class: isBadCall(one) ? 'ending failed' : 'ending' }, callEnding(one))),
  )
}

export class CallView {
  constructor(source, overview, { key, delta }) {
    Object.assign(this, { source, overview, exchange: Number(key) })
    this.body = h('div', { class: 'call-body' }, h('p', { class: 'empty' }, 'Loading …'))
    this.head = h('h1', {}, `Model call ${Number(key) || ''}`)
    this.copies = h('div', { class: 'copies' })
    this.element = h('main', { class: 'call-page' }, h('header', {}, this.head, this.copies), this.body)
    this.delta = Number(delta) || null
    this.run()
  }

  async run() {
    try {
      const { exchange, source } = this,
        [call, full] = await Promise.all(['call', 'exchange'].map(name => source.ask(name, { exchange })))
      this.panel = new CallPanel({ source, begin: call.shift_ns, go: delta => this.go(delta) })
      fill(this.head, ...callTitle(call))
      fill(this.copies, copyButtons({ curl: full.curl, id: String(exchange) }, () => location.href))
      fill(this.body, ...this.panel.parts(call, full))
      this.call = call
      if (call.stream !== null) await this.show()
    } catch (problem) {
      fill(this.body, h('p', { class: 'problem' }, problem.message))
    }
  }

  async show() {
    await this.panel.showEvents(this.delta)
    if (this.delta === null) return
    await showEvent(this.panel, this.source, this.call.stream, this.delta, move => {
      location.hash = write({ view: 'session', key: move.key, event: `${move.stream}:${move.seq}` })
    })
  }

  go(delta) {
    this.delta = delta
    history.replaceState(null, '', write({ view: 'call', key: String(this.exchange), delta }))
    this.show().catch(problem => add(this.body, [h('p', { class: 'problem' }, problem.message)]))
  }
}

// Show one event of a call: its frame, and its partner on the client hop.
export async function showEvent(panel, source, stream, seq, go) {
  const [event, move] = await Promise.all(['event', 'move'].map(name => source.ask(name, { stream, seq })))
  fill(
    panel.chosen,
    h('h3', {}, `Event ${seq}`),
    move ? h('p', { class: 'remark' }, 'caused ', partnerLine(move, () => go(move))) : '',
    h('pre', { class: 'raw' }, typeof event.raw === 'string' ? event.raw : '(not recorded as text)'),
  )
}
