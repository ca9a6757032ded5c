// Marks Markdown without rendering it: code, headings, strong text. All characters stay. Pure, in linear time: inline
// marks end with their line.

const FENCE = /^ {0,3}(`{3,}|~{3,})[^\n]*/
const HEADING = /^ {0,3}#{1,6} /
const INLINE = /(`{1,2})(?!`)[^\n]{1,200}?\1(?!`)|\*\*(?=\S)[^\n*]{1,200}\*\*/g
const MAY_BE = /[`~#]|\*\*/

// Split a text into [kind, text]: plain, fence, heading, code or strong. The parts joined are the text.
export function markdownIn(text) {
  if (!MAY_BE.test(text)) return [['plain', text]]
  const pieces = []
  let fence = null
  for (const line of text.split(/(?<=\n)/)) {
    const sign = FENCE.exec(line)?.[1]
    if (fence) {
      pieces.at(-1)[1] += line
      if (sign?.startsWith(fence) && line.trim() === sign) fence = null
    } else if (sign) {
      pieces.push(['fence', line])
      fence = sign
    } else if (HEADING.test(line)) pieces.push(['heading', line])
    else inline(line, pieces)
  }
  return pieces
}

function inline(line, pieces) {
  let at = 0
  for (const found of line.matchAll(INLINE)) {
    unmarked(line.slice(at, found.index), pieces)
    pieces.push([found[1] ? 'code' : 'strong', found[0]])
    at = found.index + found[0].length
  }
  unmarked(line.slice(at), pieces)
}

function unmarked(text, pieces) {
  if (pieces.at(-1)?.[0] === 'plain') pieces.at(-1)[1] += text
  else if (text) pieces.push(['plain', text])
}
