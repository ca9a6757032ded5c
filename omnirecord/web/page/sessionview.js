// One session: the transport and the timeline above, the conversation on the left, the wire on the right.

import { Deck } from './deck.js'
import { Detail } from './detail.js'
import { fill, h, say, shows } from './dom.js'
import { aboutParts, findingParts } from './panes.js'
import { Player } from './player.js'
import { SPEEDS } from './playhead.js'
import { TalkView } from './talkview.js'
import { Timeline } from './timeline.js'
import { Wire } from './wire.js'
import { clip, moment, oneLine } from './words.js'

const TABS = [
  ['talk', 'Conversation'],
  ['wire', 'Wire'],
  ['findings', 'Findings'],
  ['about', 'About'],
]

const LEFT = 5000 // ms between two looks whether the client has left
const EXAMINED = 5000 // ms between two looks for what is wrong, while it is recorded

export class SessionView {
  constructor(source, row, overview, route) {
    this.deck = new Deck(source, row.key)
    Object.assign(this, { row, overview, route })
    const { deck } = this
    deck.isFollowed = overview.is_recorded && source.canFollow
    this.player = new Player(deck)
    this.timeline = new Timeline(deck, exchange => {
      deck.select({ exchange })
      this.open('wire')
    })
    this.talk = new TalkView(deck)
    this.wire = new Wire(deck)
    this.detail = new Detail(deck)
    this.findings = h('div', { class: 'findings', tabindex: '0', role: 'region', 'aria-label': 'Findings' })
    this.about = h('div', { class: 'about', tabindex: '0', role: 'region', 'aria-label': 'About this session' })
    this.problem = h('p', { class: 'problem', role: 'alert', hidden: true })
    this.side = {
      wire: h('div', { class: 'wire-pane' }, this.wire.element, this.detail.element),
      findings: this.findings,
      about: this.about,
    }
    this.element = h(
      'main',
      { class: 'session' },
      this.head(),
      this.problem,
      this.player.element,
      this.timeline.element,
      this.tabs(),
      h('div', { class: 'panes' }, this.talk.element, h('div', { class: 'side' }, ...Object.values(this.side))),
    )
    this.open('wire')
    this.looking = setInterval(() => this.look(), LEFT)
    deck.on(news => this.update(news))
    deck
      .load(row.stream_numbers)
      .then(() => this.arrive(route))
      .catch(problem => deck.fail(problem))
  }

  head() {
    const { row, overview } = this,
      recording = overview.recordings.find(one => one.recording === row.recording)
    const name = row.session_id === null ? `Stream ${row.stream}` : clip(oneLine(row.asked ?? row.session_id), 90)
    return h(
      'header',
      { class: 'session-head' },
      h('h1', {}, name),
      h(
        'p',
        { class: 'session-facts' },
        h('code', {}, row.session_id ?? row.path ?? ''),
        h('span', {}, row.started_at ? `${moment(row.started_at)} UTC` : 'no times recorded'),
        recording?.file ? h('span', {}, recording.file) : '',
        h('span', {}, `recording ${row.recording}${recording?.upstream ? ` of ${recording.upstream}` : ''}`),
      ),
    )
  }

  tabs() {
    this.buttons = TABS.map(([name, label]) =>
      h(
        'button',
        { type: 'button', role: 'tab', id: `tab-${name}`, class: `tab tab-${name}`, onclick: () => this.open(name) },
        label,
      ),
    )
    return h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Views of the session' }, ...this.buttons)
  }

  // On a narrow page the conversation is one of the tabs; else it always stands beside them.
  open(name) {
    this.opened = name
    this.element.dataset.tab = name
    for (const [one, element] of Object.entries(this.side))
      element.hidden = one !== name && !(name === 'talk' && one === 'wire')
    this.buttons.forEach((one, i) => one.setAttribute('aria-selected', String(TABS[i][0] === name)))
    this.wire.later()
  }

  update(news) {
    if (news.has('data')) {
      this.tellFindings()
      fill(this.about, ...aboutParts(this.row, this.deck, this.overview))
    }
    if (news.has('problem')) {
      shows(this.problem, true)
      say(this.problem, this.deck.problem.message)
    }
  }

  // To the place that the address names.
  arrive({ event, exchange, t }) {
    this.element.dataset.loaded = ''
    const [stream, seq] = (event ?? '').split(':').map(Number),
      { deck } = this
    if (event && deck.pointAt(stream, seq)) return
    if (t) deck.point(deck.begin + Number(t) * 1e9)
    if (exchange) {
      const x = deck.session.exchanges.find(one => one.exchange === Number(exchange))
      if (x) deck.point(x.at_ns)
      if (x) deck.select({ exchange: x.exchange })
    }
  }

