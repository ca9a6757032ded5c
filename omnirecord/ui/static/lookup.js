// The search of an exported file, in the texts that `omnirecord search` reads; the file holds them. Pure.
//
// A query is parsed as `omnirecord search` does: a list of alternative clauses {wanted, unwanted}, each a list of terms
// {text, begins, isSign}.

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

function has(ready, { text, begins, isSign }) {
  if (isSign) return ready.low.includes(lower(text))
  return ready.words.includes(`\0${partsOf(text).join('\0')}${begins ? '' : '\0'}`)
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

const MOST_HITS = 200
const WIDTH = 160 // characters that are shown around a hit

// `searched`: {texts, docs} of an exported file; it also caches prepared texts. Hits have the form of the server's
// hits.
export function hits(searched, text) {
  const query = readQuery(text),
    known = new Map(),
    found = new Map()
  searched.ready ??= searched.texts.map(readied)
  for (const doc of query.length ? searched.docs : []) {
    if (found.has(doc.same)) continue
    if (!known.has(doc.text)) known.set(doc.text, holds(searched.ready[doc.text], query))
    if (known.get(doc.text)) found.set(doc.same, doc)
  }
  const first = [...found.values()].slice(0, MOST_HITS)
  return { hits: first.map(doc => hit(doc, searched.texts[doc.text], query)), total: found.size }
}

function hit(doc, text, query) {
  const spans = best(text, spansIn(text, query))
  const { recording, session_id, stream, exchange, type, at } = doc
  return {
    ...{ recording, session_id, stream, exchange, type, offset_ns: at, call: doc.call ?? null },
    seq: doc.marks ? seqAt(doc, text, spans[0]?.[0] ?? 0) : doc.seq,
    ...around(text, spans),
  }
}

// The event that brought a character. `marks`: lengths of pieces, and the number of events up to each.
function seqAt({ seq, marks }, text, place) {
  const points = [...text.slice(0, place)].length
  let at = 0,
    here = seq,
    found = seq
  for (let i = 0; i < marks.length; i += 2) {
    at += marks[i]
    here += marks[i + 1]
    if (at > points) break
    found = here
  }
  return found
}

// The spans with the most different words close together; the first ones if several are equal.
function best(text, spans) {
  let chosen = spans.slice(0, 1),
    most = 0
  spans.slice(0, 500).forEach(([from], first) => {
    const near = spans.filter(one => one[0] >= from && one[0] <= from + WIDTH / 2)
    const words = new Set(near.slice(0, 20).map(one => text.slice(...one).toLowerCase())).size
    if (words > most) [chosen, most] = [spans.slice(first, first + near.length), words]
  })
  return chosen
}

// The text around the spans in one line, and the places of the spans in it, in code points as on the server.
function around(text, spans) {
  const [begin, end] = [spans[0]?.[0] ?? 0, spans.at(-1)?.[1] ?? 0],
    room = Math.max(WIDTH - (end - begin), WIDTH / 4)
  const start = Math.max(0, begin - Math.round(room / 2)),
    stop = Math.min(text.length, Math.max(end, start + WIDTH))
  const edges = spans.flat().map(place => place - start)
  const pieces = [0, ...edges, stop - start].map((place, i, all) => (i ? text.slice(start + all[i - 1], start + place) : ''))
  const counted = []
  let made = start ? '…' : ''
  pieces.slice(1).forEach((piece, i) => {
    made += piece.replaceAll('\u200b', '').replace(/\s+/g, ' ')
    if (i < edges.length) counted.push([...made].length)
  })
  const pairs = counted.flatMap((place, i) => (i % 2 ? [] : [[place, counted[i + 1]]]))
  return { text: made + (stop < text.length ? '…' : ''), spans: pairs }
}
