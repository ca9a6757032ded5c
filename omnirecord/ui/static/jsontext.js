// A JSON parser for display: it keeps the text of numbers, and the path of each part, for the problems beside it. Pure.

const TOKEN =
  /\s*(?:([{}[\],:])|("(?:[^"\\]|\\.)*")|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null|NaN|-?Infinity))/y
const DEEPEST = 200

// Return a tree of {kind, text, parts: [{name, value}]}; null if the text is no JSON.
export function readJson(text) {
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
