"""The page: a cassette in a browser.

`static/` holds the page's modules, style and HTML. `data` and `events` make the values that the page requests, ready
for JSON. `viewer` serves both below the control path, also alone for `omnirecord ui`. `control` serves the control
interface, `export` writes the page with its data into one file.

1. The page's values come from the same code as the commands' output: `analysis`.
2. Recorded text is never part of the page's code: it is sent as JSON and shown as text.
"""
