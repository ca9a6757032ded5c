"""What is looked through in an exported file: the texts that `omnirecord search` looks through, by the same code."""

from __future__ import annotations

from array import array
from contextlib import closing
from typing import Any

from ...analysis.search.matches import everything
from ...analysis.search.update_index import bring_up
from ...cassette.sqlite import Store
from ...cassette.sqlite.search_index import Doc, Index
from ...model import Exchange

Row = dict[str, Any]


def search_data(store: Store, exchanges: set[int]) -> Row:
    """Of these exchanges: each text once, and what has it, by session and time. `same` is equal for what says the same;
    `at` ns of its recording; `marks` of a text that came in deltas how long each piece is, in characters, and how many
    events further on it came."""
    with closing(Index.in_memory()) as index:
        for _ in bring_up(store, index, (0, None)):
            pass
        found = [one for one in everything(index.connection) if one[1] in exchanges]
    by_number = {x.exchange: x for x in store.numbered({number for _, number, _ in found})}
    places: dict[str, int] = {}
    docs = [_row(doc, by_number[number], same, places.setdefault(doc.text, len(places))) for doc, number, same in found]
    return {"texts": list(places), "docs": docs}


def _row(doc: Doc, x: Exchange, same: int, text: int) -> Row:
    is_request = doc.kind in ("request", "answer")
    row = {
        "recording": x.recording, "session_id": x.session_id, "stream": None if is_request else x.stream,
        "exchange": x.exchange if is_request else None, "seq": doc.first_seq, "type": doc.type, "at": doc.first_ns,
        "same": same, "text": text,
    }  # fmt: skip
    return {**row, "marks": _steps(doc.marks)} if doc.marks else row


def _steps(marks: array[int]) -> list[int]:
    """From (place, event, place, event…) to how far each is from the one before: small numbers take less room."""
    return [one - before for one, before in zip(marks, [0, marks[1], *marks], strict=False)]
