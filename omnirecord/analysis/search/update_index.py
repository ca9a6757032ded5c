"""The index of a cassette brought up to date: what is new in the cassette is added, in steps of one transaction each.

How far each stream is indexed stands in the index, and is looked up in each step, with the digest of the last frame:
where the cassette has another one there, or none, the index is another cassette's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from ...cassette.sqlite import Store
from ...cassette.sqlite.search_index import UNANSWERED, Index, State, digest
from ...model import Exchange, Streaming, TimedFrame
from ..turns.failures import may_have_failed
from .documents import Texts, of_answer, of_request

_STEP = 4_000
"""Frames or requests that are indexed in one transaction…"""
_BYTES = 8 << 20
"""…and bytes of them, but for a single larger frame. Of a larger request nothing is searched."""
_LISTENERS = 20
"""How many of a session's streams, the latest ones, are asked whether they told the same."""


class Stale(Exception):
    """The index speaks of something that the cassette has not."""


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


class _Next(NamedTuple):
    """What is to be indexed next of a stream: the frames behind what is indexed of it `before`."""

    x: Streaming
    others: list[int]
    """Streams that may have told the same."""
    before: tuple[int, int]
    frames: list[TimedFrame]
    is_through: bool
    """There are no more by now."""


def _all(store: Store, index: Index) -> Iterator[int]:
    left = deque(_streams(store))
    while left:
        found = list(_next(store, index, left))
        store.refresh()
        with index.step():
            late = [one for one in found if not _put(index, one)]
        left.extendleft((one.x, one.others) for one in reversed(late) if one.is_through)
        if taken := sum(len(one.frames) for one in found):
            yield taken
    # What was asked comes last: by then it is known which event tells it again.
    for bodies in _asked(store, [number for number in store.posted() if not index.is_done(number)]):
        store.refresh()
        with index.step():
            for x, *both in bodies:
                _request(index, x, *both)
        yield 0


def _streams(store: Store) -> Iterator[tuple[Streaming, list[int]]]:
    """Each stream, and those that may have told the same."""
    heard: dict[tuple[int, str | None], list[int]] = {}
    for x in store.streaming():
        before = heard.setdefault((x.recording, x.session_id), [])
        yield x, before[-_LISTENERS:] if x.session_id is not None else []
        before.append(x.exchange)


def _next(store: Store, index: Index, left: deque[tuple[Streaming, list[int]]]) -> Iterator[_Next]:
    """What one step has room for. Streams that are through are no longer `left`; a step ends with the disk, so that
    short ones share it."""
    room, size = _STEP, _BYTES
    while left and room > 0 and size > 0:
        x, others = left[0]
        before, frames, is_through = index.done(x.exchange), [], True
        for frame in _behind(store, x, *before):
            frames.append(frame)
            room, size = room - 1, size - frame.length
            if room <= 0 or size <= 0:
                is_through = False
                break
        if is_through:
            left.popleft()
        yield _Next(x, others, before, frames, is_through)


def _put(index: Index, new: _Next) -> bool:
    """Whether nobody else was faster."""
    x, frames = new.x, new.frames
    if index.done(x.exchange) != new.before:
        return False
    if frames:
        session = index.session(x.recording, x.session_id, x.exchange)
        texts = Texts(index.under_way(x.exchange))
        docs = [doc for frame in frames for doc in texts.hear(frame)] + texts.rest()
        index.put(docs, x.recording, x.exchange, session, new.others)
        index.set_done(x.exchange, frames[-1].seq, _digest(frames[-1]))
    if new.is_through:
        index.publish(x.exchange)
    return True


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


def _asked(store: Store, exchanges: list[int]) -> Iterator[list[tuple[Exchange, bytes, bytes]]]:
    """Requests with their bodies and those of their answers, if they failed: what one step has room for together."""
    found: list[tuple[Exchange, bytes, bytes]] = []
    size = 0
    for begin in range(0, len(exchanges), _STEP):
        for x in store.numbered(exchanges[begin : begin + _STEP]):
            has_answer = x.end_ns is not None and may_have_failed(x) and x.response_bytes <= _BYTES
            answer = store.decoded_body(x, "response") if has_answer else b""
            found.append((x, store.decoded_body(x, "request") if x.request_bytes <= _BYTES else b"", answer))
            size += x.request_bytes + len(answer)
            if len(found) >= _STEP or size >= _BYTES:
                yield found
                found, size = [], 0
    if found:
        yield found


def _request(index: Index, x: Exchange, body: bytes, answer: bytes) -> None:
    """What a client posted, and the answer of a request that failed. While the request goes on, its body may not be
    whole, and its answer is not known."""
    if index.is_done(x.exchange):
        return  # another search was faster
    asked = None if index.has_request(x.exchange) else of_request(x, body)
    answered = None if x.end_ns is None else of_answer(x, answer)
    docs = [doc for doc in (asked, answered) if doc is not None]
    if docs:
        session = index.session(x.recording, x.session_id, x.exchange)
        index.put(docs, x.recording, x.exchange, session, [])
    if x.end_ns is not None:
        index.set_done(x.exchange, 0, 0)
    elif asked is not None:
        index.set_done(x.exchange, UNANSWERED, 0)
