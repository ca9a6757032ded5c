"""A cassette's rows in the order in which a recorder would have written them, to be written bit by bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from omnirecord.cassette.jsonl import Reader
from omnirecord.cassette.sqlite import rows, stream_rows
from omnirecord.cassette.sqlite.rows import Row


def live_rows(path: Path) -> list[Row]:
    """The rows of a .jsonl cassette by their times, one for each read and each frame; what has none comes with what it
    belongs to."""
    with path.open("rb") as lines:
        found = [one for row in Reader(str(path)).rows(lines) for one in _split(*row)]
    return [row for _, _, row in sorted(_timed(found), key=lambda one: one[:2])]


def _split(sql: str, values: tuple[Any, ...]) -> Iterator[Row]:
    if sql == stream_rows.READ_BLOCK:
        yield from _reads(sql, *values)
    elif sql == stream_rows._FRAME_BLOCK:
        yield from _frames(sql, *values)
    elif sql == rows._REQUEST and values[2] == "sse":
        yield sql, (*values[:2], "http", *values[3:])  # the answer tells
    else:
        yield sql, values


def _reads(
    sql: str, exchange: int, n: int, start: int, _size: int, base: int, reads: str, data: bytes
) -> Iterator[Row]:  # fmt: skip
    for number, (at, sent, size) in enumerate(json.loads(reads), n):
        read = json.dumps([[0, None if sent is None else sent - at, size]])
        yield sql, (exchange, number, start, size, base + at, read, data[:size])
        start, data = start + size, data[size:]


def _frames(
    sql: str, stream: int, seq: int, _frames: int, start: int, _length: int, first: int, base: int,
    ends: str, reads: str, times: str, types: str, kinds: str | None, verdicts: str | None, more: str | None,
) -> Iterator[Row]:  # fmt: skip
    names, read, others = json.loads(types), first, json.loads(more or "{}")
    bounds = pairwise([0, *json.loads(ends)])
    for place, (begin, end) in enumerate(bounds):
        name = names[json.loads(kinds)[place] if kinds else 0]
        verdict = json.dumps([json.loads(verdicts)[place]]) if verdicts else None
        last = first + json.loads(reads)[place]
        other = json.dumps({"0": others[str(place)]}) if str(place) in others else None
        yield sql, (
            stream, seq + place, 1, start + begin, end - begin, read, base + json.loads(times)[place],
            json.dumps([end - begin]), json.dumps([last - read]), "[0]", json.dumps([name]), None, verdict, other,
        )  # fmt: skip
        read = last


def _timed(found: list[Row]) -> Iterator[tuple[int, int, Row]]:
    ended = {values[-1]: values[0] for sql, values in found if sql == rows._END}
    asked = {values[0]: values[5] for sql, values in found if sql == rows._REQUEST}
    for number, (sql, values) in enumerate(found):
        if sql == rows._REQUEST:
            at = values[5]
        elif sql == rows._RESPONSE:
            at = values[2]
        elif sql == stream_rows.READ_BLOCK:
            at = values[4]
        elif sql == stream_rows._FRAME_BLOCK:
            at = values[6]
        elif sql == rows.CHUNK:
            at = asked[values[0]] if values[1] == "request" else ended[values[0]]
        elif sql == rows._END:
            at = values[0]
        else:
            at = 0
        # what ends an exchange comes behind everything of its time
        yield at if at is not None else 1 << 62, number + (1_000_000 if sql == rows._END else 0), (sql, values)
