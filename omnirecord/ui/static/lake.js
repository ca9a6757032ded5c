// The page on a lake: the list of its sessions, and trends by day. The address has the view and its filters.

import { fill, h } from './dom.js'
import { lakeAddress, lakeRoute } from './lakefilter.js'
import { LakeSessions } from './lakelist.js'
import { LakeTrends } from './laketrends.js'
import { Shell, store, token } from './shell.js'
import { Server } from './source.js'
import { visible } from './words.js'

const LAKE_KEYS = [
  [
    'The list',
    [
      ['j k', 'next session, previous session'],
      ['[ ]', 'previous page, next page'],
      ['s', 'sort by time, by worst finding'],
    ],
  ],
  [
    'Trends',
    [
      ['← →', 'day before, day after'],
      ['Home End', 'first day, last day'],
      ['Enter', 'the sessions of the day'],
    ],
  ],
  [
    'Everywhere',
    [
      ['/', 'filter by text'],
      ['g', 'sessions'],
      ['d', 'trends by day'],
      ['r', 'read the lake again'],
      ['t', 'light or dark'],
      ['?', 'these keys'],
    ],
  ],
]
const LAKE_VIEWS = [['sessions', 'Sessions', LakeSessions], ['trends', 'Trends', LakeTrends]] // prettier-ignore

class LakeApp extends Shell {
  constructor() {
    super('#/sessions', 'omnirecord: all sessions of the lake', LAKE_KEYS)
    this.links = LAKE_VIEWS.map(([view, label]) => h('a', { 'data-view': view }, label))
    this.assemble(h('nav', { class: 'views', 'aria-label': 'Views' }, ...this.links), this.crumb)
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

  act(key) {
    const { asked } = lakeRoute(location.hash)
    if (key === '?') this.help.toggle()
    else if (key === 't') this.turn()
    else if (key === 'g') location.hash = lakeAddress('sessions', asked)
    else if (key === 'd') location.hash = lakeAddress('trends', { ...asked, page: null })
    else if (key === '/') this.view?.filter.focus()
    else if (key === 'r') this.view?.renew()
    else return this.view?.key?.(key) ?? false
    return true
  }
}

new LakeApp().start()
