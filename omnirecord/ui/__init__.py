"""The page: a cassette as data that a browser shows, the browser's side of it, and how the two are brought together.

`overview`, `session`, `events`, `exchanges` and `comparing` make data of an open store: plain values, ready for JSON.
`answers` gives each of them a name, as the page asks for it; `pages` answers over HTTP, below the control path, and
`sealed` writes all of them into one file that needs no server, `searched` what is looked through there. `shown` brings
two cassettes together that are to be compared. `bundle` puts the page together out of `page/`.

1. What the page says of a session comes from where the commands have it: `story`, `diagnosis`, `differing`, `finding`.
2. Nothing of a recording is ever part of the page's code: it is sent as JSON, and shown as text.
"""
