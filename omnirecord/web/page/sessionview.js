// One session: the transport and the timeline above, the conversation on the left, the wire on the right.

import { Deck, SPEEDS } from './deck.js'
import { Detail } from './detail.js'
import { button, fill, h, say, shows } from './dom.js'
import { Player } from './player.js'
import { TalkView } from './talkview.js'
import { Timeline } from './timeline.js'
import { Wire } from './wire.js'
import { ENDINGS, clip, count, moment, oneLine, seconds, size } from './words.js'

const TABS = [['talk', 'Conversation'], ['wire', 'Wire'], ['findings', 'Findings'], ['about', 'About']]

export class SessionView {
  constructor(source, row, overview, route) {
    this.deck = new Deck(source, row.key)
    Object.assign(this, { row, overview, route })
    const { deck } = this
    deck.isFollowed = overview.is_recorded && source.canFollow
    this.player = new Player(deck)
    this.timeline = new Timeline(deck, exchange => { deck.select({ exchange }); this.open('wire') })
    this.talk = new TalkView(deck)
    this.wire = new Wire(deck)
    this.detail = new Detail(deck)
    this.findings = h('div', { class: 'findings', tabindex: '0', role: 'region', 'aria-label': 'Findings' })
    this.about = h('div', { class: 'about', tabindex: '0', role: 'region', 'aria-label': 'About this session' })
    this.problem = h('p', { class: 'problem', role: 'alert', hidden: true })
    this.side = { wire: h('div', { class: 'wire-pane' }, this.wire.element, this.detail.element), findings: this.findings, about: this.about }
    this.element = h('main', { class: 'session' }, this.head(), this.problem, this.player.element, this.timeline.element, this.tabs(),
      h('div', { class: 'panes' }, this.talk.element, h('div', { class: 'side' }, ...Object.values(this.side))))
    this.open('wire')
    deck.on(news => this.update(news))
    deck.load(row.stream_numbers).then(() => this.arrive(route)).catch(problem => deck.fail(problem))
  }

  head() {
    const { row, overview } = this, recording = overview.recordings.find(one => one.recording === row.recording)
    const name = row.session_id === null ? `Stream ${row.stream}` : clip(oneLine(row.asked ?? row.session_id), 90)
    return h('header', { class: 'session-head' }, h('h1', {}, name),
      h('p', { class: 'session-facts' }, h('code', {}, row.session_id ?? row.path ?? ''), h('span', {}, `${moment(row.started_at)} UTC`), h('span', {}, `recording ${row.recording}${recording?.upstream ? ` of ${recording.upstream}` : ''}`)))
  }

  tabs() {
    this.buttons = TABS.map(([name, label]) => h('button', { type: 'button', role: 'tab', id: `tab-${name}`, class: `tab tab-${name}`, onclick: () => this.open(name) }, label))
    return h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Views of the session' }, ...this.buttons)
  }

  // On a narrow page the conversation is one of the tabs; else it always stands beside them.
  open(name) {
    this.opened = name
    this.element.dataset.tab = name
    for (const [one, element] of Object.entries(this.side)) element.hidden = one !== name && !(name === 'talk' && one === 'wire')
    this.buttons.forEach((one, i) => one.setAttribute('aria-selected', String(TABS[i][0] === name)))
    this.wire.later()
  }

  update(news) {
    if (news.has('data')) {
      this.tellFindings()
      this.tellAbout()
    }
    if (news.has('problem')) {
      shows(this.problem, true)
      say(this.problem, this.deck.problem.message)
    }
  }

  // To the place that the address names.
  arrive({ event, exchange, t }) {
    this.element.dataset.loaded = ''
    const [stream, seq] = (event ?? '').split(':').map(Number), { deck } = this
    if (event && deck.pointAt(stream, seq)) return
    if (t) deck.point(deck.begin + Number(t) * 1e9)
    if (exchange) {
      const x = deck.session.exchanges.find(one => one.exchange === Number(exchange))
      if (x) deck.point(x.at_ns)
      if (x) deck.select({ exchange: x.exchange })
    }
  }

  tellFindings() {
    const { deck } = this, all = deck.found, label = this.buttons[2]
    say(label, deck.raw ? `Findings ${all.length || ''}` : 'Findings …')
    label.dataset.severity = all.some(one => one.severity === 'error') ? 'error' : all.some(one => one.severity === 'warning') ? 'warning' : ''
    if (!deck.raw) return fill(this.findings, h('p', { class: 'empty' }, 'Looking for what was wrong …'))
    if (!all.length) return fill(this.findings, h('p', { class: 'empty' }, 'Nothing to report: nothing was wrong in this session that a recording shows.'))
    fill(this.findings, ...all.map(one => this.finding(one)))
  }

  finding(one) {
    const events = one.seqs.map(seq => h('button', { type: 'button', class: 'event-link', onclick: () => { this.deck.pointAt(one.stream, seq); this.open('wire') } }, `${one.stream}:${seq}`))
    return h('article', { class: `finding ${one.severity}` }, h('header', {}, h('span', { class: `severity ${one.severity}` }, one.severity), h('h2', {}, one.code)),
      h('p', {}, one.message), one.because ? h('p', { class: 'remark' }, `because of ${one.because}`) : [h('p', { class: 'remark' }, h('b', {}, 'Why it matters: '), one.why), h('p', { class: 'remark' }, h('b', {}, 'Look next: '), one.next)],
      events.length ? h('p', { class: 'links' }, ...events) : '')
  }

