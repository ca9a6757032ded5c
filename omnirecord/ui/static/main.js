// The page: the address selects the view.

import { CompareView } from './compareview.js'
import { button, fill, h, icon, svg } from './dom.js'
import { Help } from './help.js'
import { PairsView } from './pairsview.js'
import { read, write } from './routes.js'
import { sealed } from './sealed.js'
import { SearchView } from './searchview.js'
import { SessionView } from './sessionview.js'
import { SessionsView } from './sessions.js'
import { NeedsToken, Server } from './source.js'
import { visible } from './words.js'

class App {
  constructor() {
    this.help = new Help()
    this.search = h('input', { type: 'search', name: 'q' })
    this.crumb = h('span', { class: 'cassette' })
    this.back = h('a', { class: 'back', href: '#/sessions' }, '‹ All sessions')
    this.state = h('span', { class: 'state', role: 'status', hidden: true })
    this.finder = button('Search all sessions', '/', () => this.seek(), icon('search'))
    this.finder.className = 'finder'
    this.header = h(
      'header',
      { class: 'top' },
      h(
        'a',
        { class: 'brand', href: '#/sessions', 'aria-label': 'omnirecord: all sessions' },
        logo(),
        h('span', {}, 'omnirecord'),
      ),
      this.back,
      this.crumb,
      this.state,
      h(
        'form',
        { class: 'search-form', role: 'search', onsubmit: event => this.find(event) },
        h('label', {}, h('span', {}, 'Search all sessions'), this.search),
      ),
      this.finder,
      button('Light or dark', 't', () => this.turn(), icon('sun')),
      button('Keys', '?', () => this.help.toggle(), '?'),
    )
    this.place = h('div', { class: 'place' })
    document.body.replaceChildren(this.header, this.place, this.help.element)
    this.dress()
    addEventListener('hashchange', () => this.show())
    addEventListener('keydown', event => this.key(event))
  }

  async start() {
    try {
      this.source = (await sealed()) ?? new Server(token())
      await this.look()
      this.show()
      if (this.overview.is_recorded && this.source.canFollow) this.follow()
    } catch (problem) {
      this.fail(problem)
    }
  }

  async look() {
    this.overview = await this.source.overview()
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
    if (this.view instanceof SessionsView) this.examine()
    this.back.hidden = this.view instanceof SessionsView
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
    const row = route.view === 'session' && overview.sessions.find(one => one.key === route.key)
    return row ? new SessionView(source, row, overview, route) : new SessionsView(source, overview, this.findings)
  }

  // Load the findings of all sessions, which only the list shows.
  async examine() {
    try {
      if (!this.findings || this.overview.is_recorded) this.findings = await this.source.findings()
      this.view?.renew?.(this.overview, this.findings)
    } catch (problem) {
      this.fail(problem)
    }
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

  fail(problem) {
    if (problem instanceof NeedsToken) return this.askToken(problem)
    fill(this.place, h('main', {}, h('p', { class: 'problem', role: 'alert' }, problem.message)))
  }

  askToken(problem) {
    const field = h('input', { type: 'password', autocomplete: 'off' })
    const onsubmit = event => {
      event.preventDefault()
      keep(field.value.trim())
      this.start()
    }
    fill(
      this.place,
      h(
        'main',
        { class: 'token' },
        h('p', {}, problem.message),
        h('form', { onsubmit }, h('label', {}, h('span', {}, 'Token'), field), h('button', { type: 'submit', class: 'primary' }, 'Show')),
      ),
    )
    field.focus()
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
        await pause(1000)
        if (await this.reaches()) break
      }
      await this.view?.catchUp?.(this.overview.is_recorded)
    }
    await this.tellEnd()
  }

  // Whether the server answers.
  async reaches() {
    this.isLost = await this.look().then(
      () => false,
      () => true,
    )
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
    }, 400)
  }

  // ---- keys and theme

  key(event) {
    const field = event.target.closest?.('input, select, textarea')
    if (event.ctrlKey || event.metaKey || event.altKey) return
    if (field && event.key === 'Escape') return field.blur()
    if (
      this.help.element.open
        ? event.key !== '?'
        : field && (field.type !== 'range' || MOVES.has(event.key)) && !(field.type === 'checkbox' && event.key !== ' ')
    )
      return
    if (event.key === ' ' && event.target.closest?.('button, a, summary')) return
    const name = event.shiftKey && event.key.startsWith('Arrow') ? `Shift+${event.key}` : event.key
    if (this.act(name)) event.preventDefault()
  }

  act(key) {
    if (key === '?') this.help.toggle()
    else if (key === '/') this.seek()
    else if (key === 't') this.turn()
    else if (key === 'g') location.hash = '#/sessions'
    else return this.view?.key?.(key) ?? false
    return true
  }

  dress(wanted = kept('theme')) {
    const dark = wanted ? wanted === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
    document.documentElement.dataset.theme = dark ? 'dark' : 'light'
    this.view?.deck?.changed('theme')
  }

  turn() {
    const theme = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'
    store('localStorage', 'theme', theme)
    this.dress(theme)
  }
}

const pause = ms =>
  new Promise(resolve => {
    setTimeout(resolve, ms)
  })

const MOVES = new Set(['Home', 'End'])

function logo() {
  return svg(
    'svg',
    { viewBox: '0 0 24 24', class: 'logo', 'aria-hidden': 'true' },
    svg('rect', { x: 1, y: 1, width: 22, height: 22, rx: 6, class: 'logo-case' }),
    svg('path', { d: 'M5 9h6M5 13h9M5 17h4', class: 'logo-lines' }),
    svg('path', { d: 'M17 5v14', class: 'logo-head' }),
  )
}

// Store a value, if the browser allows it: some refuse it for a file from a disk.
function store(where, name, value) {
  try {
    window[where].setItem(`omnirecord-${name}`, value)
  } catch {
    /* then not */
  }
}

function kept(name, where = 'localStorage') {
  try {
    return window[where].getItem(`omnirecord-${name}`)
  } catch {
    return null
  }
}

function keep(value) {
  store('sessionStorage', 'token', value)
}

// The token in the fragment of the address, which is not sent to the server. It is removed from the address.
function token() {
  const found = /[#?&]token=([^&]+)/.exec(location.hash)
  if (found) {
    keep(decodeURIComponent(found[1]))
    history.replaceState(null, '', location.pathname + location.hash.replace(found[0], ''))
  }
  return kept('token', 'sessionStorage')
}

new App().start()
