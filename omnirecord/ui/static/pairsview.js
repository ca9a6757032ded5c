// Two cassettes side by side: their sessions in pairs, as `diff` pairs them.

import { fill, h } from './dom.js'
import { write } from './routes.js'
import { clip, count, oneLine } from './words.js'

const LONGEST = 100 // characters of a session's name

export class PairsView {
  constructor(source, overview, { a = '', b = '' }) {
    Object.assign(this, { source, overview, a, b })
    this.body = h('div', {}, h('p', { class: 'empty' }, 'Comparing …'))
    this.element = h('main', { class: 'compare' }, h('h1', {}, 'Compare'), this.body)
    this.run()
  }

  async run() {
    try {
      const pairs = await this.source.pairs(this.a, this.b)
      if (!this.element.isConnected) return
      if (pairs.length === 1 && pairs[0].a !== null && pairs[0].b !== null)
        return location.replace(write({ view: 'compare', a: pairs[0].a, b: pairs[0].b }))
      this.show(pairs)
    } catch (problem) {
      fill(this.body, h('p', { class: 'problem' }, problem.message))
    }
  }

  show(pairs) {
    const differ = pairs.filter(one => one.counts).length
    fill(
      this.body,
      h(
        'p',
        { class: `verdict-line ${differ ? 'bad' : ''}`, role: 'status' },
        differ ? `${differ} of ${count(pairs.length, 'session')} differ.` : 'No session differs.',
      ),
      h(
        'div',
        { class: 'table-box' },
        h(
          'table',
          { class: 'pairs' },
          h('thead', {}, h('tr', {}, ...[...this.overview.files, 'Differences'].map(one => h('th', { scope: 'col' }, one)))),
          h('tbody', {}, ...pairs.map(one => this.row(one))),
        ),
      ),
    )
  }

  row({ a, b, differences, counts }) {
    const both = a !== null && b !== null
    return h(
      'tr',
      {},
      this.name(a),
      this.name(b),
      h(
        'td',
        {},
        both
          ? h(
              'a',
              { href: write({ view: 'compare', a, b }), class: counts ? 'bad' : '' },
              differences ? count(differences, 'difference') + (counts ? '' : ', timing only') : 'none',
            )
          : `only in ${this.overview.files[a === null ? 1 : 0]}`,
      ),
    )
  }

  name(key) {
    const row = this.overview.sessions.find(one => one.key === key)
    if (!row) return h('td', { class: 'none' }, 'not there')
    const name = row.asked ?? row.session_id ?? `Stream ${row.stream}`
    return h('td', {}, h('a', { href: write({ view: 'session', key }) }, clip(oneLine(name), LONGEST)))
  }
}
