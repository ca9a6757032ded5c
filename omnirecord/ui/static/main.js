// The page: the address selects the view.

import { CallView } from './callsview.js'
import { CompareView, PairsView } from './compareview.js'
import { button, busyLine, fill, h, icon } from './dom.js'
import { read, write } from './routes.js'
import { sealed } from './sealed.js'
import { SearchView } from './searchview.js'
import { SessionView } from './sessionview.js'
import { SessionsView } from './sessions.js'
import { Shell, kept, token } from './shell.js'
import { Server } from './source.js'
import { visible } from './words.js'

class App extends Shell {
  constructor() {
    super('#/sessions', 'omnirecord: all sessions')
    this.search = h('input', { type: 'search', name: 'q' })
    this.back = h('a.back', { href: '#/sessions' }, '‹ All sessions')
    this.state = h('span.state', { role: 'status', hidden: true })
    this.finder = button('Search all sessions', '/', () => this.seek(), icon('search'))
    this.finder.className = 'finder'
    this.assemble(
      this.back,
      this.crumb,
      this.state,
      h(
        'form.search-form',
        { role: 'search', onsubmit: event => this.find(event) },
        h('label', h('span', 'Search all sessions'), this.search),
      ),
      this.finder,
    )
  }

  async start() {
    try {
      this.source = (await sealed()) ?? new Server(token())
      await this.waiting(this.look())
      this.arrive()
      this.show()
      if (this.overview.is_recorded && this.source.canFollow) this.follow()
    } catch (problem) {
      this.fail(problem)
    }
  }

  // Say so if an answer takes long: a session of a lake is fetched first.
  async waiting(answer) {
    const isOfLake = /\/(session|compare)\/[^/]+=/.test(location.pathname)
    const timer = setTimeout(
      () => fill(this.place, h('main', busyLine(isOfLake ? 'Fetching the session from the lake' : 'Opening the cassette'))),
      200,
    )
    return answer.finally(() => clearTimeout(timer))
  }

  // A session of a lake opens its own view, and its way back leads to the lake.
  arrive() {
    const { lake, opens } = this.overview
    if (!lake) return
    const home = lake.home + (kept('list', 'sessionStorage') ?? '')
    this.back.href = this.brand.href = home
    fill(this.back, '‹ The lake')
    this.brand.setAttribute('aria-label', 'omnirecord: all sessions of the lake')
    if (!location.hash) history.replaceState(null, '', write(opens))
  }

  async look() {
    this.overview = await this.source.ask('overview')
    this.source.cassette = this.overview.name
    fill(this.crumb, this.overview.name)
    document.title = visible(`${this.overview.name} · omnirecord`)
    this.tell()
  }

  tell() {
    const { is_recorded: is, shared } = this.overview
    this.state.hidden = !is && !shared
    this.state.textContent = shared ? shared.badge : this.isLost ? 'connection lost: reconnecting' : 'recording'
    this.state.title = shared ? shared.sentence : ''
    this.state.className = shared ? 'state shared-state' : this.isLost ? 'state lost' : 'state'
  }

  // ---- views

  show() {
    const route = read(location.hash),
      { overview } = this
    if (!overview) return
    const only = overview.sessions.length === 1 && !location.hash ? overview.sessions[0] : null
    if (this.view instanceof SessionView && route.view === 'session' && route.key === this.view.row.key)
      return this.view.revisit(route)
    this.view?.close?.()
    this.view = only ? new SessionView(this.source, only, overview, route) : this.viewOf(route)
    if (this.view instanceof SessionsView) {
      this.examine()
      this.link()
    }
    this.back.hidden = this.view instanceof SessionsView && !overview.lake
    this.header.classList.toggle('searching', route.view === 'search')
    this.search.value = route.view === 'search' ? (route.q ?? '') : ''
    fill(this.place, this.view.element)
    if (this.left !== undefined) this.focus(this.left)
    this.left = route.view === 'session' ? write({ view: 'session', key: route.key }) : null
  }

