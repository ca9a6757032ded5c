// The results of a search in all sessions.

import { fill, h } from './dom.js'
import { clock, count } from './words.js'

export class SearchView {
  constructor(source, overview, { q = '' }) {
    Object.assign(this, { source, overview, query: q })
    this.body = h('div', { role: 'status' }, h('p', { class: 'empty' }, 'Searching …'))
    this.element = h('main', { class: 'search' }, h('h1', {}, 'Search: ', h('span', { class: 'query' }, q)), this.body)
    this.run()
  }

  async run() {
    if (!this.query.trim())
      return fill(
        this.body,
        h(
          'p',
          { class: 'empty' },
          'Type words above: a hit has all of them. "A phrase", begin*, OR and NOT work as usual.',
        ),
      )
    try {
      this.show(await this.source.search(this.query))
    } catch (problem) {
      fill(this.body, h('p', { class: 'problem' }, problem.message))
    }
  }

  show({ hits, total }) {
    if (!total) return fill(this.body, h('p', { class: 'empty' }, 'Nothing found.'))
    const groups = Map.groupBy(hits, hit =>
      hit.session_id === null ? `${hit.recording}.stream.${hit.stream}` : `${hit.recording}.session.${hit.session_id}`,
    )
    fill(
      this.body,
      h(
        'p',
        { class: 'found' },
        count(total, 'hit'),
        total > hits.length ? `, the first ${hits.length} shown` : '',
      ),
      ...[...groups].map(([key, group]) => this.group(key, group)),
    )
  }

  group(key, hits) {
    const row = this.overview.sessions.find(one => one.key === key)
    return h(
      'section',
      {},
      h(
        'h2',
        {},
        row ? h('a', { href: `#/session/${encodeURIComponent(key)}` }, row.asked ?? row.session_id ?? key) : key,
      ),
      h('ol', { class: 'hits' }, ...hits.map(hit => this.hit(key, hit, row?.begun_ns ?? 0))),
    )
  }

  hit(key, hit, begin) {
    const at =
      hit.seq !== null
        ? { event: `${hit.stream}:${hit.seq}` }
        : hit.exchange !== null
          ? { exchange: hit.exchange }
          : { t: (hit.offset_ns - begin) / 1e9 }
    return h(
      'li',
      {},
      h(
        'a',
        { href: `#/session/${encodeURIComponent(key)}?${new URLSearchParams(at)}` },
        h('span', { class: 'took' }, clock(hit.offset_ns - begin, 2)),
        h('span', { class: 'type' }, hit.type ?? 'request'),
        h('span', { class: 'snippet' }, marked(hit)),
      ),
    )
  }
}

// A text with its hits marked. `spans` count code points.
function marked({ text, spans }) {
  const points = [...text],
    out = []
  let at = 0
  for (const [from, to] of spans) {
    out.push(points.slice(at, from).join(''), h('mark', {}, points.slice(from, to).join('')))
    at = to
  }
  return [...out, points.slice(at).join('')]
}
