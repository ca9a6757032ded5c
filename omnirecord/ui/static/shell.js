// What the page of a cassette and the page on a lake share: the header, the theme, the question for the token.

import { button, fill, h, icon, svg } from './dom.js'
import { NeedsToken } from './source.js'

// A subclass has `start`, `show` and `keys`, its keys with what they do. `home`, `label`: where the name of the page leads. `keys`: the list of keys.
export class Shell {
  constructor(home, label, keys) {
    this.help = new Help(keys)
    this.brand = h('a.brand', { href: home, 'aria-label': label }, logo(), h('span', 'omnirecord'))
    this.crumb = h('span.cassette')
    this.place = h('div.place')
    this.header = h('header.top', this.brand)
  }

  // Put the page together. `parts`: what the header has between the name of the page and its buttons.
  assemble(...parts) {
    this.header.append(
      ...parts,
      button('Light or dark', 't', () => this.turn(), icon('sun')),
      button('Keys', '?', () => this.help.toggle(), '?'),
    )
    document.body.replaceChildren(this.header, this.place, this.help.element)
    this.dress()
    addEventListener('hashchange', () => this.show())
    addEventListener('keydown', event => this.key(event))
  }

  fail(problem) {
    if (problem instanceof NeedsToken) return this.askToken(problem)
    fill(this.place, h('main', h('p.problem', { role: 'alert' }, problem.message)))
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
        'main.token',
        h('p', problem.message),
        h('form', { onsubmit }, h('label', h('span', 'Token'), field), h('button.primary', { type: 'submit' }, 'Show')),
      ),
    )
    field.focus()
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
    const run = { '?': () => this.help.toggle(), t: () => this.turn(), ...this.keys() }[name]
    if (run ? (run(), true) : this.view?.key?.(name)) event.preventDefault()
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

const KEYS = {
  'The playhead': {
    space: 'play and pause',
    '← →': 'one second back, forward',
    'shift ← →': 'ten seconds',
    ', .': 'previous event, next event',
    '[ ]': 'previous turn, next turn',
    'Home End': 'the beginning, the end',
    '< >': 'slower, faster',
    l: 'live: pause, continue',
  },
  Looking: {
    'j k': 'next row of the list, previous row',
    'n p': 'next finding, previous finding',
    '+ -': 'zoom the timeline',
    '0 ': 'show all of it', // an object puts a number first, but not with a space
    f: 'filter the wire',
    o: 'open or fold a run of deltas',
    'm M': 'next model call, previous model call',
    c: 'from a delta to its partner on the other hop',
    '1 2 3 4': 'conversation, wire, findings, about',
    Esc: 'clear the selection',
  },
  Everywhere: { '/': 'search', g: 'all sessions', t: 'light or dark', '?': 'these keys' },
}

// The list of keys.
class Help {
  constructor(keys = KEYS) {
    const close = button('Close', 'Esc', () => this.element.close(), icon('close'))
    const list = ([names, what]) => [h('dt', ...names.trim().split(' ').map(one => h('kbd', one))), h('dd', what)]
    const lists = Object.entries(keys).map(([title, rows]) =>
      h('section', h('h3', title), h('dl', ...Object.entries(rows).flatMap(list))),
    )
    this.element = h(
      'dialog.help',
      { 'aria-labelledby': 'help-title' },
      h('header', h('h2', { id: 'help-title' }, 'Keys'), close),
      h('div.help-keys', ...lists),
    )
  }

  toggle() {
    this.element.open ? this.element.close() : this.element.showModal()
  }
}

const MOVES = new Set(['Home', 'End'])

function logo() {
  return svg(
    'svg.logo',
    { viewBox: '0 0 24 24', 'aria-hidden': 'true' },
    svg('rect.logo-case', { x: 1, y: 1, width: 22, height: 22, rx: 6 }),
    svg('path.logo-lines', { d: 'M5 9h6M5 13h9M5 17h4' }),
    svg('path.logo-head', { d: 'M17 5v14' }),
  )
}

// Store a value, if the browser allows it: some refuse it for a file from a disk.
export function store(where, name, value) {
  try {
    window[where].setItem(`omnirecord-${name}`, value)
  } catch {
    /* then not */
  }
}

export function kept(name, where = 'localStorage') {
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
export function token() {
  const found = /[#?&]token=([^&]+)/.exec(location.hash)
  if (found) {
    keep(decodeURIComponent(found[1]))
    history.replaceState(null, '', location.pathname + location.hash.replace(found[0], ''))
  }
  return kept('token', 'sessionStorage')
}
