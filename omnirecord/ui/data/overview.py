"""What a cassette holds, at one look: its recordings, its sessions, what went wrong with the recording itself.

Of streams only an outline is read. What is found by reading them through, `doctor`'s findings, is asked for apart, so
that the list is there at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..._version import __version__
from ...analysis.doctor import row_of
from ...analysis.doctor.doctor import examine
from ...analysis.gather import Concluded, Known, conclusions, strays
from ...cassette.sqlite import Store
from .exchanges import exchange_row
from .keys import key_of_exchange

Row = dict[str, Any]
MOST_OTHERS = 500
"""How many requests that belong to no session are listed, those of runners among them."""


def overview(store: Store, name: str, files: Mapping[int, str] | None = None, known: Known | None = None) -> Row:
    """`name`: what the cassette is called; `files`: from which one each recording is, where it was put together;
    `known`: see `conclusions`. Times are ns of their recording."""
    files = files or {}
    recordings, exchanges = store.recordings(), store.exchanges()
    astray = {x.exchange for x in strays([x for x in exchanges if x.party != "runner"])}
    others = [x for x in exchanges if x.party == "runner" or x.exchange in astray]
    return {
        "name": " · ".join(dict.fromkeys(files.values())) or name,
        "files": list(dict.fromkeys(files.values())),
        "version": __version__,
        "is_recorded": store.is_being_recorded,
        "recordings": [
            {"recording": r.recording, "file": files.get(r.recording), "started_at": r.started_at,
             "version": r.version, "contract": r.contract, "upstream": r.upstream,
             "exchanges": sum(x.recording == r.recording for x in exchanges)}
            for r in recordings
        ],
        "sessions": [_session(store, one) for one in conclusions(store, known=known)],
        "others": [{"recording": x.recording, **exchange_row(x)} for x in others[:MOST_OTHERS]],
        "more_others": max(0, len(others) - MOST_OTHERS),
        "incidents": [
            {"recording": one.recording, "at_ns": one.at_ns, "message": one.message} for one in store.incidents()
        ],
    }  # fmt: skip


def findings(store: Store, session: str | None = None) -> list[Row]:
    """What `doctor` finds in the cassette, or in one session: its rows, the code of what explains each, and of which
    recording it is, None where that cannot be said."""
    recordings: dict[object, set[int]] = {}
    for x in store.exchanges():
        for what in (x.stream, x.session_id):
            recordings.setdefault(what, set()).add(x.recording)
    return [
        {**row_of(one), "because": one.because, "recording": _only(recordings.get(one.stream or one.session_id))}
        for one in examine(store, session)
    ]  # fmt: skip


def _only(found: set[int] | None) -> int | None:
    return next(iter(found)) if found is not None and len(found) == 1 else None


def _session(store: Store, one: Concluded) -> Row:
    told, exchanges = one.session, one.gathered.exchanges
    streams = [x for x in exchanges if x.stream is not None]
    verdicts = sum((Counter(store.tally(x)[0]) for x in streams), Counter[str]())
    said = (store.last_status(x) for x in reversed(streams))
    return {
        "key": str(key_of_exchange(exchanges[0])),
        "recording": told.recording,
        "session_id": told.session_id,
        "stream": one.stream,
        "parent_session_id": told.parent_id,
        "started_at": told.started_at,
        "begun_ns": told.begun_ns,
        "ended_ns": told.until_ns,
        "streams": len(streams),
        "stream_numbers": [x.stream for x in streams],
        "path": exchanges[0].request.target,
        "exchanges": len(exchanges),
        "events": verdicts.total() - verdicts["comment"],
        "verdicts": verdicts,
        "bytes": sum(x.response_bytes for x in streams),
        "last_status": next((status for status in said if status is not None), None),
        "ending": one.conclusion.ending or exchanges[-1].ending,
        "asked": one.conclusion.asked,
        "conclusion": one.conclusion.row(),
    }
