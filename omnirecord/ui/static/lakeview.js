// What the list and the trends of a lake share: filters, and the state of the query.

import { busyLine, fill, h, shows } from './dom.js'
import { LakeFilter, isFiltered, lakeAddress } from './lakefilter.js'
import { NeedsToken } from './source.js'
import { moment } from './words.js'

const BUSY_AFTER = 150 // ms

// A subclass has `name`, the view and the request, and `draw`, which shows the answer.
export class LakeView {
  constructor(app, name, title) {
    this.app = app
    this.name = name
    this.filter = new LakeFilter(change => this.go({ ...change, page: null }))
    this.state = h('div', { class: 'lake-state' })
    this.read = h('span', { class: 'remark' })
    this.again = h('button', { type: 'button', class: 'quiet', title: 'Read the lake again (r)', onclick: () => this.renew() }, 'Read again')
    this.head = h('div', { class: 'lake-head' }, h('h1', {}, title), h('span', { class: 'lake-read' }, this.read, this.again))
    this.body = h('div', { class: 'lake-body' })
    this.element = h(
      'main',
      { class: 'lake' },
      this.filter.element,
      h('div', { class: 'lake-columns' }, this.filter.findings, h('div', {}, this.head, this.state, this.body)),
    )
    this.number = 0
    shows(this.again, false)
  }

  // Change filters: the address changes, and the view follows it.
  go(change, view = this.name) {
    location.hash = lakeAddress(view, { ...this.asked, ...change })
  }

  async load(asked, isRenewed = false) {
    this.asked = asked
    this.filter.show(asked)
    const number = ++this.number
    const timer = setTimeout(() => this.busy(true), BUSY_AFTER)
    try {
      const answer = await this.app.source.ask(this.name, { ...asked, renew: isRenewed ? '1' : null })
      if (number !== this.number) return
      this.busy(false)
      this.tell(answer)
      this.filter.count(answer.counts)
      this.draw(answer)
    } catch (problem) {
      if (number !== this.number) return
      this.busy(false)
      if (problem instanceof NeedsToken) return this.app.fail(problem)
      this.fail(problem)
    } finally {
      clearTimeout(timer)
    }
  }

  renew() {
    this.load(this.asked, true)
  }

  close() {
    this.number++
  }

  // The old answer stays while a query runs.
  busy(is) {
    this.body.setAttribute('aria-busy', String(is))
    fill(this.state, is ? busyLine('Asking the lake') : '')
  }

  tell({ read_at: at, trouble }) {
    fill(this.read, `as of ${moment(at).slice(11)} UTC`)
    shows(this.again, true)
    if (trouble) fill(this.state, h('p', { class: 'problem', role: 'alert' }, `This is an older state of the lake. ${trouble}`))
  }

  fail(problem) {
    fill(
      this.state,
      h(
        'p',
        { class: 'problem', role: 'alert' },
        h('span', {}, problem.message.replace(/^omnirecord: /, '')),
        ' ',
        h('button', { type: 'button', class: 'quiet', onclick: () => this.renew() }, 'Try again'),
      ),
    )
  }

  // Why there is nothing to show.
  empty(inAll) {
    if (!inAll && !isFiltered(this.asked))
      return h('p', { class: 'empty' }, 'This lake holds no sessions yet. Ship a cassette: ', h('code', {}, `omnirecord ship CASSETTE --lake ${this.app.lake}`))
    return h(
      'p',
      { class: 'empty' },
      'No session matches the filters. ',
      h('button', { type: 'button', class: 'quiet', onclick: () => this.filter.clear() }, 'Clear filters'),
    )
  }
}
