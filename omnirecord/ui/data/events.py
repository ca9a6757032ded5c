"""The events of a stream as the page holds them: a few numbers of each, in columns, and the rest where it is looked at.

A hundred thousand events are a few megabytes of columns, and take a second to be read: they come in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from ...analysis.listing import event_row, parsed
from ...cassette.jsonl import text
from ...cassette.sqlite import Store
from ...errors import UsageError
from ...model import VERDICTS, Exchange, TimedFrame
from ...omnigent.summary import gist
from ...wire.sse import read_fields

Row = dict[str, Any]
PIECE = 20_000
"""How many events one piece of columns has at the most…"""
GISTS = 400
"""…and one of gists."""
LONGEST = 1 << 20
"""How much of one frame is shown, in bytes."""


def columns(store: Store, stream: int, after: int = 0, limit: int = PIECE) -> Row:
    """The events behind `after`: lists of the same length. `dt` and `sent` are ns from the event before, and from the
    event itself; -1 where it never was sent. `types` names what `type` numbers."""
    return columns_of(islice(_frames(store, stream, after), limit), stream, limit)


def columns_of(frames: Iterator[TimedFrame], stream: int, limit: int) -> Row:
    made: dict[str, list[int]] = {name: [] for name in ("seq", "dt", "sent", "type", "verdict", "length", "issues")}
    types: dict[str | None, int] = {}
    before = 0
    for frame in frames:
        made["seq"].append(frame.seq)
        made["dt"].append(frame.offset_ns - before)
        made["sent"].append(-1 if frame.sent_ns is None else frame.sent_ns - frame.offset_ns)
        made["type"].append(types.setdefault(frame.type, len(types)))
        made["verdict"].append(VERDICTS.index(frame.verdict))
        made["length"].append(frame.length)
        made["issues"].append(len(frame.issues))
        before = frame.offset_ns
    return {"stream": stream, "types": list(types), "more": len(made["seq"]) == limit, **made}


def gists(store: Store, stream: int, after: int = 0, limit: int = GISTS) -> Row:
    """What each of the events behind `after` says, in one line."""
    frames = list(islice(_frames(store, stream, after), max(1, min(limit, GISTS))))
    return {"stream": stream, "rows": [[frame.seq, gist_of(frame)] for frame in frames]}


def gist_of(frame: TimedFrame) -> str:
    if frame.raw is None:
        return ""
    return gist(frame.type, parsed(read_fields(frame.raw, bom=frame.seq == 1).data))


def event(store: Store, stream: int, seq: int) -> Row:
    """One event as `events --json` prints it, but for its data, which the page reads from `raw`; `cut` says how long
    that is where it is longer than what is shown."""
    x = _stream(store, stream)
    frame = store.frame(x, seq)
    if frame is None:
        raise UsageError(f"stream {stream} has no event {seq}")
    return event_of(x, frame, store.recording(x.recording).started_at)


def event_of(x: Exchange, frame: TimedFrame, started_at: str) -> Row:
    row = event_row(x, frame, started_at)
    del row["data"]
    raw = None if frame.raw is None else beginning(frame.raw, LONGEST)
    return {**row, "raw": raw, "cut": frame.length if frame.raw is None or frame.length > LONGEST else None}


def beginning(data: bytes, most: int) -> Any:
    """As `text` has it; of what is longer than `most` bytes, its beginning."""
    return text(data) if len(data) <= most else data[:most].decode("utf-8", "replace")


def matching(store: Store, streams: list[int], words: str) -> dict[str, list[int]]:
    """Returns the numbers of the events whose frame contains a text, by stream. Case does not matter."""
    wanted = words.lower()
    return {
        str(stream): [frame.seq for frame in _frames(store, stream, 0) if wanted in _shown(frame)]
        for stream in streams
    }  # fmt: skip


def _shown(frame: TimedFrame) -> str:
    return "" if frame.raw is None else frame.raw.decode("utf-8", "replace").lower()


def _frames(store: Store, stream: int, after: int) -> Iterator[TimedFrame]:
    return store.frames(_stream(store, stream), after=after)


def _stream(store: Store, stream: int) -> Exchange:
    found = store.exchanges("stream = ?", stream)
    if not found:
        raise UsageError(f"the cassette holds no stream {stream}")
    return found[0]
