// Facts, header fields, bodies and JSON as elements.
//
// The JSON parser keeps the text of numbers, and the path of each part, for the problems beside it.

import { h } from './dom.js'
import { ENDINGS, NO_TIMES, clock, count, gap, isUntimed, seconds, size } from './words.js'

const TOKEN =
  /\s*(?:([{}[\],:])|("(?:[^"\\]|\\.)*")|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null|NaN|-?Infinity))/y
const DEEPEST = 200

// Return a tree of {kind, text, parts: [{name, value}]}; null if the text is no JSON.
function readJson(text) {
  const tokens = tokensOf(text)
  if (!tokens) return null
  const at = { i: 0, tokens }
  try {
    const value = readValue(at, 0)
    return at.i === tokens.length ? value : null
  } catch {
    return null
  }
}

function tokensOf(text) {
  const found = []
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < text.length) {
    const from = TOKEN.lastIndex,
      match = TOKEN.exec(text)
    if (!match) return text.slice(from).trim() ? null : found
    found.push(match)
  }
  return found
}

function readValue(at, depth) {
  if (depth > DEEPEST) throw new Error('too deep')
  const [, mark, string, number, word] = next(at)
  if (string !== undefined) return { kind: 'string', text: JSON.parse(string) }
  if (number !== undefined) return { kind: 'number', text: number }
  if (word !== undefined) return { kind: 'word', text: word }
  if (mark === '{') return { kind: 'object', parts: readParts(at, depth, '}') }
  if (mark === '[') return { kind: 'array', parts: readParts(at, depth, ']') }
  throw new Error('no value')
}

function readParts(at, depth, end) {
  const parts = []
  if (at.tokens[at.i]?.[1] === end) return (at.i++, parts)
  for (;;) {
    let name = parts.length
    if (end === '}') {
      name = JSON.parse(next(at)[2])
      if (next(at)[1] !== ':') throw new Error('no colon')
    }
    parts.push({ name, value: readValue(at, depth + 1) })
    const [, mark] = next(at)
    if (mark === end) return parts
    if (mark !== ',') throw new Error('no comma')
  }
}

function next(at) {
  const token = at.tokens[at.i++]
  if (!token) throw new Error('too short')
  return token
}

// The path of a part, as in an issue: `response.output[0].id`.
export function pathOf(above, name) {
  return typeof name === 'number' ? `${above}[${name}]` : above ? `${above}.${name}` : String(name)
}

// Whether a path of ours and one of the contract name the same part: `a.0.b`, `a[0].b`, `$.a[0].b`.
export function samePath(a, b) {
  return plain(a) === plain(b)
}

function plain(path) {
  return String(path)
    .replace(/^\$\.?/, '')
    .replace(/\[(\w+)\]/g, '.$1')
    .replace(/^\./, '')
}

const MOST = 400 // parts of an object or array that are shown at first

// All details of a request.
export function exchangeParts(x, full, begin) {
  return [
    factList([
      ['status', x.status === null ? 'no answer' : `${x.status} ${full.response?.reason ?? ''}`],
      ['by', x.party_name ?? x.party],
      ['asked', isUntimed(x) ? NO_TIMES : clock(x.at_ns - begin, 6)],
      ['answered', isUntimed(x) ? NO_TIMES : x.answered_ns === null ? 'never' : `after ${gap(x.answered_ns - x.at_ns)}`],
      ['took', isUntimed(x) ? NO_TIMES : x.end_ns === null ? 'still open' : seconds(x.end_ns - x.at_ns)],
      ['ending', ENDINGS[x.ending] ?? x.ending],
    ]),
    exchangeHalves(full),
    messages(full, begin),
  ]
}

// The header fields and bodies of a request and its response.
export function exchangeHalves(full) {
  return [half('Request', full.request), full.response ? half('Response', full.response) : '']
}

// Pairs of names and values as a list.
export function factList(pairs) {
  return h('dl.facts',...pairs.filter(Boolean).flatMap(([name, value]) => [h('dt', name), h('dd', value)]))
}

function half(name, { headers, body }) {
  return [
    h('h3', name),
    h('details', h('summary', count(headers.length, 'header field')), factList(headers)),
    shownBody(body),
  ]
}

function shownBody(body) {
  if (!body?.size) return ''
  if (typeof body.text !== 'string') return h('p.remark', `A binary body of ${size(body.size)}.`)
  const value = readJson(body.text)
  return [
    value ? h('div.json', tree(value, '', [])) : h('pre.raw', body.text),
    body.size > 65536 ? h('p.remark', `The first part of ${size(body.size)}.`) : '',
  ]
}

function messages({ messages: all, more_messages: more }, begin) {
  if (!all.length) return ''
  const lines = all.map(one =>
    h(
      'div.message',
      h('span.took', `${clock(one.at_ns - begin, 3)} ${one.dir === 'up' ? '→' : '←'}`),
      h('pre.raw', typeof one.data === 'string' ? one.data : `(${size(one.size)}, binary)`),
    ),
  )
  return [h('h3', 'Messages'), ...lines, more ? h('p.remark', 'Only the first are shown.') : '']
}

// Bytes in base64, shown one by one.
export function latin(base64) {
  return [...atob(base64)]
    .map(c => ((c >= ' ' && c <= '~') || c === '\n' ? c : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`))
    .join('')
}

// JSON data as a tree, with its heading; empty if it is no text, or no JSON.
export function dataParts(data, issues) {
  const value = typeof data === 'string' ? readJson(data) : null
  return value ? [h('h3', 'Data'), h('div.json', tree(value, '', issues))] : ''
}

// JSON as nested lines, with the problem of a part after it.
function tree(value, path, issues) {
  const wrong = issues
    .filter(one => samePath(one.path, path))
    .map(one => h('span.wrong', ` ← ${one.message}`))
  if (value.kind === 'string') return [h('span.json-string', JSON.stringify(value.text)), ...wrong]
  if (!value.parts) return [h('span', { class: `json-${value.kind}` }, value.text), ...wrong]
  const [open, close] = value.kind === 'object' ? '{}' : '[]'
  if (!value.parts.length) return [`${open}${close}`, ...wrong]
  const rows = value.parts
    .slice(0, MOST)
    .map(part =>
      h(
        'div.json-part',
        value.kind === 'object' ? [h('span.json-name', JSON.stringify(part.name)), ': '] : '',
        tree(part.value, pathOf(path, part.name), issues),
      ),
    )
  const rest = value.parts.length - rows.length
  return [open,...wrong, h('div.json-parts', ...rows, rest > 0 ? h('div.remark', `… and ${rest} more`) : ''), close]
}
