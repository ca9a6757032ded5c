// The results of a search in all sessions.

import { fill, filled, h } from './dom.js'
import { write } from './routes.js'
import { clip, clock, count, oneLine } from './words.js'

export class SearchView {
  constructor(source, overview, { q = '' }) {
    Object.assign(this, { source, overview, query: q })
    this.body = h('div', { role: 'status' }, h('p.empty', 'Searching …'))
    this.element = h('main.search', h('h1', 'Search: ', h('span.query', q)), this.body)
    this.run()
  }

  run() {
    if (!this.query.trim())
      return fill(
        this.body,
        h('p.empty', 'Type words above: a hit has all of them. "A phrase", begin*, OR and NOT work as usual.'),
      )
    filled(this.body, async () => this.show(await this.source.ask('search', { query: this.query })))
  }

  show({ hits, total }) {
    if (!total) return fill(this.body, h('p.empty', 'Nothing found.'))
    const groups = Map.groupBy(hits, hit =>
      hit.call ? `call.${hit.call.exchange}` : hit.session_id === null ? `${hit.recording}.stream.${hit.stream}` : `${hit.recording}.session.${hit.session_id}`,
    )
    fill(
      this.body,
      h('p.found', count(total, 'hit'), total > hits.length ? `, the first ${hits.length} shown` : ''),
      ...[...groups].map(([key, group]) => this.group(key, group)),
    )
  }

  group(key, hits) {
    if (hits[0].call) return this.callGroup(hits[0].call, hits)
    const row = this.overview.sessions.find(one => one.key === key)
    return h(
      'section',
      h('h2', row ? h('a', { href: write({ view: 'session', key }) }, row.asked ?? row.session_id ?? key) : key),
      h('ol.hits', ...hits.map(hit => this.hit(key, hit, row?.begun_ns ?? 0))),
    )
  }

  // The hits in one model call.
  callGroup(call, hits) {
    const { exchange, model, key, turn, began_ns: begin } = call,
      row = this.overview.sessions.find(one => one.key === key)
    const to = delta => (row ? write({ view: 'session', key, call: exchange, delta }) : write({ view: 'call', key: String(exchange), delta }))
    const of = row ? `, turn ${turn} of ${clip(oneLine(row.asked ?? row.session_id ?? key), 80)}` : ''
    return h(
      'section',
      h('h2', h('a', { href: to() }, `Model call ${exchange} · ${model ?? 'model not named'}${of}`)),
      h('ol.hits', ...hits.map(hit => h('li', hitLink(to(hit.seq), hit, begin)))),
    )
  }

  hit(key, hit, begin) {
    const at =
      hit.seq !== null
        ? { event: `${hit.stream}:${hit.seq}` }
        : hit.exchange !== null
          ? { exchange: hit.exchange }
          : { t: (hit.offset_ns - begin) / 1e9 }
    return h('li', hitLink(write({ view: 'session', key, ...at }), hit, begin))
  }
}

function hitLink(href, hit, begin) {
  const more = hit.call?.calls > 1 ? ` (and in ${count(hit.call.calls - 1, 'more call')})` : ''
  return h(
    'a',
    { href },
    h('span.took', clock(hit.offset_ns - begin, 2)),
    h('span.type', hit.type ?? 'request'),
    h('span.snippet', marked(hit), more),
  )
}

// A text with its hits marked. `spans` count code points.
function marked({ text, spans }) {
  const points = [...text],
    out = []
  let at = 0
  for (const [from, to] of spans) {
    out.push(points.slice(at, from).join(''), h('mark', points.slice(from, to).join('')))
    at = to
  }
  return [...out, points.slice(at).join('')]
}
