// One session: playback controls and timeline above, the conversation on the left, the event list on the right.

import { Deck } from './deck.js'
import { Detail } from './detail.js'
import { copyButtons, fill, h, say, shows } from './dom.js'
import { isAll, ofAddress, toAddress } from './filters.js'
import { aboutParts, findingParts } from './panes.js'
import { Player } from './player.js'
import { SPEEDS } from './playhead.js'
import { write } from './routes.js'
import { TalkView } from './talkview.js'
import { Timeline } from './timeline.js'
import { Wire } from './wire.js'
import { clip, moment, oneLine, sessionName } from './words.js'

const TABS = [['talk', 'Conversation'], ['wire', 'Wire'], ['findings', 'Findings'], ['about', 'About']]

const LEFT = 5000 // ms between two checks whether the client has left

const FINDINGS = 2 // index of the tab

const EXAMINED = 5000 // ms between two loads of the findings while recording
const REMEMBERED = 400 // ms between two changes of the address: browsers allow about three a second
const NARROW = '(max-width: 900px)' // where the style sheet makes the conversation a tab

export class SessionView {
  constructor(source, row, overview, route) {
    this.deck = new Deck(source, row.key)
    Object.assign(this, { row, overview, route, visited: location.hash })
    const { deck } = this
    deck.isFollowed = overview.is_recorded && source.canFollow
    this.modelHops = new Set(overview.recordings.filter(one => one.is_model_hop).map(one => one.recording))
    deck.hasCalls = this.modelHops.size > 0
    this.player = new Player(deck)
    this.timeline = new Timeline(deck, () => this.open('wire'))
    this.talk = new TalkView(deck)
    deck.setFilter(ofAddress(route))
    this.wire = new Wire(deck)
    this.detail = new Detail(deck, () => this.link())
    this.findings = h('div.findings', { tabindex: '0', role: 'region', 'aria-label': 'Findings' })
    this.about = h('div.about', { tabindex: '0', role: 'region', 'aria-label': 'About this session' })
    this.problem = h('p.problem', { role: 'alert', hidden: true })
    this.side = {
      wire: h('div.wire-pane', this.wire.element, this.detail.element),
      findings: this.findings,
      about: this.about,
    }
    this.element = h(
      'main.session',
      this.head(),
      this.problem,
      this.player.element,
      this.timeline.element,
      this.tabs(),
      h('div.panes', this.talk.element, h('div.side', ...Object.values(this.side))),
    )
    this.chosen = null // the tab that the address or a click selected
    this.openFirst(route)
    this.looking = setInterval(() => this.look(), LEFT)
    deck.on(news => this.update(news))
    deck
      .load(row.stream_numbers)
      .then(() => this.arrive())
      .catch(problem => deck.fail(problem))
  }

  head() {
    const { row, overview } = this,
      recording = overview.recordings.find(one => one.recording === row.recording)
    const parent = overview.sessions.find(
      one => one.recording === row.recording && one.session_id !== null && one.session_id === row.parent_session_id,
    )
    this.verdict = h('span')
    this.tellVerdict(row.conclusion)
    this.trouble = h('button.trouble-line', { hidden: true, onclick: () => this.open('findings') })
    return h(
      'header.session-head',
      h('h1', clip(oneLine(sessionName(row)), 90)),
      h(
        'p.session-facts',
        h('code', row.session_id ?? row.path ?? ''),
        this.verdict,
        h('span', row.started_at ? `${moment(row.started_at)} UTC` : 'no times recorded'),
        recording?.file ? h('span', recording.file) : '',
        h('span.of', `recording ${row.recording}${recording?.upstream ? ` of ${recording.upstream}` : ''}`),
        parent ? h('a', { href: write({ view: 'session', key: parent.key }) }, 'Parent session') : '',
      ),
      this.trouble,
      h('div.copies', copyButtons({ id: row.session_id }, () => this.link())),
    )
  }