  // Set the keyboard focus: into the new view, or to the session that was left in the list.
  focus(left) {
    const main = this.view.element,
      link = left && [...main.querySelectorAll('td.name a')].find(one => one.getAttribute('href') === left)
    main.tabIndex = -1
    if (link) link.focus()
    else main.focus({ preventScroll: true })
  }

  viewOf(route) {
    const { source, overview } = this
    if (route.view === 'search') return new SearchView(source, overview, route)
    if (route.view === 'compare' && !(route.a && route.b)) return new PairsView(source, overview, route)
    if (route.view === 'compare') return new CompareView(source, overview, route)
    if (route.view === 'call') return new CallView(source, overview, route)
    const row = route.view === 'session' && overview.sessions.find(one => one.key === route.key)
    return row ? new SessionView(source, row, overview, route) : new SessionsView(source, overview, this.findings)
  }

  // Load the findings of all sessions, which only the list shows.
  async examine() {
    try {
      if (!this.findings || this.overview.is_recorded) this.findings = await this.source.ask('findings')
      this.view?.renew?.(this.overview, this.findings)
    } catch (problem) {
      this.fail(problem)
    }
  }

  // Load the model calls of the whole cassette, which only the list shows. While recording, at most every few seconds.
  async link() {
    if (!this.overview.recordings.some(one => one.is_model_hop)) return
    const begun = performance.now()
    try {
      const calls = await this.source.ask('calls')
      if (this.view instanceof SessionsView) this.view.renew(this.overview, this.findings, calls)
    } catch (problem) {
      this.fail(problem)
    }
    this.linkDue = performance.now() + Math.max(1000, (performance.now() - begun) * 4)
  }

  // Link again, as soon as that is due.
  linkLater() {
    clearTimeout(this.linking)
    this.linking = setTimeout(
      () => {
        if (this.view instanceof SessionsView) this.link()
      },
      Math.max(0, (this.linkDue ?? 0) - performance.now()),
    )
  }

  // Open the search field, which is hidden on a narrow page.
  seek() {
    this.header.classList.add('searching')
    this.search.focus()
  }

  find(event) {
    event.preventDefault()
    location.hash = write({ view: 'search', q: this.search.value })
  }

  // ---- live

  // Follow the recording until it ends. A lost server may come back with this recording or another one.
  async follow() {
    let after = null
    const received = rows => this.receive(rows),
      at = id => {
        if (after === null) this.begun()
        after = id
      }
    while (this.overview.is_recorded) {
      const isOver = await this.source.follow({ after, received, at }).catch(() => false)
      if (isOver && !(await this.reaches())) await this.tellEnd()
      while (this.overview.is_recorded) {
        await new Promise(resolve => setTimeout(resolve, 1000))
        if (await this.reaches()) break
      }
      await this.view?.catchUp?.(this.overview.is_recorded)
    }
    await this.tellEnd()
  }

  // Whether the server answers.
  async reaches() {
    this.isLost = await this.look().then(() => false, () => true)
    this.tell()
    return !this.isLost
  }

  async tellEnd() {
    await this.view?.ended?.()
    this.findings = null
    if (this.view instanceof SessionsView && !this.isLost) await this.examine()
  }

  // The stream of events has begun. It lacks the events between the page's last look and its start.
  begun() {
    this.receive([])
    if (this.view?.deck?.isLoaded) this.view.catchUp(true)
  }

  receive(rows) {
    this.view?.receive?.(rows)
    clearTimeout(this.looking)
    this.looking = setTimeout(async () => {
      await this.look().catch(() => {})
      this.view?.renew?.(this.overview, this.findings)
      if (this.view instanceof SessionsView) this.linkLater()
    }, 400)
  }

  // ---- keys

  keys() {
    return { '/': () => this.seek(), g: () => (location.hash = '#/sessions') }
  }
}

new App().start()
