// The conversation at the playhead. Each entry has one element, which changes only with its content.

import { h, say, shows } from './dom.js'
import { turnPlace } from './talk.js'
import { TurnView } from './turnview.js'
import { count } from './words.js'

const MOST_TURNS = 8 // turns on the page at once; earlier ones load on demand

export class TalkView {
  constructor(deck) {
    this.deck = deck
    this.turns = [] // {one, element, entries}
    this.extra = 0
    this.earlier = h('button', { type: 'button', class: 'quiet', hidden: true, onclick: () => this.more() })
    this.list = h('div', { class: 'talk-turns' })
    this.why = h('div', { class: 'why', hidden: true })
    this.empty = h('p', { class: 'empty', hidden: true })
    this.element = h(
      'section',
      { class: 'talk', 'aria-label': 'Conversation at the playhead', tabindex: '0' },
      h('div', { class: 'talk-inner' }, this.earlier, this.empty, this.list, this.why),
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