  tellVerdict({ verdict, outcome }) {
    this.verdict.className = `ending ${outcome}`
    say(this.verdict, verdict)
  }

  tabs() {
    this.buttons = TABS.map(([name, label]) =>
      h('button', { role: 'tab', id: `tab-${name}`, class: `tab tab-${name}`, onclick: () => this.open(name) }, label),
    )
    this.bar = h('div.tabs', { role: 'tablist', 'aria-label': 'Views of the session' }, ...this.buttons)
    return this.bar
  }

  // Open the tab of the address. Without one: on a narrow page the conversation, with errors the findings, else the wire.
  openFirst({ tab, event, exchange, call }) {
    this.chosen = null
    if (TABS.some(([name]) => name === tab)) return this.open(tab)
    const isPointedAt = Boolean(event || exchange || call) || !isAll(this.deck.filter)
    if (!isPointedAt && matchMedia(NARROW).matches) return this.open('talk', false)
    this.open(!isPointedAt && this.errors.length ? 'findings' : 'wire', false)
  }

  get errors() {
    return this.deck.found.filter(one => one.severity === 'error')
  }

  // Open a tab. On a wide page, the conversation is beside every tab.
  open(name, isChosen = true) {
    if (isChosen) this.chosen = name
    this.element.dataset.tab = name
    for (const [one, element] of Object.entries(this.side))
      element.hidden = one !== name && !(name === 'talk' && one === 'wire')
    this.buttons.forEach((one, i) => one.setAttribute('aria-selected', String(TABS[i][0] === name)))
    this.wire.later()
    this.remember()
  }

  // ---- the address

  get address() {
    const { deck, row, chosen } = this,
      { selected, table, begin } = deck
    const isEvent = selected?.row !== undefined,
      place = isEvent ? { event: `${table.stream[selected.row]}:${table.seq[selected.row]}` } : { ...selected }
    const isElsewhere = selected ? deck.at !== deck.timeOf(selected) : deck.at < deck.end || (deck.isFollowed && !deck.isAtEnd)
    const t = isElsewhere ? Math.ceil((deck.at - begin) / 1e3) / 1e6 : null // rounded up, not to a time before the event
    return write({ view: 'session', key: row.key, tab: chosen, ...place, t, ...toAddress(deck.filter) })
  }

