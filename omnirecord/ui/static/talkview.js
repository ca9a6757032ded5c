// The conversation at the playhead, turn by turn. Each entry has one element, which changes only with its content.

import { callsOfTurn } from './calls.js'
import { button, fill, h, say, shows } from './dom.js'
import { forkBox } from './callsview.js'
import { VIEWS } from './entries.js'
import { turnAt, turnPlace } from './talk.js'
import { clock, count, grouped, oneLine, seconds } from './words.js'

export class TurnView {
  // `key`: of the session of the turn.
  constructor(one, deck, depth = 0, key = deck.key) {
    Object.assign(this, { one, deck, depth, key, entries: new Map(), furthest: -1 })
    const { turn } = one
    this.list = h('div.entries')
    this.end = h('footer.turn-end', { hidden: true })
    const began = deck.hasTimes ? clock(one.begin - deck.begin, 1) : '',
      at = button(`Move the playhead to turn ${turn.turn}`, '', () => deck.jump(one.begin), began)
    at.className = 'turn-time'
    this.calls = h('span.turn-calls')
    this.element = h(
      'article.turn',
      { 'aria-label': `Turn ${turn.turn}` },
      h('header', h('span.turn-number', `Turn ${turn.turn}`), at, this.calls),
      this.list,
      this.end,
    )
    if (!turn.asked.length) this.list.append(h('p.entry.note', '(what was asked is not in this recording)'))
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
    else {
      this.end.className = 'turn-end open'
      delete this.end.dataset.how
      say(this.end, `working, ${seconds(Math.max(at - this.one.begin, 0))}`)
    }
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
        ? `${grouped(usage.input_tokens)} in, ${grouped(usage.output_tokens ?? 0)} out tokens`
        : null
    const last =
      how === 'unfinished' && (turn.events || turn.text)
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
      h('b', how),
      took ? ' ' : ' · ',
      parts.filter(Boolean).join(' · '),
      why ? h('div.error-text', why) : '',
      spent ? h('div.turn-spent', spent) : '',
      forkBox(this.deck.source, this.deck.forks.get(`${this.key} ${turn.turn}`)),
    )
  }
}

const MOST_TURNS = 8 // turns on the page at once; earlier ones load on demand

export class TalkView {
  constructor(deck) {
    this.deck = deck
    this.turns = [] // {one, element, entries}
    this.extra = 0
    this.earlier = h('button.quiet', { hidden: true, onclick: () => this.more() })
    this.list = h('div.talk-turns')
    this.why = h('div.why', { hidden: true })
    this.empty = h('p.empty', { hidden: true })
    this.element = h(
      'section.talk',
      { 'aria-label': 'Conversation at the playhead', tabindex: '0' },
      h('div.talk-inner', this.earlier, this.empty, this.list, this.why),
    )
    deck.on(news => {
      if (['data', 'time', 'live'].some(one => news.has(one))) this.update()
    })
  }

  more() {
    this.extra += MOST_TURNS
    this.update()
  }

  update() {
    const { deck } = this
    if (!deck.session) return (say(this.empty, 'Reading the session …'), shows(this.empty, true))
    const last = turnPlace(deck.turns, deck.at),
      first = Math.max(0, last + 1 - MOST_TURNS - this.extra)
    this.showTurns(first, last)
    shows(this.earlier, first > 0)
    if (first > 0) say(this.earlier, `${count(first, 'earlier turn')}: show more`)
    shows(this.empty, last < 0)
    say(
      this.empty,
      deck.turns.length
        ? 'No message up to this moment.'
        : deck.session.family?.[0]?.request
          ? 'This stream is of an API without turns. Its events are under Wire.'
          : 'No message was sent in this session.',
    )
    this.showWhy()
    if (deck.isPlaying) this.element.scrollTop = 0 // scroll to the end: the layout is reversed
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
    const { deck } = this,
      { stopped } = deck.session.family[0],
      is = deck.isOver
    shows(this.why, is)
    if (!is) return
    this.why.className = stopped.at_rest ? 'why' : 'why bad'
    say(this.why, `Why it stops here: ${stopped.sentence}`)
  }
}
