// The data source of an exported file: the file itself, which has every answer of the server.

import { hits } from './lookup.js'
import { Refused } from './source.js'

const block = document.getElementById('cassette') // read before the page replaces the content of the file

// The data of the file; null if the page has a server.
export async function sealed() {
  if (!block) return null
  const bytes = Uint8Array.from(atob(block.textContent), c => c.charCodeAt(0))
  const text = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))
  return new Sealed(JSON.parse(await new Response(text).text()))
}

class Sealed {
  constructor(data) {
    this.data = data
    this.canFollow = false
  }

  async ask(name, asked = {}) {
    return this[name](asked)
  }

  overview() {
    return this.data.overview
  }

  findings({ session }) {
    const { findings } = this.data
    return (session ?? null) === null ? findings : findings.filter(one => one.session_id === session)
  }

  session({ key }) {
    return this.data.sessions[key] ?? missing('this session')
  }

  events({ stream, after }) {
    const { columns } = this.data.streams[stream] ?? { columns: [] },
      place = columns.findIndex(piece => piece.seq.at(-1) > after)
    return place < 0 ? { stream, ...NOTHING } : { ...columns[place], more: place + 1 < columns.length }
  }

  summaries({ stream, after, count }) {
    return {
      stream,
      rows: this.data.streams[stream].summaries.slice(after, after + count).map((summary, i) => [after + i + 1, summary]),
    }
  }

  event({ stream, seq }) {
    const found = this.data.streams[stream]?.events[seq - 1]
    if (!found) return missing('this event')
    const [raw, event, sequence_number, issues, cut] = found
    return { stream, seq, raw, event, sequence_number, issues, cut, ...this.numbers(stream, seq) }
  }

  numbers(stream, seq) {
    let left = seq - 1
    for (const piece of this.data.streams[stream].columns) {
      if (left >= piece.seq.length) left -= piece.seq.length
      else
        return {
          type: piece.types[piece.type[left]],
          offset_ns: piece.dt.slice(0, left + 1).reduce((sum, one) => sum + one, 0),
        }
    }
    return missing('this event')
  }

  exchange({ exchange }) {
    return this.data.exchanges[exchange] ?? missing('this request')
  }

  async matching(streams, exchanges, text) {
    const wanted = text.toLowerCase(),
      holds = one => typeof one === 'string' && one.toLowerCase().includes(wanted)
    const found = streams.map(stream => [
      stream,
      (this.data.streams[stream]?.events ?? []).flatMap(([raw], i) => (holds(raw) ? [i + 1] : [])),
    ])
    return {
      streams: Object.fromEntries(found),
      exchanges: exchanges.filter(number => this.texts(number).some(holds)),
    }
  }

  // The texts of a request.
  texts(exchange) {
    const { request, response, messages } = this.data.exchanges[exchange] ?? { messages: [] }
    return [request?.body?.text, response?.body?.text, ...messages.map(one => one.data)]
  }

  search({ query }) {
    const found = hits(this.data.searched, query)
    for (const one of found.hits) if (one.seq !== null) one.offset_ns = this.numbers(one.stream, one.seq).offset_ns
    return found
  }

  calls({ key }) {
    return this.data.calls[key ?? ''] ?? { calls: [], more: 0, spent: [] }
  }

  call({ exchange, until }) {
    const found = this.data.call[exchange] ?? missing('this model call')
    return until === undefined ? found : missing('earlier messages of this request')
  }

  part() {
    return missing('more of this text')
  }

  move({ stream, seq }) {
    return this.data.moves[`${stream}:${seq}`] ?? null
  }

  pairs() {
    return missing('two cassettes: choose two of its sessions')
  }

  comparison({ a, b }) {
    const { comparisons } = this.data
    const found = comparisons[`${a} ${b}`] ?? turned(comparisons[`${b} ${a}`])
    if (a === b) return { a, b, turns: this.session({ key: a }).family[0].turns.map((_, i) => [i, i]), found: [] }
    return found ?? missing('a comparison of these two; `omnirecord diff` compares any two')
  }
}

const NOTHING = { types: [], seq: [], dt: [], sent: [], type: [], verdict: [], length: [], issues: [], more: false }

function missing(what) {
  throw new Refused(`This file does not hold ${what}.`)
}

// The comparison with the sides swapped.
function turned(comparison) {
  const other = { gone: 'new', new: 'gone', same: 'same' }
  return (
    comparison && {
      ...comparison,
      turns: comparison.turns.map(([i, j]) => [j, i]),
      found: comparison.found.map(one => ({
        ...one,
        a: one.b,
        b: one.a,
        spans: one.spans?.map(([tone, text]) => [other[tone], text]) ?? null,
      })),
    }
  )
}
