// The search of an exported file, in the texts that `omnirecord search` reads; the file holds them. Pure.

import { holds, readQuery, readied, spansIn } from './query.js'

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