  tellFindings() {
    const { raw, found } = this.deck,
      tab = this.buttons[2]
    say(tab, raw ? `Findings ${found.length || ''}` : 'Findings …')
    tab.dataset.severity = ['error', 'warning'].find(severity => found.some(one => one.severity === severity)) ?? ''
    const go = (stream, seq) => {
      this.deck.pointAt(stream, seq)
      this.open('wire')
    }
    fill(this.findings, ...findingParts(raw && found, go))
  }

  // ---- keys

  key(key) {
    const { deck } = this,
      run = {
        ' ': () => deck.toggle(),
        ArrowLeft: () => deck.jump(deck.at - 1e9),
        ArrowRight: () => deck.jump(deck.at + 1e9),
        'Shift+ArrowLeft': () => deck.jump(deck.at - 10e9),
        'Shift+ArrowRight': () => deck.jump(deck.at + 10e9),
        '.': () => deck.hop(deck.table.sorted, true),
        ',': () => deck.hop(deck.table.sorted, false),
        ']': () => deck.hop(deck.begins ?? [], true),
        '[': () => deck.hop(deck.begins ?? [], false),
        Home: () => deck.jump(deck.begin),
        End: () => deck.jump(deck.end),
        '>': () => this.faster(1),
        '<': () => this.faster(-1),
        j: () => this.wire.hop(1),
        k: () => this.wire.hop(-1),
        n: () => this.hopFinding(true),
        p: () => this.hopFinding(false),
        '+': () => this.timeline.zoomBy(0.5),
        '=': () => this.timeline.zoomBy(0.5),
        '-': () => this.timeline.zoomBy(2),
        0: () => this.timeline.showAll(),
        f: () => {
          this.open('wire')
          this.wire.type.focus()
        },
        l: () => {
          if (deck.isFollowed) deck.isLive ? deck.still() : deck.goLive()
        },
        1: () => this.open('talk'),
        2: () => this.open('wire'),
        3: () => this.open('findings'),
        4: () => this.open('about'),
        Escape: () => deck.select(null),
      }[key]
    run?.()
    return run !== undefined
  }

  faster(by) {
    const { deck } = this,
      place = SPEEDS.indexOf(deck.speed) + by
    if (SPEEDS[place]) deck.setSpeed(SPEEDS[place])
  }

  hopFinding(forward) {
    const times = this.deck.found
      .map(one => one.at)
      .filter(at => at !== null)
      .sort((a, b) => a - b)
    this.deck.hop(times, forward)
  }

  // ---- live

  hear(rows) {
    if (this.deck.hear(rows)) this.refresh()
  }

  // A client that leaves sends nothing: look whether it is still there.
  look() {
    const { deck } = this
    if (deck.isFollowed && deck.isLoaded && deck.isOpen && document.visibilityState === 'visible') this.refresh()
  }

  // The story anew, with a pause of four times as long as that takes.
  async refresh() {
    if (this.isRefreshing) return void (this.isStale = true)
    this.isRefreshing = true
    const begun = performance.now()
    try {
      await this.deck.refresh()
      if (begun - (this.examined ?? begun - EXAMINED) >= EXAMINED) {
        this.examined = begun
        await this.deck.loadFindings()
      }
    } catch (problem) {
      this.deck.fail(problem)
    }
    setTimeout(
      () => {
        this.isRefreshing = false
        if (!this.isStale) return
        this.isStale = false
        this.refresh()
      },
      Math.min(Math.max(150, (performance.now() - begun) * 4), 10_000),
    )
  }

  // The connection is back. `goes_on`: whether more is recorded.
  async catchUp(goesOn) {
    this.deck.isFollowed = goesOn
    shows(this.problem, false)
    this.deck.changed('playing', 'live')
    await this.deck.catchUp().catch(problem => this.deck.fail(problem))
    this.refresh()
  }

  // The recording is over.
  async ended() {
    this.deck.isFollowed = false
    this.deck.changed('playing', 'live')
    try {
      await this.deck.refresh()
      await this.deck.loadFindings()
    } catch {
      this.deck.fail(
        new Error('The server has stopped. What came until then stays here; omnirecord ui shows the cassette again.'),
      )
    }
  }

  close() {
    clearInterval(this.looking)
    this.deck.close()
  }
}
