// One turn at the playhead: its visible entries, and its ending.

import { callsOfTurn } from './calls.js'
import { button, fill, h, say, shows } from './dom.js'
import { VIEWS } from './entries.js'
import { turnAt } from './talk.js'
import { clock, count, oneLine, seconds } from './words.js'

export class TurnView {
  // `key`: of the session of the turn.
  constructor(one, deck, depth = 0, key = deck.key) {
    Object.assign(this, { one, deck, depth, key, entries: new Map(), furthest: -1 })
    const { turn } = one
    this.list = h('div', { class: 'entries' })
    this.end = h('footer', { class: 'turn-end', hidden: true })
    const at = button(
      `Move the playhead to turn ${turn.turn}`,
      '',
      () => deck.jump(one.begin),
      deck.hasTimes ? clock(one.begin - deck.begin, 1) : '',
    )
    at.className = 'turn-time'
    this.calls = h('span', { class: 'turn-calls' })
    this.element = h(
      'article',
      { class: 'turn', 'aria-label': `Turn ${turn.turn}` },
      h('header', {}, h('span', { class: 'turn-number' }, `Turn ${turn.turn}`), at, this.calls),
      this.list,
      this.end,
    )
    if (!turn.asked.length)
      this.list.append(h('p', { class: 'entry note' }, '(what was asked is not in this recording)'))
  }

  update(at) {
    const { shown, ended } = turnAt(this.one, at)
    for (const view of this.entries.values()) view.stale = true
    shown.forEach(({ entry, state, place }) => {
      let view = this.entries.get(entry)
      if (!view) this.entries.set(entry, (view = this.make(entry, place)))
      view.stale = false
      shows(view.element, true)
      view.update(state, at)
    })
    for (const view of this.entries.values()) if (view.stale) shows(view.element, false)
    say(this.calls, callsOfTurn(this.deck.calls, this.key, this.one.turn.turn))
    shows(this.end, true)
    if (ended || this.deck.isOver) this.tellEnd(ended)
    else this.tellWork(at)
  }

  // Show that the turn has not ended.
  tellWork(at) {
    this.end.className = 'turn-end open'
    delete this.end.dataset.how
    say(this.end, `working, ${seconds(Math.max(at - this.one.begin, 0))}`)
  }

  // A turn of a sub-agent, inside this turn.
  nested(one, key) {
    return new TurnView(one, this.deck, this.depth + 1, key)
  }

  // Create the element of an entry, after those of the entries before it.
  make(entry, place) {
    const view = new VIEWS[entry.kind](entry, this),
      all = this.one.entries
    let next = place + 1
    while (next <= this.furthest && !this.entries.has(all[next])) next++
    this.list.insertBefore(view.element, next <= this.furthest ? this.entries.get(all[next]).element : null)
    this.furthest = Math.max(this.furthest, place)
    return view
  }

  tellEnd(ended) {
    const { turn, begin } = this.one,
      how = ended ? turn.ended : turn.ended_ns === null ? 'unfinished' : turn.ended
    const spent = this.deck.spent.get(`${this.key} ${turn.turn}`) ?? ''
    if (this.end.dataset.how === how && this.spent === spent) return
    this.end.dataset.how = how
    this.spent = spent
    this.end.className = `turn-end ${how === 'completed' ? '' : 'bad'}`
    const { usage } = turn,
      timed = this.deck.hasTimes,
      took = turn.ended_ns === null || !timed ? null : `after ${seconds(turn.ended_ns - begin)}`
    const why = turn.error ? [turn.error.code, turn.error.message].filter(Boolean).join(': ') : ''
    const tokens =
      usage && usage.input_tokens !== null
        ? `${usage.input_tokens.toLocaleString('en')} in, ${(usage.output_tokens ?? 0).toLocaleString('en')} out tokens`
        : null
    const last =
      how === 'unfinished' && turn.events
        ? `its end was not recorded${timed ? `, last event after ${seconds(turn.last_event_ns - begin)}` : ''}`
        : how === 'unfinished'
          ? 'the agent never took it up'
          : null
    const parts = [
      took,
      last,
      turn.first_text_ns === null || !timed ? null : `first text after ${seconds(turn.first_text_ns - begin)}`,
      tokens,
      usage?.cost_usd === null || usage?.cost_usd === undefined ? null : `$${usage.cost_usd.toFixed(4)}`,
      turn.agent ? `agent ${oneLine(turn.agent)}` : null,
      turn.model && turn.model !== turn.agent ? `model ${oneLine(turn.model)}` : null,
      turn.odd_events ? `${count(turn.odd_events, 'event')} against the contract` : null,
    ]
    fill(
      this.end,
      h('b', {}, how),
      took ? ' ' : ' · ',
      parts.filter(Boolean).join(' · '),
      why ? h('div', { class: 'error-text' }, why) : '',
      spent ? h('div', { class: 'turn-spent' }, spent) : '',
    )
  }
}
