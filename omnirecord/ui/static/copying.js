// Buttons that copy a text: an event, its data, a command, an id, a link.

import { h, say } from './dom.js'

const TOLD = 1500 // ms

// `name`: what is copied. `text` returns it.
export function copyButton(name, text) {
  const button = h('button', { type: 'button', class: 'copy', 'aria-live': 'polite', onclick: () => run() }, `Copy ${name}`)
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
  const field = h('textarea', { class: 'unseen', 'aria-hidden': 'true' }),
    before = document.activeElement
  field.value = text
  document.body.append(field)
  field.select()
  const isDone = document.execCommand('copy')
  field.remove()
  before?.focus()
  return isDone
}
