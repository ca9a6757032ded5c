// Parses event streams as the WHATWG standard says, in pieces: the live stream, and the fields of a recorded frame.
// Pure.

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
