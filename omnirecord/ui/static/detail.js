// One event or request in full: the raw frame, the parsed data with its problems, and both times.

import { copyButton } from './copying.js'
import { button, fill, h, icon } from './dom.js'
import { pathOf, readJson, samePath } from './jsontext.js'
import { dataOf } from './sse.js'
import { VERDICTS } from './table.js'
import { ENDINGS, NO_TIMES, clock, count, gap, isUntimed, momentAt, seconds, size } from './words.js'

const MOST = 400 // parts of an object or array that are shown at first

export class Detail {
  // `link` returns the address of the selection.
  constructor(deck, link) {
    Object.assign(this, { deck, link })
    this.body = h('div', { class: 'detail-body', tabindex: '0', 'aria-label': 'Details' })
    this.title = h('h2')
    this.copies = h('div', { class: 'copies' })
    this.element = h(
      'section',
      { class: 'detail', 'aria-label': 'The selection', hidden: true },
      h(
        'header',
        {},
        this.title,
        this.copies,
        button('Close', 'Esc', () => deck.select(null), icon('close')),
      ),
      this.body,
    )
    deck.on(news => {
      if (news.has('selected')) this.update()
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
    if (selected.exchange !== undefined) return this.showExchange(selected)
    const { table, source } = this.deck,
      { row } = selected,
      stream = table.stream[row],
      seq = table.seq[row]
    const event = await source.event(stream, seq)
    if (this.deck.selected !== selected) return
    fill(this.title, `${stream}:${seq} `, h('span', { class: 'type' }, event.type ?? '(no type)'))
    const isText = typeof event.raw === 'string' && event.cut === null,
      data = isText ? dataOf(event.raw) : null
    this.offer({ event: isText ? event.raw : null, data, id: `${stream}:${seq}` })
    fill(this.body, this.facts(row, event), this.issues(event), this.data(event), this.raw(event))
  }

  // The texts to copy; null for a missing one.
  offer(texts) {
    const offered = Object.entries(texts).filter(([, text]) => text !== null && text !== undefined)
    fill(this.copies, ...offered.map(([name, text]) => copyButton(name, () => text)), copyButton('link', this.link))
  }

  facts(row, event) {
    const { table, session, begin } = this.deck,
      sent = table.sent[row],
      place = table.placeOf(row),
      verdict = VERDICTS[table.verdict[row]]
    return list([
      [
        'arrived',
        event.at === null
          ? NO_TIMES
          : `${clock(event.offset_ns - begin, 6)} · ${session ? momentAt(session.started_at, event.offset_ns) : ''}`,
      ],
      ['verdict', h('span', { class: `verdict ${verdict}` }, verdict)],
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
    return h(
      'ul',
      { class: 'issues' },
      ...event.issues.map(one => h('li', {}, h('code', {}, one.path || '(the whole)'), ' ', one.message)),
    )
  }

  data(event) {
    if (typeof event.raw !== 'string' || event.cut !== null) return ''
    const text = dataOf(event.raw),
      value = text === null ? null : readJson(text)
    if (!value) return ''
    return [h('h3', {}, 'Data'), h('div', { class: 'json' }, tree(value, '', event.issues))]
  }

  raw(event) {
    const head = h('h3', {}, 'Raw frame')
    if (event.raw === null)
      return [head, h('p', { class: 'remark' }, `Its ${count(event.cut ?? 0, 'byte')} were not recorded.`)]
    const text = typeof event.raw === 'string' ? event.raw : latin(event.raw.base64)
    const cut = event.cut ? h('p', { class: 'remark' }, `The first part of ${size(event.cut)}.`) : ''
    return [
      head,
      cut,
      typeof event.raw === 'string' ? '' : h('p', { class: 'remark' }, 'Not UTF-8: shown byte by byte.'),
      h('pre', { class: 'raw' }, text),
    ]
  }

  async showExchange(selected) {
    const { exchange, message } = selected,
      x = this.deck.session.exchanges.find(one => one.exchange === exchange)
    const full = await this.deck.source.exchange(exchange)
    if (this.deck.selected !== selected) return
    fill(this.title, `${x.method} `, h('span', { class: 'type' }, x.target))
    this.offer({ curl: full.curl, id: String(exchange) })
    fill(this.body, message === undefined ? exchangeParts(x, full, this.deck.begin) : this.message(full, message))
  }

  message({ messages }, place) {
    const { begin } = this.deck,
      one = messages[place]
    if (!one) return h('p', { class: 'remark' }, 'This message does not exist.')
    const value = typeof one.data === 'string' ? readJson(one.data) : null
    return [
      list([
        ['message', `${place + 1} of the WebSocket, ${one.dir === 'up' ? 'client → server' : 'server → client'}`],
        ['at', clock(one.at_ns - begin, 6)],
        ['size', size(one.size)],
      ]),
      value ? [h('h3', {}, 'Data'), h('div', { class: 'json' }, tree(value, '', []))] : '',
      h('h3', {}, 'Message'),
      h('pre', { class: 'raw' }, typeof one.data === 'string' ? one.data : latin(one.data.base64)),
    ]
  }
}

// All details of a request.
export function exchangeParts(x, full, begin) {
  return [
    list([
      ['status', x.status === null ? 'no answer' : `${x.status} ${full.response?.reason ?? ''}`],
      ['by', x.party_name ?? x.party],
      ['asked', isUntimed(x) ? NO_TIMES : clock(x.at_ns - begin, 6)],
      ['answered', isUntimed(x) ? NO_TIMES : x.answered_ns === null ? 'never' : `after ${gap(x.answered_ns - x.at_ns)}`],
      ['took', isUntimed(x) ? NO_TIMES : x.end_ns === null ? 'still open' : seconds(x.end_ns - x.at_ns)],
      ['ending', ENDINGS[x.ending] ?? x.ending],
    ]),
    half('Request', full.request),
    full.response ? half('Response', full.response) : '',
    messages(full, begin),
  ]
}

function list(pairs) {
  return h(
    'dl',
    { class: 'facts' },
    ...pairs.filter(Boolean).flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]),
  )
}

function half(name, { headers, body }) {
  return [
    h('h3', {}, name),
    h('details', {}, h('summary', {}, count(headers.length, 'header field')), list(headers)),
    shownBody(body),
  ]
}

function shownBody(body) {
  if (!body?.size) return ''
  if (typeof body.text !== 'string') return h('p', { class: 'remark' }, `A binary body of ${size(body.size)}.`)
  const value = readJson(body.text)
  return [
    value ? h('div', { class: 'json' }, tree(value, '', [])) : h('pre', { class: 'raw' }, body.text),
    body.size > 65536 ? h('p', { class: 'remark' }, `The first part of ${size(body.size)}.`) : '',
  ]
}

function messages({ messages: all, more_messages: more }, begin) {
  if (!all.length) return ''
  const lines = all.map(one =>
    h(
      'div',
      { class: 'message' },
      h('span', { class: 'took' }, `${clock(one.at_ns - begin, 3)} ${one.dir === 'up' ? '→' : '←'}`),
      h('pre', { class: 'raw' }, typeof one.data === 'string' ? one.data : `(${size(one.size)}, binary)`),
    ),
  )
  return [h('h3', {}, 'Messages'), ...lines, more ? h('p', { class: 'remark' }, 'Only the first are shown.') : '']
}

function latin(base64) {
  return [...atob(base64)]
    .map(c => ((c >= ' ' && c <= '~') || c === '\n' ? c : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`))
    .join('')
}

// JSON as nested lines, with the problem of a part after it.
function tree(value, path, issues) {
  const wrong = issues
    .filter(one => samePath(one.path, path))
    .map(one => h('span', { class: 'wrong' }, ` ← ${one.message}`))
  if (value.kind === 'string') return [h('span', { class: 'json-string' }, JSON.stringify(value.text)), ...wrong]
  if (!value.parts) return [h('span', { class: `json-${value.kind}` }, value.text), ...wrong]
  const [open, close] = value.kind === 'object' ? '{}' : '[]'
  if (!value.parts.length) return [`${open}${close}`, ...wrong]
  const rows = value.parts
    .slice(0, MOST)
    .map(part =>
      h(
        'div',
        { class: 'json-part' },
        value.kind === 'object' ? [h('span', { class: 'json-name' }, JSON.stringify(part.name)), ': '] : '',
        tree(part.value, pathOf(path, part.name), issues),
      ),
    )
  const rest = value.parts.length - rows.length
  return [
    open,
    ...wrong,
    h('div', { class: 'json-parts' }, ...rows, rest > 0 ? h('div', { class: 'remark' }, `… and ${rest} more`) : ''),
    close,
  ]
}
