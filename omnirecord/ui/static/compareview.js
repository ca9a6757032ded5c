// Shows two sessions side by side, turn by turn, with the differences that `diff` found in each turn; and the sessions of
// two cassettes in pairs.

import { fill, filled, h, tableBox } from './dom.js'
import { write } from './routes.js'
import { clip, count, oneLine, seconds } from './words.js'

// A subclass has `run`, which fills the body, and may have `choice`, the controls above it.
class Comparison {
  constructor(source, overview, { a = '', b = '' }) {
    Object.assign(this, { source, overview, a, b })
    this.body = h('div', h('p.empty', 'Comparing …'))
    this.element = h('main.compare', h('h1', 'Compare'), this.choice?.(), this.body)
    filled(this.body, () => this.run())
  }
}

export class CompareView extends Comparison {
  choice() {
    const select = (side, value) => {
      const onchange = event => (location.hash = write({ view: 'compare', a: this.a, b: this.b, [side]: event.target.value }))
      const options = this.offered(side, value).map(one =>
        h('option', { value: one.key, selected: one.key === value }, clip(oneLine(this.name(one)), 70)),
      )
      return h('select', { 'aria-label': `Session ${side.toUpperCase()}`, onchange }, ...options)
    }
    return h('div.sides', select('a', this.a), select('b', this.b))
  }

  // The sessions that a side offers: with two cassettes, those of its own cassette.
  offered(side, value) {
    const { sessions, files = [] } = this.overview,
      file = files.length === 2 ? files[side === 'a' ? 0 : 1] : null
    const own = sessions.filter(one => file === null || this.fileOf(one) === file)
    return own.some(one => one.key === value) ? own : sessions
  }

  name(row) {
    const what = row.asked ?? row.session_id ?? `stream ${row.stream}`
    return `${this.fileOf(row) ?? row.recording} · ${what}`
  }

  fileOf(row) {
    return this.overview.recordings.find(one => one.recording === row.recording)?.file
  }

  async run() {
    const { a, b, source } = this
    const [found, one, other] = await Promise.all([
      source.ask('comparison', { a, b }), source.ask('session', { key: a }), source.ask('session', { key: b }),
    ]) // prettier-ignore
    this.show(found, one.family[0], other.family[0])
  }

  show({ found, turns }, a, b) {
    const grave = found.filter(one => one.kind !== 'timing').length
    const said = found.length
      ? `${count(found.length, 'difference')}${grave === found.length ? '' : `, ${found.length - grave} of them only of timing`}`
      : 'No difference.'
    const groups = Map.groupBy(found, one => one.turn)
    const rows = turns.map(([i, j], place) => this.turn([i, j], side(a, i), side(b, j), groups.get(place) ?? []))
    fill(this.body, verdictLine(grave, said),...rows, this.around(groups.get(null) ?? []), this.why(a, b))
  }

  turn([i, j], a, b, found) {
    return h(
      'section.pair',
      h('h2', i === null || j === null || i === j ? `Turn ${(i ?? j) + 1}` : `Turn ${i + 1} and turn ${j + 1}`),
      h('div.sides', a, b),
      differences(found, `turns[${i ?? j}].`),
    )
  }

  around(found) {
    return found.length ? h('section.pair', h('h2', 'Outside the turns'), differences(found, '')) : ''
  }

  why(a, b) {
    const sides = [a, b].map(({ stopped }) => h(stopped.at_rest ? 'div.why' : 'div.why.bad', stopped.sentence))
    return h('section.pair', h('h2', 'Why they ended'), h('div.sides', ...sides))
  }
}

function verdictLine(isBad, said) {
  return h(isBad ? 'p.verdict-line.bad' : 'p.verdict-line', { role: 'status' }, said)
}

function side(told, place) {
  const turn = told.turns[place]
  if (!turn) return h('div.side-turn.missing', 'not there')
  const begin = turn.asked_ns ?? turn.started_ns,
    last = turn.ended_ns ?? turn.last_event_ns ?? turn.started_ns,
    href = write({ view: 'session', key: told.key, t: (last - told.begun_ns) / 1e9 }),
    ended = `${turn.ended}${turn.ended_ns === null ? '' : ` after ${seconds(turn.ended_ns - begin)}`} · `
  return h(
    'div.side-turn',
    ...turn.asked.map(one => h('p.asked', { dir: 'auto' }, clip(one.text, 600))),
    ...turn.tools.map(one => h('p.tool', h('span.tool-name', one.name), ` ${clip(one.arguments, 160)}`)),
    turn.text ? h('p.said', { dir: 'auto' }, clip(turn.text, 2000)) : '',
    h('p.remark', ended, h('a', { href }, 'look there')),
  )
}

function differences(found, prefix) {
  const line = one => {
    const path = one.path.startsWith(prefix) ? one.path.slice(prefix.length) : one.path
    return h('li', h(`span.kind.${one.kind}`, one.kind), h('code', path), ' ', values(one))
  }
  return found.length ? h('ul.differences', ...found.map(line)) : ''
}

function values({ kind, path, a, b, spans }) {
  if (kind === 'content' && /^turns\[\d+\]$/.test(path)) return 'the whole turn'
  const parts = spans?.map(([tone, text]) => (tone === 'same' ? text : h(tone === 'gone' ? 'del' : 'ins', text)))
  if (parts) return h('span.spans', { dir: 'auto' }, ...parts)
  return h('span.spans', a === null ? '' : h('del', shown(a)), ' ', b === null ? '' : h('ins', shown(b)))
}

function shown(value) {
  return clip(typeof value === 'string' ? value : JSON.stringify(value), 400)
}

// Two cassettes side by side: their sessions in pairs, as `diff` pairs them.
export class PairsView extends Comparison {
  async run() {
    const pairs = await this.source.ask('pairs', { a: this.a, b: this.b }),
      { a, b } = pairs[0] ?? {}
    if (!this.element.isConnected) return
    if (pairs.length === 1 && a !== null && b !== null) return location.replace(write({ view: 'compare', a, b }))
    this.show(pairs)
  }

  show(pairs) {
    const differ = pairs.filter(one => one.counts).length
    fill(
      this.body,
      verdictLine(differ, differ ? `${differ} of ${count(pairs.length, 'session')} differ.` : 'No session differs.'),
      tableBox([...this.overview.files, 'Differences'], [h('tbody', ...pairs.map(one => this.row(one)))], { class: 'pairs' }),
    )
  }

  row({ a, b, differences, counts }) {
    const found = differences ? count(differences, 'difference') + (counts ? '' : ', timing only') : 'none',
      link = h('a', { href: write({ view: 'compare', a, b }), class: counts ? 'bad' : '' }, found),
      isBoth = a !== null && b !== null
    return h(
      'tr',
      this.name(a),
      this.name(b),
      h('td', isBoth ? link : `only in ${this.overview.files[a === null ? 1 : 0]}`),
    )
  }

  name(key) {
    const row = this.overview.sessions.find(one => one.key === key)
    if (!row) return h('td.none', 'not there')
    const name = row.asked ?? row.session_id ?? `Stream ${row.stream}`
    return h('td', h('a', { href: write({ view: 'session', key }) }, clip(oneLine(name), 100)))
  }
}
