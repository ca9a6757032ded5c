// The page on a lake: the list of its sessions, and trends by day. The address has the view and its filters.

import { fill, h } from './dom.js'
import { LakeView, lakeAddress, lakeRoute } from './lakeview.js'
import { LakeSessions } from './lakelist.js'
import { Plot } from './plot.js'
import { Shell, store, token } from './shell.js'
import { Server } from './source.js'
import { grouped, seconds, visible } from './words.js'

const LAKE_KEYS = {
  'The list': {
    'j k': 'next session, previous session',
    '[ ]': 'previous page, next page',
    s: 'sort by time, by worst finding',
  },
  Trends: { '← →': 'day before, day after', 'Home End': 'first day, last day', Enter: 'the sessions of the day' },
  Everywhere: {
    '/': 'filter by text',
    g: 'sessions',
    d: 'trends by day',
    r: 'read the lake again',
    t: 'light or dark',
    '?': 'these keys',
  },
}

// Trends by day: sessions, findings, first-token times, differences from the contract.
const OUTCOMES = { finished: 'good', failed: 'error', unfinished: 'warning' }

class LakeTrends extends LakeView {
  constructor(app) {
    super(app, 'trends', 'Trends by day')
    const go = day => this.go({ from: day, to: day, page: null }, 'sessions')
    this.plots = {
      sessions: new Plot('Sessions by status', 'bars', grouped, go),
      findings: new Plot('Sessions by finding', 'bars', grouped, go),
      first_token: new Plot('Time to the first token', 'lines', s => seconds(s * 1e9), go, s => `${Number(s.toPrecision(3))} s`),
      problems: new Plot('Problems against the contract, by server version', 'bars', grouped, go),
    }
    this.figures = h('div.figures', ...Object.values(this.plots).map(one => one.element))
  }

  close() {
    super.close()
    for (const plot of Object.values(this.plots)) plot.close()
  }

  draw({ days, sessions, findings, first_token: first, problems, not_applied: others, in_all: inAll }) {
    if (!days.length) return fill(this.body, this.empty(inAll))
    if (!this.figures.isConnected) fill(this.body, this.figures)
    const { plots } = this
    plots.sessions.show(days, seriesOf(sessions, name => OUTCOMES[name]))
    plots.findings.show(days, seriesOf(findings), 'A session counts once for each code that it has.')
    plots.first_token.show(days, [
      { name: 'p50', values: first.p50, tone: 'c0' },
      { name: 'p95', values: first.p95, tone: 'c3', isDashed: true },
      { name: 'turns', values: first.turns, isOnlyInTable: true },
    ])
    plots.problems.show(
      days,
      seriesOf(problems),
      others.length ? `Problems belong to recordings: the filters ${others.join(', ')} are not applied.` : '',
    )
  }
}

function seriesOf(found, tone = () => undefined) {
  return Object.entries(found).map(([name, values], place) => ({ name, values, tone: tone(name) ?? `c${place % 8}` }))
}

const LAKE_VIEWS = [['sessions', 'Sessions', LakeSessions], ['trends', 'Trends', LakeTrends]] // prettier-ignore

class LakeApp extends Shell {
  constructor() {
    super('#/sessions', 'omnirecord: all sessions of the lake', LAKE_KEYS)
    this.links = LAKE_VIEWS.map(([view, label]) => h('a', { 'data-view': view }, label))
    this.assemble(h('nav.views', { 'aria-label': 'Views' }, ...this.links), this.crumb)
    this.header.classList.add('of-lake')
  }

  async start() {
    try {
      this.source = new Server(token())
      this.lake = (await this.source.ask('lake')).lake
      fill(this.crumb, this.lake)
      document.title = visible(`${this.lake} · omnirecord`)
      this.show()
    } catch (problem) {
      this.fail(problem)
    }
  }

  show() {
    if (!this.lake) return
    const { view, asked } = lakeRoute(location.hash),
      [, , View] = LAKE_VIEWS.find(([name]) => name === view)
    store('sessionStorage', 'list', location.hash)
    for (const link of this.links) {
      link.href = lakeAddress(link.dataset.view, { ...asked, page: null })
      if (link.dataset.view === view) link.setAttribute('aria-current', 'page')
      else link.removeAttribute('aria-current')
    }
    if (!(this.view instanceof View)) {
      this.view?.close()
      this.view = new View(this)
      fill(this.place, this.view.element)
    }
    this.view.load(asked)
  }

  keys() {
    const { asked } = lakeRoute(location.hash)
    return {
      g: () => (location.hash = lakeAddress('sessions', asked)),
      d: () => (location.hash = lakeAddress('trends', { ...asked, page: null })),
      '/': () => this.view?.filter.focus(),
      r: () => this.view?.renew(),
    }
  }
}

new LakeApp().start()
