"""The index of a cassette brought up to date: what is new in the cassette is added, in steps of one transaction each.

How far each stream is indexed stands in the index, and is looked up in each step, with the digest of the last frame:
where the cassette has another one there, or none, the index is another cassette's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from .cassette import Exchange, Streaming, TimedFrame
from .files import itself
from .searching.docs import Texts, digest, of_request
from .store import Store
from .store.index import Index, State

_STEP = 4_000
"""Frames that are indexed in one transaction."""
_LISTENERS = 20
"""How many of a session's streams, the latest ones, are asked whether they told the same."""
_LONGEST_BODY = 8 << 20
_SETTLED_NS = 100_000_000
"""How long ago a file has to have changed, for a further change to show in its time."""


class Stale(Exception):
    """The index speaks of something that the cassette has not."""


def stamp_of(cassette: Path) -> tuple[int, list[int] | None]:
    """The file's number, and its size and time, with those of its log; None where it was changed just now.

    To be taken before the cassette is opened: what is written in between is then seen as a change.
    """
    found = []
    cassette = itself(cassette)  # a log stands beside the file itself
    for path in (cassette, cassette.with_name(cassette.name + "-wal")):
        with suppress(OSError):
            found.append(path.stat())
    if not found:
        return 0, None
    is_settled = time.time_ns() - max(one.st_mtime_ns for one in found) > _SETTLED_NS
    return found[0].st_ino, [n for one in found for n in (one.st_size, one.st_mtime_ns)] if is_settled else None


def bring_up(store: Store, index: Index, stamp: tuple[int, list[int] | None], *, anew: bool = False) -> Iterator[int]:
    """Index what is not indexed yet, or all of it `anew`; yields how many frames each step took. Raises `Stale`."""
    recordings = [[r.recording, r.started_at, r.version, r.contract, r.upstream] for r in store.recordings()]
    now = State(*stamp, recordings, not store.is_being_recorded)
    made, known = index.state() or (0, None)
    standing = "other" if known is None or anew else known.standing(now)
    if standing == "current":
        return
    if standing == "other":
        made = index.begin(now, instead_of=made)
    yield from _all(store, index)
    index.complete(made, now)


def _all(store: Store, index: Index) -> Iterator[int]:
    heard: dict[tuple[int, str | None], list[int]] = {}
    for x in store.streaming():
        before = heard.setdefault((x.recording, x.session_id), [])
        others = before[-_LISTENERS:] if x.session_id is not None else []
        while (taken := _frames(store, index, x, others)) is not None:
            yield taken
        index.publish(x.exchange)
        before.append(x.exchange)
    # What was asked comes last: by then it is known which event tells it again.
    asked = [number for number in store.posted() if not index.is_done(number)]
    for exchange in store.numbered(asked):
        yield _request(store, index, exchange)


def _frames(store: Store, index: Index, x: Streaming, others: list[int]) -> int | None:
    """The next frames of a stream; how many there were, None where there are no more. `others`: streams that may have
    told the same."""
    before = index.done(x.exchange)
    frames = list(islice(_behind(store, x, *before), _STEP))
    store.refresh()
    if not frames:
        return None
    with index.step():
        if index.done(x.exchange) != before:
            return 0  # another search was faster
        session = index.session(x.recording, x.session_id, x.exchange)
        texts = Texts(index.under_way(x.exchange))
        docs = [doc for frame in frames for doc in texts.hear(frame)] + texts.rest()
        index.put(docs, x.recording, x.exchange, session, others)
        index.set_done(x.exchange, frames[-1].seq, _digest(frames[-1]))
    return len(frames)


def _behind(store: Store, x: Streaming, seq: int, known: int) -> Iterator[TimedFrame]:
    """The frames behind one that is indexed. That one is looked at, whether it is the same."""
    after = max(0, seq - 1)
    frames = store.stored_frames(x, after) if store.is_being_recorded else store.frames_behind(x, after)
    if seq:
        last = next(iter(frames), None)
        if last is None and store.is_being_recorded:
            return  # another search has seen more of it already
        if last is None or last.seq != seq or _digest(last) != known:
            raise Stale
    yield from frames


def _digest(frame: TimedFrame) -> int:
    return digest(frame.raw if frame.raw is not None else str(frame.length))


def _request(store: Store, index: Index, x: Exchange) -> int:
    """What a client posted. While the request goes on, its body may not be whole."""
    with index.step():
        if index.is_done(x.exchange):
            return 0
        doc = of_request(x, store.body(x.exchange, "request")) if x.request_bytes <= _LONGEST_BODY else None
        if doc is not None:
            session = index.session(x.recording, x.session_id, x.exchange)
            index.put([doc], x.recording, x.exchange, session, [])
        if doc is not None or x.end_ns is not None:
            index.set_done(x.exchange, 0, 0)
    return 0
