"""A stream without most of its deltas, read from the pages: what is left says how its turns went, for little work."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from ...model import LIMIT, TimedFrame, Verdict
from .checked import PAGE, entries_of, issues_of
from .stream_reads import Content

PAUSE = 5_000_000_000
"""Two deltas that are further apart than this, in ns, are both told."""
_QUERY = f"SELECT {PAGE}, offset_ns, times, length FROM pages WHERE stream = ? ORDER BY seq"
Sources = Callable[[int, int], Content]
"""The content of the stream from a read and a byte on."""


class Part(NamedTuple):
    """Some frames of an outline, and up to where in the stream all frames have been looked at."""

    frames: list[TimedFrame]
    seq: int
    end: int


class _Run:
    """Deltas that follow each other: the last one is held until something else comes."""

    def __init__(self) -> None:
        self.type: str | None = None
        self.last_ns = 0
        self.held: TimedFrame | None = None

    def over(self) -> Iterator[TimedFrame]:
        if self.held is not None:
            yield self.held
        self.held = None


def outlined(connection: sqlite3.Connection, stream: int, sources: Sources) -> Iterator[Part]:
    """The frames that are stored of a stream: of a run of deltas without pause only the first and the last. All but the
    first have no `raw`, and no frame has a `sent_ns`."""
    run = _Run()
    for row in connection.execute(_QUERY, (stream,)):
        page, (first_ns, times, length) = row[:-3], row[-3:]
        seq, count, start = page[0], page[1], page[2]
        came = _came(times, first_ns, count)
        if run.type is not None and _is_run(page, run.type) and came[0] - run.last_ns <= PAUSE and _is_steady(came):
            run.held = _without_bytes(stream, seq + count - 1, came[-1], run.type)
            run.last_ns = came[-1]
            yield Part([], seq + count - 1, start + length)
        else:
            frames = list(_frames(page, came, stream, run, sources))
            yield Part(frames, seq + count - 1, start + length)
    yield Part(list(run.over()), 0, 0)


def _came(times: Any, first_ns: Any, count: Any) -> list[int]:
    """When each frame of a page came."""
    found = json.loads(times)
    if type(found) is not list or type(count) is not int or len(found) != count or set(map(type, found)) != {int}:
        raise ValueError("a page has not as many times as frames")
    if type(first_ns) is not int or max(abs(first_ns + min(found)), abs(first_ns + max(found))) >= LIMIT:
        raise ValueError("a page has a time that is too large")
    return [first_ns + one for one in found]


def _is_run(page: Any, type_: str) -> bool:
    """Whether all frames of a page are valid deltas of that type."""
    *_, names, kinds, verdicts, more = page
    return kinds is None and verdicts is None and more is None and json.loads(names) == [type_]


def _is_steady(came: list[int]) -> bool:
    return all(later - earlier <= PAUSE for earlier, later in pairwise(came))


def _frames(page: Any, came: list[int], stream: int, run: _Run, sources: Sources) -> Iterator[TimedFrame]:
    content: Content | None = None
    first, entries = entries_of(page)
    for seq, at_ns, (start, end, _, type_, verdict, more) in zip(
        range(first, first + len(entries)), came, entries, strict=False
    ):
        if type_ is not None and type_ == run.type and _is_delta(type_, verdict) and more is None:
            if at_ns - run.last_ns > PAUSE:
                yield from run.over()
                yield _without_bytes(stream, seq, at_ns, type_)
            else:
                run.held = _without_bytes(stream, seq, at_ns, type_)
            run.last_ns = at_ns
            continue
        yield from run.over()
        raw = None
        if more is None or "lost" not in more:
            content = sources(page[3], page[2]) if content is None else content
            raw = content.take(start, end)
        issues = () if more is None else issues_of(more)
        yield TimedFrame(stream, seq, at_ns, None, raw, end - start, type_, verdict, issues)
        run.type, run.last_ns = (type_ if _is_delta(type_, verdict) else None), at_ns


def _is_delta(type_: str | None, verdict: Verdict) -> bool:
    return type_ is not None and verdict == "valid" and type_.endswith(".delta")


def _without_bytes(stream: int, seq: int, at_ns: int, type_: str) -> TimedFrame:
    return TimedFrame(stream, seq, at_ns, None, None, 0, type_, "valid", ())
