// Creates elements without markup, so that recorded text is always shown as text.

import { clip, oneLine, visible } from './words.js'

const SVG = 'http://www.w3.org/2000/svg'

// Return an element. `name`: its tag and classes, as in `p.remark`. `rest`: its properties (`on…`, `data-…`, other
// attributes), if it has some, and its children. Strings are made visible.
export function h(name, ...rest) {
  return put(tag => document.createElement(tag), name, rest)
}

export function svg(name, ...rest) {
  return put(tag => document.createElementNS(SVG, tag), name, rest)
}

function put(make, name, rest) {
  const [tag, ...classes] = name.split('.'),
    element = make(tag),
    properties = rest[0]?.constructor === Object ? rest.shift() : {}
  if (classes.length) element.setAttribute('class', classes.join(' '))
  if (tag === 'button') element.type = 'button'
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value)
    else if (key === 'style') Object.assign(element.style, value)
    else element.setAttribute(key, value === true ? '' : visible(value))
  }
  return add(element, rest)
}

export function add(element, children) {
  for (const child of children.flat(9)) {
    if (child === null || child === undefined || child === false || child === '') continue
    element.append(child instanceof Node ? child : visible(child))
  }
  return element
}

export function fill(element, ...children) {
  element.replaceChildren()
  return add(element, children)
}

// Set a text only if it changes, since a change costs a layout.
export function say(element, text) {
  const shown = visible(text)
  if (element.textContent !== shown) element.textContent = shown
}

export function shows(element, is) {
  if (element.hidden === is) element.hidden = !is
}

const ICONS = {
  play: 'M7 4.5v15l12-7.5z',
  pause: 'M7 5h3.5v14H7zM13.5 5H17v14h-3.5z',
  close: 'M6 6l12 12M18 6L6 18',
  search: 'M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zM15.5 15.5L20 20',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6L7 7M17 17l1.4 1.4M18.4 5.6L17 7M7 17l-1.4 1.4',
  plus: 'M12 6v12M6 12h12',
  minus: 'M6 12h12',
  fit: 'M4 9V5h4M20 9V5h-4M4 15v4h4M20 15v4h-4',
  compare: 'M5 5h5v14H5zM14 5h5v14h-5z',
}

export function icon(name) {
  const solid = name === 'play' || name === 'pause'
  return svg(
    'svg',
    { viewBox: '0 0 24 24', class: solid ? 'icon solid' : 'icon', 'aria-hidden': 'true' },
    svg('path', { d: ICONS[name] }),
  )
}

// A button with an accessible name; its title shows `keys`.
export function button(label, keys, onclick, ...children) {
  return h('button', { title: keys ? `${label} (${keys})` : label, 'aria-label': label, onclick },...children)
}

// A check box that chooses a session to compare.
export function chooser(name, checked, choose) {
  const label = `Choose ${clip(oneLine(name), 40)} to compare`
  return h('input', { type: 'checkbox', 'aria-label': label, checked, onchange: event => choose(event.target.checked) })
}

// A select. `options`: values with their names. `change` gets the chosen value.
export function choice(properties, options, change) {
  const onchange = event => change(event.target.value)
  return h('select', { ...properties, onchange }, ...options.map(([value, name]) => h('option', { value }, name)))
}

// A control with its name.
export function labelled(name, control, kind = 'field') {
  return h('label', { class: kind }, h('span', name), control)
}

// A cell of a table, and one of a number. `label`: its name on a narrow page.
export function cell(label, ...children) {
  return h('td', { 'data-label': label }, ...children)
}

export function numberCell(label, ...children) {
  return h('td.number', { 'data-label': label }, ...children)
}

// A table in a box that scrolls. `heads`: the names of its columns, '' for check boxes. `bodies`: what is below them.
export function tableBox(heads, bodies, { caption = '', box = {}, ...properties } = {}) {
  const cells = heads.map(name => h('th', { scope: 'col' }, name || h('span.unseen', 'Compare')))
  const table = h('table', properties, caption, h('thead', h('tr', ...cells)), ...bodies)
  return h('div.table-box', { ...box }, table)
}

// Run what fills a box. An error is told in it, instead of its content or, with `isAdded`, after that.
export async function filled(box, run, isAdded = false) {
  try {
    await run()
  } catch (problem) {
    ;(isAdded ? add : fill)(box, [h('p.problem', problem.message)])
  }
}

// A line that says what the page waits for, and since the first second for how long.
export function busyLine(what) {
  const time = h('span', { 'aria-hidden': 'true' }),
    line = h('p.empty.busy', { role: 'status' }, `${what} … `, time),
    begun = Date.now()
  const timer = setInterval(() => {
    if (!line.isConnected) return clearInterval(timer)
    say(time, `${Math.round((Date.now() - begun) / 1000)} s`)
  }, 1000)
  return line
}

// ---- copying: an event, its data, a command, an id, a link

const TOLD = 1500 // ms

// Buttons for these texts, by name, without the missing ones; and one for the link that `link` returns.
export function copyButtons(texts, link) {
  const there = Object.entries(texts).filter(([, text]) => text !== null && text !== undefined)
  return [...there.map(([name, text]) => copyButton(name, () => text)), copyButton('link', link)]
}

// `name`: what is copied. `text` returns it.
function copyButton(name, text) {
  const button = h('button.copy', { 'aria-live': 'polite', onclick: () => run() }, `Copy ${name}`)
  const run = async () => {
    const isDone = await copied(text()).catch(() => false)
    say(button, isDone ? 'Copied' : 'Not copied')
    setTimeout(() => say(button, `Copy ${name}`), TOLD)
  }
  return button
}

// Copy a text; return whether that worked. A page without TLS has no clipboard API, so the text is copied from a field.
async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true)
  const field = h('textarea.unseen', { 'aria-hidden': 'true' }),
    before = document.activeElement
  field.value = text
  document.body.append(field)
  field.select()
  const isDone = document.execCommand('copy')
  field.remove()
  before?.focus()
  return isDone
}
