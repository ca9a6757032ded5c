// The controls of playback: play, scrubber, time, speed and longest silence.

import { CAPS, SPEEDS } from './playhead.js'
import { button, choice, fill, h, icon, labelled, say, shows } from './dom.js'
import { toTime } from './scale.js'
import { clock } from './words.js'

const NOTCHES = 10_000

export class Player {
  constructor(deck) {
    this.deck = deck
    this.button = button('Play or pause', 'space', () => deck.toggle())
    this.button.className = 'play'
    this.time = h('span.time')
    this.slider = h('input.scrubber', {
      type: 'range',
      min: '0',
      max: String(NOTCHES),
      step: '1',
      value: '0',
      'aria-label': 'Playhead',
      oninput: () => this.scrub(),
    })
    const caps = CAPS.map(one => [one, one === Infinity ? 'in full' : `≤ ${one} s`]),
      speeds = SPEEDS.map(one => [one, `${one}×`])
    this.speed = choice({ title: 'Speed (< and >)' }, speeds, value => deck.setSpeed(Number(value)))
    this.cap = choice({ title: 'Longest silence to play' }, caps, value => deck.setCap(Number(value)))
    this.live = h('button.live', { hidden: true, onclick: () => (deck.isLive ? deck.still() : deck.goLive()) })
    this.element = h('div.player', this.button, this.time, this.slider, this.live, labelled('Speed', this.speed, 'setting'), labelled('Silences', this.cap, 'setting'))
    this.speed.value = String(deck.speed)
    this.cap.value = String(deck.cap)
    deck.on(news => this.update(news))
  }

  update(news) {
    const { deck } = this
    if (news.has('playing') || !this.button.firstChild) {
      fill(this.button, icon(deck.isPlaying ? 'pause' : 'play'))
      this.speed.value = String(deck.speed)
    }
    if (news.has('time') || news.has('data')) this.tellTime()
    this.tellLive()
  }

  tellTime() {
    const { deck } = this,
      at = clock(deck.at - deck.begin),
      all = clock(deck.end - deck.begin)
    say(this.time, deck.hasTimes ? `${at} / ${all}` : 'no times recorded')
    const value = String(Math.round((deck.played / Math.max(deck.pace.duration, 1)) * NOTCHES))
    if (this.slider.value !== value) this.slider.value = value
    this.slider.style.setProperty('--part', `${(value / NOTCHES) * 100}%`)
    this.slider.setAttribute('aria-valuetext', `${at} of ${all}`)
  }

  tellLive() {
    const { deck, live } = this
    shows(live, deck.isFollowed === true)
    if (!deck.isFollowed) return
    const isAtEnd = deck.isAtEnd && !deck.isPlaying,
      waiting = deck.waiting ? ` · ${deck.waiting} new` : ''
    const follows = deck.isOpen ? '● live' : 'no client connected'
    live.classList.toggle('on', deck.isLive)
    say(live, isAtEnd ? follows : `paused${waiting} · go to the end`)
    live.setAttribute('aria-label', deck.isLive ? 'Live: pause' : isAtEnd ? follows : `Paused${waiting}: go to the end`)
  }

  scrub() {
    const { pace } = this.deck
    this.deck.jump(toTime(pace, (Number(this.slider.value) / NOTCHES) * pace.duration))
  }
}
