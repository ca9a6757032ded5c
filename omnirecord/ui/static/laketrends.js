// Trends of a lake by day: sessions, findings, first-token times, differences from the contract.

import { fill, h } from './dom.js'
import { LakeView } from './lakeview.js'
import { Plot } from './plot.js'
import { seconds } from './words.js'

const OUTCOMES = { finished: 'good', failed: 'error', unfinished: 'warning' }

export class LakeTrends extends LakeView {
  constructor(app) {
    super(app, 'trends', 'Trends by day')
    const go = day => this.go({ from: day, to: day, page: null }, 'sessions')
    this.plots = {
      sessions: new Plot('Sessions by status', 'bars', counted, go),
      findings: new Plot('Sessions by finding', 'bars', counted, go),
      first_token: new Plot('Time to the first token', 'lines', s => seconds(s * 1e9), go, s => `${Number(s.toPrecision(3))} s`),
      problems: new Plot('Problems against the contract, by server version', 'bars', counted, go),
    }
    this.figures = h('div', { class: 'figures' }, ...Object.values(this.plots).map(one => one.element))
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

function counted(value) {
  return value.toLocaleString('en')
}
