// The data source with a server, over HTTP. `sealed.js` has the one of an exported file.
//
// Event streams are parsed as the WHATWG standard says, in pieces: the live stream, and the fields of a recorded frame.

export class Reader {
  constructor() {
    this.rest = ''
    this.lastId = ''
    this.isBehindCR = false
    this.clear()
  }

  clear() {
    this.type = ''
    this.data = []
  }

  // The events that a piece completes: {type, data, id}.
  feed(text) {
    const found = []
    if (this.isBehindCR && text.startsWith('\n')) text = text.slice(1) // second half of a CRLF
    if (text) this.isBehindCR = text.endsWith('\r')
    const lines = (this.rest + text).split(/\r\n|\n|\r/)
    this.rest = lines.pop()
    for (const line of lines) {
      if (line === '') {
        if (this.data.length) found.push({ type: this.type || 'message', data: this.data.join('\n'), id: this.lastId })
        this.clear()
      } else this.line(line)
    }
    return found
  }

  line(line) {
    const [name, value] = field(line)
    if (name === 'event') this.type = value
    else if (name === 'data') this.data.push(value)
    else if (name === 'id' && !value.includes('\0')) this.lastId = value
  }
}

export function field(line) {
  const colon = line.indexOf(':')
  if (colon < 0) return [line, '']
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')]
}

// The data of a recorded frame; null if it has none.
export function dataOf(raw) {
  const lines = raw
    .replace(/^\ufeff/, '')
    .split(/\r\n|\r|\n/)
    .map(field)
    .filter(([name]) => name === 'data')
  return lines.length ? lines.map(([, value]) => value).join('\n') : null
}

export class Refused extends Error {}
export class NeedsToken extends Refused {}

export class Server {
  constructor(token) {
    this.token = token
    this.canFollow = true
  }

  headers() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {}
  }

  // The value of a request by name: `ui/data.py` and `ui/calls.py` describe each.
  async ask(name, asked = {}) {
    const given = Object.entries(asked).filter(([, value]) => value !== undefined && value !== null)
    const answer = await fetch(`data/${name}?${new URLSearchParams(given)}`, { headers: this.headers() })
    if (answer.ok) return answer.json()
    throw await refusal(answer)
  }

  // Ask in portions of some hundred exchanges, since an address has a limit.
  async matching(streams, exchanges, text) {
    const found = await this.ask('matching', { streams: streams.join(','), text })
    for (let at = 0; at < exchanges.length; at += 400) {
      const some = exchanges.slice(at, at + 400).join(',')
      found.exchanges.push(...(await this.ask('matching', { exchanges: some, text })).exchanges)
    }
    return found
  }

  // Follow the recording: `received` gets new rows of `events --json`, several at once, and `at` the id of the last
  // one. Returns whether the recording has ended; throws if the connection is lost. `after`: the id to resume from.
  async follow({ after, received, at }) {
    const headers = { ...this.headers(), ...(after ? { 'Last-Event-ID': after } : {}) }
    const answer = await fetch('../events?last=0', { headers })
    if (!answer.ok) throw await refusal(answer)
    const reader = new Reader(),
      bytes = answer.body.pipeThrough(new TextDecoderStream()).getReader()
    for (;;) {
      const { value, done } = await bytes.read()
      if (done) return false
      const events = reader.feed(value),
        rows = []
      for (const event of events) {
        if (event.type === 'end') return true
        if (event.type === 'message') rows.push(JSON.parse(event.data))
      }
      if (rows.length) received(rows)
      if (reader.lastId) at(reader.lastId)
    }
  }
}

async function refusal(answer) {
  const told = await answer.json().catch(() => null)
  const message = told?.error?.message ?? `the server answered ${answer.status}`
  return answer.status === 401 ? new NeedsToken(message) : new Refused(message)
}
