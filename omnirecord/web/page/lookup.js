// A search without an index: through what was said and run, and what stands in the frames. Pure.

const MOST_HITS = 200
const AROUND = 60

// `data` as an exported file has it; hits as the server's search gives them.
export function hits(data, query) {
  const words = wordsOf(query)
  if (!words.length) return { hits: [], total: 0 }
  const found = Object.values(data.sessions).flatMap(session => [...said(session), ...framed(data, session)].filter(one => holds(one.text, words)).sort((a, b) => a.at - b.at).map(one => hit(one, words)))
  return { hits: found.slice(0, MOST_HITS), total: found.length }
}

// Words and phrases; OR and the like are for the server's search.
export function wordsOf(query) {
  return [...query.toLowerCase().matchAll(/"([^"]+)"|(\S+)/g)].map(([, phrase, word]) => phrase ?? word.replace(/\*$/, '')).filter(Boolean)
}

function holds(text, words) {
  const low = text.toLowerCase()
  return words.every(word => low.includes(word))
}

// What was asked, said and run in a session, with the time.
function* said({ family: [main], exchanges }) {
  const stream = exchanges.find(x => x.stream !== null)?.stream ?? null
  for (const turn of main.turns) {
    const at = (type, ns, text) => ({ recording: turn.recording, session_id: turn.session_id, stream, at: ns, type, text })
    for (const one of turn.asked) yield at('asked', one.at_ns, one.text)
    for (const one of turn.thoughts) yield at('thought', one.first_ns, one.text)
    for (const one of turn.messages) yield at('answer', one.first_ns, one.text)
    for (const one of turn.tools) yield at('tool', one.called_ns, `${one.name} ${one.arguments} ${one.output ?? ''}`)
  }
}

// The events of its own streams, but for those that hold a piece of a text.
function* framed(data, { family: [main], exchanges }) {
  const mine = exchanges.filter(x => x.stream !== null && x.session_id === main.session_id)
  for (const { stream } of mine) {
    const { columns, events } = data.streams[stream]
    let at = 0, i = 0
    for (const piece of columns) {
      at = 0
      for (let place = 0; place < piece.seq.length; place++, i++) {
        at += piece.dt[place]
        const [raw] = events[i], type = piece.types[piece.type[place]]
        if (typeof raw === 'string' && !type?.endsWith('.delta')) yield { recording: main.turns[0]?.recording ?? null, session_id: main.session_id, stream, seq: i + 1, at, type, text: raw }
      }
    }
  }
}

function hit(one, words) {
  const low = one.text.toLowerCase(), first = Math.min(...words.map(word => low.indexOf(word))), from = Math.max(0, first - AROUND)
  const points = [...`${from ? '…' : ''}${one.text.slice(from, from + 4 * AROUND).replace(/\s+/g, ' ')}`], text = points.join('')
  const spans = words.flatMap(word => {
    const place = text.toLowerCase().indexOf(word)
    return place < 0 ? [] : [[[...text.slice(0, place)].length, [...text.slice(0, place + word.length)].length]]
  }).sort((a, b) => a[0] - b[0]).filter((span, i, all) => i === 0 || span[0] >= all[i - 1][1])
  return { recording: one.recording, session_id: one.session_id, stream: one.stream, seq: one.seq ?? null, offset_ns: one.at, type: one.type, exchange: null, text, spans }
}
