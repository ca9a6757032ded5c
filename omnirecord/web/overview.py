"""What a cassette holds, at one look: its recordings, its sessions, what went wrong with the recording itself.

As much work as there are exchanges: no stream is read through. What is found by reading them, `doctor`'s findings, is
asked for apart, so that the list is there at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from .._version import __version__
from ..cassette import Exchange, wall_clock
from ..diagnosis import row_of
from ..diagnosis.examining import examine
from ..gathering import grouped
from ..store import Store
from ..story import act_of, may_act
from .naming import key_of_exchange

Row = dict[str, Any]
_LONGEST = 200
"""How much of what was asked first stands in the list, in characters."""


def overview(store: Store, name: str) -> Row:
    """`name`: what the cassette is called. Times are ns of their recording."""
    recordings, parents = store.recordings(), store.parents()
    started = {one.recording: one.started_at for one in recordings}
    exchanges = store.exchanges()
    groups = grouped(x for x in exchanges if x.party != "runner")
    return {
        "name": name,
        "version": __version__,
        "is_recorded": store.is_being_recorded,
        "recordings": [
            {"recording": r.recording, "started_at": r.started_at, "version": r.version, "contract": r.contract,
             "upstream": r.upstream, "exchanges": sum(x.recording == r.recording for x in exchanges)}
            for r in recordings
        ],
        "sessions": [_session(store, group, started, parents) for group in groups],
        "incidents": [
            {"recording": one.recording, "at_ns": one.at_ns, "message": one.message} for one in store.incidents()
        ],
    }  # fmt: skip


def findings(store: Store, session: str | None = None) -> list[Row]:
    """What `doctor` finds in the cassette, or in one session: its rows, and the code of what explains each."""
    return [{**row_of(one), "because": one.because} for one in examine(store, session)]


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
        "started_at": wall_clock(started[first.recording], begun_ns),
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
    for x in exchanges:
        if may_act(x):
            response = b"" if x.kind == "sse" else store.body(x.exchange, "response")
            act = act_of(x, store.body(x.exchange, "request"), response)
            if act is not None and act.kind == "message" and act.text:
                return act.text[:_LONGEST]
    return None


def _end(x: Exchange) -> int:
    answered = x.response.at_ns if x.response else x.request.at_ns
    return x.end_ns if x.end_ns is not None else answered
