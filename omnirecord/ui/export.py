"""The page as one HTML file with its data, which needs no server and no network.

The data is a block of compressed JSON in base64, which holds no script and cannot end the block. A
Content-Security-Policy allows the one script and the one style by their hashes, and nothing else, no request either.
The data is scrubbed by default.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

from ..analysis.conversations import ConcludedTalk
from ..cassette.files import TemporaryFolder
from ..cassette.held import Held
from ..cassette.open import open_store
from ..cassette.scrub import Leak, leak_counts, scrub
from ..cassette.select import the_session
from ..cassette.sqlite import Store
from ..model import Exchange
from ..providers.grouping import conversation_number
from ..text import dumps
from .calls import Hops, all_moves, call, calls
from .data import comparison, findings, overview, search_data, session_data
from .events import PIECE, columns_of, event_of, exchange_of, read_key, summary_of
from .viewer import bundle, digest

Row = dict[str, Any]
MOST_COMPARED = 6
"""Most sessions of which each pair is compared beforehand: a file cannot do that itself."""
WHOLE_TEXT = 20_000
"""Most characters of one text of a model call in the file."""
_BASE64_OF = 3 * 64 * 1024


def sealed_page(
    cassette: Path, *, redact: str | None = "content", redact_patterns: Iterable[str] = (), session: str | None = None
) -> Iterator[bytes]:
    """The file, in parts. `redact`: `content`, `named`, or None for no scrubbing. `session`: only this session and its
    sub-agents; its id may be shortened. Raises `UsageError` or `CassetteError`."""
    with _to_be_shown(cassette, redact, redact_patterns) as (store, shared):
        data = sealed_data(store, cassette.name, shared, session)
        yield from _html(gzip.compress(dumps(data).encode(), 9, mtime=0))


def sealed_data(store: Store, name: str, shared: Row, session: str | None = None) -> Row:
    """All values that the page may request, by name."""
    hops = Hops.of(store)

    def talks() -> list[ConcludedTalk]:
        return hops.talks

    whole = overview(store, name, talks=talks)
    wanted = None if session is None else the_session(store, session)
    sessions = {
        row["key"]: session_data(store, read_key(row["key"]), talks)
        for row in whole["sessions"]
        if wanted in (None, row["session_id"])
    }
    shown = {one["key"] for data in sessions.values() for one in data["family"]}
    for key in shown - sessions.keys():
        sessions[key] = session_data(store, read_key(key))
    rows = [row for row in whole["sessions"] if row["key"] in shown]
    ids = {row["session_id"] for row in rows}
    linked: Row = {}  # by the key of a session; under an empty key those of the cassette
    if hops.calls.is_recorded:
        linked = {row["key"]: calls(hops, read_key(row["key"])) for row in rows}
        linked |= {"": calls(hops)} if wanted is None else {}
    numbered = {one["exchange"]: one for found in linked.values() for one in found["calls"]}
    others = whole["others"] if wanted is None else []
    numbers = {x["exchange"] for part in (others, *(one["exchanges"] for one in sessions.values())) for x in part}
    numbers |= numbered.keys()
    exchanges = [x for x in store.exchanges() if x.exchange in numbers]
    held = Held()
    compared = [row for row in rows if conversation_number(row["session_id"]) is None]
    compares = len(compared) <= MOST_COMPARED
    own = {"is_recorded": False, "sessions": rows, "others": others, "shared": shared, "compares": compares}
    return {
        "overview": {**whole, **own},
        "findings": [one for one in findings(store) if wanted is None or one["session_id"] in ids],
        "sessions": sessions,
        "streams": {str(x.stream): _stream(store, x, held) for x in exchanges if x.stream is not None},
        "exchanges": {str(x.exchange): exchange_of(store, x) for x in exchanges},
        "searched": search_data(store, numbers, hops),
        "calls": linked,
        "call": {str(number): call(hops, number, shown=WHOLE_TEXT) for number in numbered},
        "moves": all_moves(store, hops, shown) if numbered else {},
        "comparisons": {
            f"{a['key']} {b['key']}": comparison(store, a["key"], b["key"])
            for a, b in (combinations(compared, 2) if compares else ())
        },
    }


def _stream(store: Store, x: Exchange, held: Held) -> Row:
    """The columns of a stream's events, and their other fields."""
    names = ("raw", "event", "sequence_number", "issues", "cut")  # what the columns lack
    started_at = store.recording(x.recording).started_at
    frames = list(held.of(store.frames(x)))
    pieces = [frames[at : at + PIECE] for at in range(0, len(frames), PIECE)]
    return {
        "columns": [columns_of(iter(piece), x.stream or 0, len(frames) + 1) for piece in pieces],
        "summaries": [summary_of(frame) for frame in frames],
        "events": [[row[name] for name in names] for row in (event_of(x, frame, started_at) for frame in frames)],
    }


@contextmanager
def _to_be_shown(cassette: Path, redact: str | None, patterns: Iterable[str]) -> Iterator[tuple[Store, Row]]:
    """The cassette, or a scrubbed copy, and the page's sentence about it."""
    if redact is None:
        with closing(open_store(cassette)) as store:
            yield store, {"badge": "as recorded", "sentence": AS_RECORDED, "replaced": []}
        return
    with TemporaryFolder("html") as folder:
        copy = Path(folder) / "scrubbed.db"
        found = scrub(cassette, copy, redact=redact, redact_patterns=patterns)
        with closing(open_store(copy)) as store:
            yield store, {"badge": "scrubbed", "sentence": _said(redact, found), "replaced": leak_counts(found)}


AS_RECORDED = (
    "This page is not scrubbed. The recorder masks values with a secret's name, in headers, queries and JSON fields."
    " Other values that look like secrets may be on this page."
)


def _said(redact: str, found: list[Leak]) -> str:
    but = ", but not values that only look like a secret"
    scrubbed = f"values with a secret's name{' and values that look like a secret' if redact == 'content' else but}"
    count = sum(one.count for one in found)
    replaced = f"{count or 'no'} value{' was' if count == 1 else 's were'} replaced"
    return f"This page shows a scrubbed copy. Scrubbing covers {scrubbed}; {replaced}."


def _html(data: bytes) -> Iterator[bytes]:
    page = bundle()
    policy = (
        f"default-src 'none'; script-src {digest(page.script)}; style-src {digest(page.style)}; img-src data:;"
        " base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types"
    )
    head, _, body = page.html.partition('<link rel="stylesheet" href="page.css">\n')
    charset = '<meta charset="utf-8">\n'
    before, _, after = head.partition(charset)
    yield f'{before}{charset}<meta http-equiv="Content-Security-Policy" content="{policy}">\n{after}'.encode()
    yield f"<style>{page.style}</style>\n".encode()
    body, _, end = body.partition('<script src="page.js" defer></script>\n')
    yield f'{body}<script type="application/json" id="cassette">'.encode()
    for at in range(0, len(data), _BASE64_OF):
        yield base64.b64encode(data[at : at + _BASE64_OF])
    yield f"</script>\n<script>{page.script}</script>\n{end}".encode()
