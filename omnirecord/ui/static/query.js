// Parses a search query as `omnirecord search` does, and matches texts against it. Pure.
//
// A query is a list of alternative clauses {wanted, unwanted}, each a list of terms {text, begins, isSign}.

const PIECE = /"([^"]+)"(\*?)(?!\S)|(\S+)/g
const WORD = /[\p{L}\p{N}\p{Co}\u0300-\u036f]+/gu
const UNPARTED =
  /([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\u{20000}-\u{3ffff}])/gu
const OPERATORS = ['AND', 'OR', 'NOT']

export function readQuery(text) {
  const pieces = [...text.matchAll(PIECE)].map(pieceOf).filter(Boolean),
    clauses = [{ wanted: [], unwanted: [] }]
  let isNegated = false
  pieces.forEach((piece, i) => {
    if (typeof piece === 'string' && i > 0 && typeof (pieces[i + 1] ?? '') !== 'string') {
      if (piece === 'OR') clauses.push({ wanted: [], unwanted: [] })
      isNegated = piece === 'NOT'
    } else {
      clauses.at(-1)[isNegated ? 'unwanted' : 'wanted'].push(typeof piece === 'string' ? term(piece) : piece)
      isNegated = false
    }
  })
  return pieces.length ? clauses : []
}

function pieceOf([, phrase, star, word]) {
  if (phrase !== undefined) return phrase.trim() ? term(phrase.trim(), Boolean(star)) : null
  if (OPERATORS.includes(word)) return word
  return word.endsWith('*') && isWordIn(word) ? term(word.replace(/(?<!\*)\*+$/, ''), true) : term(word)
}

function term(text, begins = false) {
  const isSign = !isWordIn(text)
  return { text, begins: begins && !isSign, isSign }
}

function isWordIn(text) {
  return /[\p{L}\p{N}\p{Co}]/u.test(text)
}

// The normalized words of a text, with their places.
export function wordsOf(text) {
  return Array.from(text.matchAll(WORD), ({ 0: word, index }) => ({
    word: folded(word),
    from: index,
    to: index + word.length,
  })).filter(one => one.word)
}

function folded(word) {
  return word
    .normalize('NFD')
    .replace(/[\u0300-\u036f]/g, '')
    .normalize('NFC')
    .toLowerCase()
}

// Prepare a text for matching.
export function readied(text) {
  return { words: `\0${wordsOf(text).map(one => one.word).join('\0')}\0`, low: lower(text) }
}

export function holds(ready, query) {
  return query.some(
    ({ wanted, unwanted }) => wanted.every(one => has(ready, one)) && !unwanted.some(one => has(ready, one)),
  )
}

function has(ready, one) {
  return one.isSign ? ready.low.includes(lower(one.text)) : ready.words.includes(sought(one))
}

function sought({ text, begins }) {
  return `\0${partsOf(text).join('\0')}${begins ? '' : '\0'}`
}

function partsOf(text) {
  return wordsOf(text.replace(UNPARTED, '\u200b$1\u200b')).map(one => one.word)
}

// The spans of a text that match the query: [from, to], without nesting.
export function spansIn(text, query) {
  const words = wordsOf(text),
    terms = query.flatMap(one => one.wanted)
  const found = terms.flatMap(one => (one.isSign ? signsIn(text, one.text) : phrasesIn(words, one)))
  found.sort((a, b) => a[0] - b[0] || a[1] - b[1])
  return found.filter(((end = -1) => ([from, to]) => from >= end && ((end = to), true))())
}

function phrasesIn(words, { text, begins }) {
  const parts = partsOf(text),
    found = []
  for (let i = 0; i + parts.length <= words.length; i++) {
    const fits = parts.every((part, k) =>
      begins && k === parts.length - 1 ? words[i + k].word.startsWith(part) : words[i + k].word === part,
    )
    if (fits) found.push([words[i].from, words[i + parts.length - 1].to])
  }
  return found
}

function signsIn(text, sign) {
  const low = lower(text),
    wanted = lower(sign),
    found = []
  for (let at = low.indexOf(wanted); at >= 0 && found.length < 500; at = low.indexOf(wanted, at + wanted.length))
    found.push([at, at + wanted.length])
  return found
}

// Lower-case ASCII only, so that the length of a text stays.
function lower(text) {
  return text.replace(/[A-Z]+/g, one => one.toLowerCase())
}