  link() {
    return location.href.replace(/#.*$/s, '') + this.address
  }

  // Write the view into the address, so that a reload, a bookmark or the back button restores it.
  remember() {
    if (this.remembering || !this.hasArrived) return
    this.remembering = setTimeout(() => {
      this.remembering = null
      if (this.deck.isClosed || location.hash !== this.visited) return // a link was just followed
      history.replaceState(null, '', this.address)
      this.visited = location.hash
    }, REMEMBERED)
  }

  // Go to another place of this session, from the address.
  revisit(route) {
    const { deck } = this
    this.visited = location.hash
    deck.setFilter(ofAddress(route))
    this.wire.filters.show()
    this.openFirst(route)
    deck.select(null)
    deck.moveTo(deck.end)
    this.goTo(route)
  }

  update(news) {
    this.remember()
    if (news.has('data')) {
      if (this.deck.session) this.tellVerdict(this.deck.session.family[0].conclusion)
      this.tellFindings()
      fill(this.about, ...aboutParts(this.row, this.deck, this.overview))
    }
    if (news.has('problem')) {
      shows(this.problem, true)
      say(this.problem, this.deck.problem.message)
    }
  }

  // Go to the place in the address.
  arrive() {
    this.element.dataset.loaded = ''
    if (!this.chosen && !this.deck.selected) this.openFirst(this.route)
    this.goTo(this.route)
    this.hasArrived = true
    this.remember()
  }

  goTo({ event, exchange, message, t, text, call, delta }) {
    const [stream, seq] = (event ?? '').split(':').map(Number),
      { deck } = this
    if (text) deck.findText(text).catch(problem => deck.fail(problem))
    if (event) deck.pointAt(stream, seq)
    if (call) deck.pointAtCall(Number(call), Number(delta) || undefined)
    if (exchange) deck.pointAtOther(message === undefined ? exchange : `${exchange}.${message}`)
    if (t && !Number.isNaN(Number(t))) deck.moveTo(deck.begin + Number(t) * 1e9)
  }

  tellFindings() {
    const { raw, found } = this.deck,
      tab = this.buttons[FINDINGS]
    say(tab, raw ? `Findings ${found.length || ''}`.trim() : 'Findings …')
    tab.dataset.severity = ['error', 'warning'].find(severity => found.some(one => one.severity === severity)) ?? ''
    this.tellErrors(tab)
    const go = (stream, seq) => {
      this.deck.pointAt(stream, seq)
      this.open('wire')
    }
    fill(this.findings, ...findingParts(raw && found, go))
  }

  // With errors, the heading shows the worst one, and findings are the first tab.
  tellErrors(tab) {
    const [first, ...more] = this.errors
    shows(this.trouble, first !== undefined)
    if (first && this.bar.firstChild !== tab) this.bar.prepend(tab)
    if (!first && this.bar.firstChild === tab) this.bar.insertBefore(tab, this.buttons[FINDINGS + 1])
    if (!first || this.shownError === `${first.code} ${first.message} ${more.length}`) return
    this.shownError = `${first.code} ${first.message} ${more.length}`
    fill(
      this.trouble,
      h('span.severity.error', 'error'),
      h('code', first.code),
      ` ${first.message}`,
      more.length ? ` (${more.length} more)` : '',
    )
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
          this.wire.filters.focus()
        },
        o: () => this.wire.turn(),
        m: () => this.hopCall(1),
        M: () => this.hopCall(-1),
        c: () => deck.hopAcross().catch(problem => deck.fail(problem)),
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

  // Select the next model call after the selected one, or after the playhead; or the previous one.
  hopCall(by) {
    const { calls, selected, at } = this.deck
    if (!calls.length) return
    const here = calls.findIndex(one => one.exchange === selected?.call)
    const next = here >= 0 ? here + by : by > 0 ? calls.findIndex(one => one.started_ns >= at) : calls.findLastIndex(one => one.started_ns <= at)
    const one = calls[Math.min(Math.max(next, 0), calls.length - 1)]
    this.deck.pointAtCall(one.exchange)
    this.open('wire')
  }

  hopFinding(forward) {
    const times = this.deck.found
      .map(one => one.at)
      .filter(at => at !== null)
      .sort((a, b) => a - b)
    this.deck.hop(times, forward)
  }

  // ---- live

  receive(rows) {
    if (this.deck.receive(rows) || rows.some(row => this.modelHops.has(row.recording))) this.refresh()
  }

  // Check for a client that left, since leaving sends no event.
  look() {
    const { deck } = this
    if (deck.isFollowed && deck.isLoaded && deck.isOpen && document.visibilityState === 'visible') this.refresh()
  }

  // Reload the conversation, then pause for four times the loading time.
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

  // The connection is back. `goesOn`: whether the recording continues.
  async catchUp(goesOn) {
    this.deck.isFollowed = goesOn
    shows(this.problem, false)
    this.deck.changed('playing', 'live')
    await this.deck.catchUp().catch(problem => this.deck.fail(problem))
    this.refresh()
  }

  // The recording has ended.
  async ended() {
    this.deck.isFollowed = false
    this.deck.changed('playing', 'live')
    try {
      await this.deck.refresh()
      await this.deck.loadFindings()
    } catch {
      this.deck.fail(
        new Error('The server has stopped. The events so far stay here; omnirecord ui shows the whole cassette.'),
      )
    }
  }

  close() {
    clearTimeout(this.remembering)
    clearInterval(this.looking)
    this.deck.close()
  }
}
