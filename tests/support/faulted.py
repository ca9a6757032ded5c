"""A recorded cassette once more, as a recorder behind `omnirecord serve --fault …` would have it.

made = faulted(CASSETTES / "text.jsonl", "drop response.completed")
store = made.store()
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Store
from omnirecord.model import Ending, Exchange, Side
from omnirecord.replayer.event_address.matcher import Stream
from omnirecord.replayer.faults import Bound, Faults, Faulty
from omnirecord.replayer.stream_parts import Part
from tests.support.cassettes import Made

FOLDER = Path(__file__).parent.parent.parent / "cassettes"
PATIENCE = 60.0
"""How long a client waits for a stream that has frozen, in seconds: the web UI gives up after 45."""
ENDINGS: dict[str, Ending] = {
    "clean": "eof",
    "short": "upstream_lost",
    "reset": "upstream_lost",
    "freeze": "client_left",
}


def faulted(path: Path, *faults: str, change: Callable[[Exchange, dict[str, Any]], None] | None = None) -> Made:
    """The cassette with these faults. `change` may alter what is given to `Made.stream` or `Made.request`."""
    source = _recorded(path)
    bound = Faults.parse(faults).bind(Stream(number, list(frames)) for number, frames in source.frames.items())
    made, recordings = Made(), iter(source.recordings[1:])
    for x in source.exchanges:
        while made.recordings < x.recording:
            following = next(recordings)
            made.another_recording(following.hop, following.contract)
        fields = _stream(source, x, bound) if x.stream is not None else _request(source, x, bound)
        if change is not None:
            change(x, fields)
        if x.stream is not None:
            made.stream(fields.pop("session"), fields.pop("at"), *fields.pop("reads"), **fields)
        else:
            made.request(fields.pop("method"), fields.pop("target"), fields.pop("at"), **fields)
    return made


class _Recorded:
    """A cassette that is read once: some get hundreds of faults."""

    def __init__(self, store: Store) -> None:
        self.recordings, self.exchanges = store.recordings(), store.exchanges()
        self.frames = {x.stream: tuple(store.frames(x)) for x in self.exchanges if x.stream is not None}
        self._asked = {x.exchange: store.body(x.exchange, "request") for x in self.exchanges}
        self._answers = {x.exchange: store.body(x.exchange, "response") for x in self.exchanges if x.stream is None}

    def body(self, x: Exchange, side: Side) -> bytes:
        return (self._asked if side == "request" else self._answers)[x.exchange]


@functools.cache
def _recorded(path: Path) -> _Recorded:
    with closing(open_store(path)) as store:
        return _Recorded(store)


def _stream(source: _Recorded, x: Exchange, bound: Bound) -> dict[str, Any]:
    assert x.response
    frames = source.frames[x.stream or 0]
    parts = [Part(f.offset_ns, f.raw or b"", stream=f.stream, seq=f.seq, read=n) for n, f in enumerate(frames)]
    faulty = bound.on(x.stream or 0, parts)
    if faulty.by:
        bound.happened(faulty.by)
    reads = [((part.offset_ns + part.late_ns) / 1e9, part.data) for part in faulty.parts if part.data]
    ending, end = _end(x, faulty, reads[-1][0] if reads else x.response.at_ns / 1e9)
    return {
        "session": x.request.target, "at": x.response.at_ns / 1e9, "reads": reads, "ending": ending, "end": end,
        "method": x.request.method, "headers": x.response.headers, "party": x.party, "asked": x.request.at_ns / 1e9,
        "body": source.body(x, "request"),
    }  # fmt: skip


def _end(x: Exchange, faulty: Faulty, last: float) -> tuple[Ending, float]:
    """A client waits for what comes late; the server's end is not the recorded one."""
    if faulty.end is not None:
        return ENDINGS[faulty.end], last + (PATIENCE if faulty.end == "freeze" else 0.0)
    late = max((part.late_ns for part in faulty.parts), default=0)
    ending: Ending = "eof" if x.ending == "done" and not _is_done(faulty) else x.ending
    return ending, ((x.end_ns or 0) + late) / 1e9


def _is_done(faulty: Faulty) -> bool:
    return any(part.data.strip() == b"data: [DONE]" for part in faulty.parts)


def _request(source: _Recorded, x: Exchange, bound: Bound) -> dict[str, Any]:
    response = x.response
    fault = bound.on_request(x.request.method, x.request.target)
    injected = fault.answer.status if fault and fault.answer else 0
    status = injected or (response.status if response else 0)
    answer = b'{"error": {"code": "injected"}}' if injected else source.body(x, "response")
    return {
        "method": x.request.method, "target": x.request.target, "at": x.request.at_ns / 1e9,
        "until": (x.end_ns or x.request.at_ns) / 1e9, "status": status, "body": source.body(x, "request"),
        "answer": answer, "party": x.party, "ending": x.ending, "answered": response is not None,
    }  # fmt: skip
