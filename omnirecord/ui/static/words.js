// Formats numbers and texts for display. Pure. Recorded text is made visible here: it must not change the writing
// direction, hide other text, or imitate it.

const ODD = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu
const HARMLESS = new Set(['\n', '\t', '\u200c', '\u200d']) // line ends; joiners, which scripts and emoji need

export function visible(text) {
  return String(text).replace(ODD, c => (HARMLESS.has(c) ? c : escaped(c)))
}

export function oneLine(text) {
  return visible(String(text).replace(/\s+/g, ' ').trim())
}

function escaped(c) {
  const code = c.codePointAt(0)
  return code < 0x100 ? `\\x${hex(code, 2)}` : code < 0x10000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`
}

function hex(code, width) {
  return code.toString(16).padStart(width, '0')
}

export function clip(text, most) {
  return text.length <= most ? text : `${text.slice(0, Math.max(most - 1, 0))}…`
}

// A duration as the commands print it: 0.25 s, 12.3 s, 4 min 5 s.
export function seconds(ns) {
  if (ns < 9_995_000_000) return `${(ns / 1e9).toFixed(2)} s`
  if (ns < 119_950_000_000) return `${(ns / 1e9).toFixed(1)} s`
  const whole = Math.round(ns / 1e9),
    minutes = Math.floor(whole / 60),
    hours = Math.floor(minutes / 60)
  return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min ${whole % 60} s`
}

// The duration of a session, as every command has it.
export function tookOf({ conclusion }) {
  return conclusion.duration_s === null ? 'no times' : seconds(conclusion.duration_s * 1e9)
}

// A gap, for a narrow column.
export function gap(ns) {
  if (ns < 1e6) return ns > 0 ? `${Math.round(ns / 1e3)} µs` : '0'
  if (ns < 1e9) return `${Math.round(ns / 1e6)} ms`
  return seconds(ns)
}

// The time of the playhead: 0:04.25, 1:02:03.4
export function clock(ns, digits = 2) {
  const sign = ns < 0 ? '-' : '',
    unit = 10 ** digits,
    all = Math.round((Math.abs(ns) / 1e9) * unit)
  const total = Math.floor(all / unit),
    s = total % 60,
    m = Math.floor(total / 60) % 60,
    h = Math.floor(total / 3600)
  const rest = `${String(s).padStart(2, '0')}${digits ? `.${String(all % unit).padStart(digits, '0')}` : ''}`
  return h ? `${sign}${h}:${String(m).padStart(2, '0')}:${rest}` : `${sign}${m}:${rest}`
}

// A number with its digits in groups: 1,234.
export function grouped(number) {
  return number.toLocaleString('en')
}

export function count(number, what) {
  return `${grouped(number)} ${what}${number === 1 ? '' : 's'}`
}

export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`
  return `${(bytes / 1e6).toFixed(1)} MB`
}

export const NO_TIMES = 'not recorded'

// Whether an exchange has no times: an imported raw body has none.
export function isUntimed(x) {
  return x.kind === 'sse' && x.at_ns === 0 && x.answered_ns === 0 && x.end_ns === 0
}

// Date and time of day in UTC, from ISO form.
export function moment(iso) {
  return String(iso ?? NO_TIMES)
    .replace('T', ' ')
    .replace(/\.\d+/, '')
    .replace(/(Z|\+00:00)$/, '')
}

export function momentAt(startedAt, ns) {
  const at = new Date(Date.parse(startedAt) + ns / 1e6)
  return Number.isNaN(at.getTime()) ? '' : at.toISOString().replace('T', ' ').replace('Z', ' UTC')
}

// The displayed name of a session.
export function sessionName(row) {
  if (row.session_id === null) return row.asked ?? `Stream ${row.stream}`
  return row.asked ?? (row.parent_session_id ? 'Sub-agent' : 'Nothing was asked')
}

// A target with its session id cut.
export function shortTarget(target) {
  return target.replace(/^(\/v1\/sessions\/)([^/?]{9,})/, (_, path, id) => `${path}${id.slice(0, 6)}…`)
}

export const ENDINGS = {
  done: 'server ended it',
  eof: 'server closed it',
  client_left: 'client left',
  upstream_lost: 'connection broke',
  recorder_stopped: 'recorder stopped',
  recorder_killed: 'recorder killed',
  upstream_unreachable: 'server not reached',
  open: 'still open',
  unknown: 'end not known',
}