  tellAbout() {
    const { row, deck, overview } = this, recording = overview.recordings.find(one => one.recording === row.recording), main = deck.session?.family[0]
    const bad = Object.entries(row.verdicts).filter(([name]) => !['valid', 'comment', 'sentinel'].includes(name))
    const rows = [
      ['session', row.session_id ?? 'none: a stream of its own'], row.parent_session_id ? ['sub-agent of', row.parent_session_id] : null,
      ['began', `${moment(row.started_at)} UTC`], ['took', seconds(row.ended_ns - row.begun_ns)], ['ending', ENDINGS[row.ending] ?? row.ending], row.last_status ? ['last status', row.last_status] : null,
      ['events', count(deck.table.size, 'event')], ['against the contract', bad.length ? bad.map(([name, n]) => `${n} ${name}`).join(', ') : 'none'],
      ['streams', String(row.streams)], ['requests', String(row.exchanges)], ['size', size(row.bytes)], main?.cost_usd ? ['cost', `$${main.cost_usd.toFixed(4)}`] : null,
      ['upstream', recording?.upstream ?? 'not recorded'], ['contract', recording?.contract ?? ''], ['recorded by', `omnirecord ${recording?.version ?? ''}`],
    ].filter(Boolean)
    const others = deck.session?.family.slice(1) ?? []
    fill(this.about, h('dl', { class: 'facts' }, ...rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
      others.length ? [h('h2', {}, 'Sub-agents'), ...others.map(one => h('p', {}, h('a', { href: `#/session/${encodeURIComponent(one.key)}` }, one.title ?? one.session_id)))] : '',
      overview.shared ? sharedNote(overview.shared) : '', ...overview.incidents.map(one => h('p', { class: 'problem' }, `The recorder had trouble: ${one.message}`)))
  }

  // ---- keys

  key(key) {
    const { deck } = this, run = {
      ' ': () => deck.toggle(), 'ArrowLeft': () => deck.point(deck.at - 1e9), 'ArrowRight': () => deck.point(deck.at + 1e9),
      'Shift+ArrowLeft': () => deck.point(deck.at - 10e9), 'Shift+ArrowRight': () => deck.point(deck.at + 10e9),
      '.': () => deck.hop(deck.table.sorted, true), ',': () => deck.hop(deck.table.sorted, false), ']': () => deck.hop(deck.begins ?? [], true), '[': () => deck.hop(deck.begins ?? [], false),
      'Home': () => deck.point(deck.begin), 'End': () => deck.point(deck.end), '>': () => this.faster(1), '<': () => this.faster(-1),
      'j': () => this.wire.hop(1), 'k': () => this.wire.hop(-1), 'n': () => this.hopFinding(true), 'p': () => this.hopFinding(false),
      '+': () => this.timeline.zoomBy(0.5), '=': () => this.timeline.zoomBy(0.5), '-': () => this.timeline.zoomBy(2), '0': () => this.timeline.showAll(),
      'f': () => { this.open('wire'); this.wire.type.focus() }, 'l': () => { if (deck.isFollowed) deck.isLive ? deck.still() : deck.goLive() },
      '1': () => this.open('talk'), '2': () => this.open('wire'), '3': () => this.open('findings'), '4': () => this.open('about'), 'Escape': () => deck.select(null),
    }[key]
    run?.()
    return run !== undefined
  }

  faster(by) {
    const { deck } = this, place = SPEEDS.indexOf(deck.speed) + by
    if (SPEEDS[place]) deck.setSpeed(SPEEDS[place])
  }

  hopFinding(forward) {
    const times = this.deck.found.map(one => one.at).filter(at => at !== null).sort((a, b) => a - b)
    this.deck.hop(times, forward)
  }

  // ---- live

  hear(rows) {
    if (this.deck.hear(rows)) this.refresh()
  }

  // The story anew, not more often than it takes ten times as long to be made.
  async refresh() {
    if (this.isRefreshing) return void (this.isStale = true)
    this.isRefreshing = true
    const begun = performance.now()
    await this.deck.refresh().catch(problem => this.deck.fail(problem))
    setTimeout(() => {
      this.isRefreshing = false
      if (this.isStale) this.isStale = false, this.refresh()
    }, Math.min(Math.max(150, (performance.now() - begun) * 4), 10_000))
  }

  // The recording is over.
  async ended() {
    this.deck.isFollowed = false
    this.deck.changed('playing', 'live')
    try {
      await this.deck.refresh()
      await this.deck.loadFindings()
    } catch {
      this.deck.fail(new Error('The server has stopped. What came until then stays here; omnirecord ui shows the cassette again.'))
    }
  }

  close() {
    this.deck.close()
  }
}

// What was done to an exported file before it was written.
export function sharedNote(shared) {
  const rows = shared.replaced.map(one => h('li', {}, `${one.count} × ${one.kind}, in ${one.place}`))
  return h('section', { class: 'shared', 'aria-label': 'What was scrubbed' }, h('h2', {}, 'What was scrubbed'), h('p', {}, shared.sentence), rows.length ? h('ul', {}, ...rows) : '')
}
