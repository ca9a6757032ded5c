"""What a cassette holds, at one look: its recordings, its sessions, what went wrong with the recording itself.

As much work as there are exchanges: no stream is read through. What is found by reading them, `doctor`'s findings, is
asked for apart, so that the list is there at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from .._version import __version__
from ..cassette import Exchange, wall_clock
from ..diagnosis import row_of
from ..diagnosis.examining import examine
from ..gathering import acts_in, grouped, strays
from ..store import Store
from .exchanges import exchange_row
from .naming import key_of_exchange

Row = dict[str, Any]
_LONGEST = 200
"""How much of what was asked first stands in the list, in characters."""

MOST_OTHERS = 500
"""How many requests that belong to no session are listed, those of runners among them."""


def overview(store: Store, name: str, files: Mapping[int, str] | None = None) -> Row:
    """`name`: what the cassette is called; `files`: from which one each recording is, where it was put together. Times
    are ns of their recording."""
    files = files or {}
    recordings, parents = store.recordings(), store.parents()
    started = {one.recording: one.started_at for one in recordings}
    exchanges = store.exchanges()
    groups = grouped(x for x in exchanges if x.party != "runner")
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
        "sessions": [_session(store, group, started, parents) for group in groups],
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


def _session(store: Store, exchanges: list[Exchange], started: dict[int, str], parents: dict[str, str]) -> Row:
    streams = [x for x in exchanges if x.stream is not None]
    first, begun_ns = exchanges[0], min(x.request.at_ns for x in exchanges)
    verdicts = sum((Counter(store.tally(x)[0]) for x in streams), Counter[str]())
    said = (store.last_status(x) for x in reversed(streams))
    return {
        "key": str(key_of_exchange(first)),
        "recording": first.recording,
        "session_id": first.session_id,
        "stream": first.stream if first.session_id is None else None,
        "parent_session_id": parents.get(first.session_id or ""),
        "started_at": wall_clock(started[first.recording], begun_ns) if any(x.has_times for x in exchanges) else None,
        "begun_ns": begun_ns,
        "ended_ns": max(_end(x) for x in exchanges),
        "streams": len(streams),
        "stream_numbers": [x.stream for x in streams],
        "path": first.request.target,
        "exchanges": len(exchanges),
        "events": verdicts.total() - verdicts["comment"],
        "verdicts": verdicts,
        "bytes": sum(x.response_bytes for x in streams),
        "last_status": next((status for status in said if status is not None), None),
        "ending": (streams or exchanges)[-1].ending,
        "asked": _first_asked(store, exchanges),
    }


def _first_asked(store: Store, exchanges: Iterable[Exchange]) -> str | None:
    """What a client said first: by that a person knows a session again."""
    said = (act.text for act in acts_in(store, exchanges) if act.kind == "message" and act.text)
    return next((text[:_LONGEST] for text in said), None)


def _end(x: Exchange) -> int:
    answered = x.response.at_ns if x.response else x.request.at_ns
    return x.end_ns if x.end_ns is not None else answered
