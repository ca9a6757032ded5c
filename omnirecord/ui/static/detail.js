// One event or request in full: the raw frame, the parsed data with its problems, and both times.

import { CallPanel, callTitle, partnerLine } from './callsview.js'
import { add, button, copyButtons, fill, h, icon } from './dom.js'
import { dataParts, exchangeParts, factList, latin } from './facts.js'
import { dataOf } from './source.js'
import { VERDICTS } from './table.js'
import { NO_TIMES, clock, count, gap, momentAt, size } from './words.js'

export class Detail {
  // `link` returns the address of the selection.
  constructor(deck, link) {
    Object.assign(this, { deck, link })
    this.body = h('div.detail-body', { tabindex: '0', 'aria-label': 'Details' })
    this.title = h('h2')
    this.copies = h('div.copies')
    this.element = h(
      'section.detail',
      { 'aria-label': 'The selection', hidden: true },
      h('header', this.title, this.copies, button('Close', 'Esc', () => deck.select(null), icon('close'))),
      this.body,
    )
    deck.on(news => {
      if (news.has('selected') || (news.has('data') && this.isStale)) this.update()
    })
  }

  update() {
    const { selected, isPlaying } = this.deck
    this.element.hidden = selected === null
    clearTimeout(this.timer)
    if (selected === null) return
    // While the playhead moves, show only a selection that stays for a moment.
    this.timer = setTimeout(() => this.show(selected).catch(problem => this.deck.fail(problem)), isPlaying ? 250 : 30)
  }

  async show(selected) {
    if (selected.call !== undefined) return this.showCall(selected)
    this.panel = null
    if (selected.exchange !== undefined) return this.showExchange(selected)
    const { table, source } = this.deck,
      { row } = selected,
      stream = table.stream[row],
      seq = table.seq[row]
    const event = await source.ask('event', { stream, seq })
    if (this.deck.selected !== selected) return
    fill(this.title, `${stream}:${seq} `, h('span.type', event.type ?? '(no type)'))
    const isText = typeof event.raw === 'string' && event.cut === null,
      data = isText ? dataOf(event.raw) : null
    this.offer({ event: isText ? event.raw : null, data, id: `${stream}:${seq}` })
    const partner = h('p.remark')
    fill(this.body, this.facts(row, event), partner, this.issues(event), dataParts(data, event.issues), this.raw(event))
    if (!this.deck.calls.length || !/\.delta$/.test(event.type ?? '')) return
    const move = await source.ask('move', { stream, seq })
    if (move) add(partner, ['caused by ', partnerLine(move, () => this.deck.goAlong(move))])
  }

  // Show a call; if it is shown already, only the selected event of it.
  async showCall(selected) {
    const { deck } = this,
      { source } = deck,
      { call: exchange, delta } = selected
    if (this.panel?.exchange !== exchange || this.isStale) {
      const [call, full] = await Promise.all(['call', 'exchange'].map(name => source.ask(name, { exchange })))
      if (deck.selected !== selected) return
      const go = delta => deck.pointAtCall(exchange, delta)
      this.panel = new CallPanel({ source, begin: deck.begin, go })
      this.panel.exchange = exchange
      this.shownCall = call
      fill(this.title, ...callTitle(call))
      this.offer({ curl: full.curl, id: String(exchange) })
      fill(this.body, ...this.panel.parts(call, full))
      if (!delta) this.body.scrollTop = 0
    }
    if (this.shownCall.stream === null) return
    const at = await this.panel.showEvents(delta)
    if (!delta || deck.selected !== selected) return
    if (at !== null) deck.noteDelta(exchange, delta, at)
    await this.panel.showEvent(delta, move => deck.goAlong(move))
    this.panel.list.querySelector('.selected')?.scrollIntoView({ block: 'center' })
  }

  // Whether the shown call was open when it was shown, and has ended since.
  get isStale() {
    const { selected, calls } = this.deck
    if (selected?.call === undefined || this.shownCall?.exchange !== selected.call) return false
    const now = calls.find(one => one.exchange === selected.call)
    return now !== undefined && (now.ended_ns !== this.shownCall.ended_ns || now.key !== this.shownCall.key)
  }

  // The texts to copy; null for a missing one.
  offer(texts) {
    fill(this.copies, copyButtons(texts, this.link))
  }

  facts(row, event) {
    const { table, session, begin } = this.deck,
      sent = table.sent[row],
      place = table.placeOf(row),
      verdict = VERDICTS[table.verdict[row]]
    return factList([
      [
        'arrived',
        event.at === null
          ? NO_TIMES
          : `${clock(event.offset_ns - begin, 6)} · ${session ? momentAt(session.started_at, event.offset_ns) : ''}`,
      ],
      ['verdict', h(`span.verdict.${verdict}`, verdict)],
      [
        'handed on',
        event.at === null ? NO_TIMES : Number.isNaN(sent) ? 'never' : sent > event.offset_ns ? `${gap(sent - event.offset_ns)} later` : 'at once',
      ],
      ['gap before', event.at === null ? NO_TIMES : gap(table.gapBefore(place))],
      ['number', event.sequence_number === null ? 'none' : String(event.sequence_number)],
      ['size', size(table.length[row])],
      event.event !== null && event.event !== event.type ? ['event field', event.event] : null,
    ])
  }

  issues(event) {
    if (!event.issues.length) return ''
    return h('ul.issues',...event.issues.map(one => h('li', h('code', one.path || '(the whole)'), ' ', one.message)))
  }

  raw(event) {
    const head = h('h3', 'Raw frame')
    if (event.raw === null) return [head, h('p.remark', `Its ${count(event.cut ?? 0, 'byte')} were not recorded.`)]
    const text = typeof event.raw === 'string' ? event.raw : latin(event.raw.base64)
    const cut = event.cut ? h('p.remark', `The first part of ${size(event.cut)}.`) : ''
    return [
      head,
      cut,
      typeof event.raw === 'string' ? '' : h('p.remark', 'Not UTF-8: shown byte by byte.'),
      h('pre.raw', text),
    ]
  }

  async showExchange(selected) {
    const { exchange, message } = selected,
      x = this.deck.session.exchanges.find(one => one.exchange === exchange)
    const full = await this.deck.source.ask('exchange', { exchange })
    if (this.deck.selected !== selected) return
    fill(this.title, `${x.method} `, h('span.type', x.target))
    this.offer({ curl: full.curl, id: String(exchange) })
    fill(this.body, message === undefined ? exchangeParts(x, full, this.deck.begin) : this.message(full, message))
  }

  message({ messages }, place) {
    const { begin } = this.deck,
      one = messages[place]
    if (!one) return h('p.remark', 'This message does not exist.')
    return [
      factList([
        ['message', `${place + 1} of the WebSocket, ${one.dir === 'up' ? 'client → server' : 'server → client'}`],
        ['at', clock(one.at_ns - begin, 6)],
        ['size', size(one.size)],
      ]),
      dataParts(one.data, []),
      h('h3', 'Message'),
      h('pre.raw', typeof one.data === 'string' ? one.data : latin(one.data.base64)),
    ]
  }
}
