// Converts between the fragment of the address and a route. Pure.

export function read(hash) {
  const [path, query] = hash.replace(/^#\/?/, '').split('?'),
    [view, ...rest] = path.split('/')
  const asked = Object.fromEntries(new URLSearchParams(query ?? ''))
  if (view === 'session' || view === 'call') return { ...asked, view, key: safely(rest.join('/')) }
  if (view === 'search' || view === 'compare') return { view, ...asked }
  return { view: 'sessions' }
}

export function write({ view, key, ...rest }) {
  const asked = new URLSearchParams(
    Object.entries(rest).filter(([, value]) => value !== undefined && value !== null && value !== ''),
  )
  const query = asked.size ? `?${asked}` : ''
  return view === 'session' || view === 'call' ? `#/${view}/${encodeURIComponent(key)}${query}` : `#/${view}${query}`
}

function safely(text) {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
