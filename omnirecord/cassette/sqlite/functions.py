"""What SQL has to be taught to change a row of `pieces` where it is."""

from __future__ import annotations

import functools
import json
import sqlite3


def define(connection: sqlite3.Connection) -> None:
    """For a connection that writes."""
    connection.create_function("with_sent", 4, with_sent, deterministic=True)
    connection.create_function("spliced", 3, spliced, deterministic=True)


def with_sent(reads: str, n: int, offset_ns: int, sent: str) -> str:
    """The reads of a row, which begin with number `n`, with the times at which these were handed on."""
    made, is_changed = json.loads(reads), False
    for number, sent_ns in _parsed(sent):
        if n <= number < n + len(made):
            made[number - n][1], is_changed = sent_ns - offset_ns, True
    return json.dumps(made, separators=(",", ":")) if is_changed else reads


@functools.lru_cache(maxsize=4)  # the same for each of some rows
def _parsed(sent: str) -> list[tuple[int, int]]:
    return [(number, sent_ns) for number, sent_ns in json.loads(sent)]


def spliced(data: bytes | None, at: int, other: bytes) -> bytes | None:
    """The bytes with as many others in the place of those at `at`."""
    if data is None or not 0 <= at <= len(data) - len(other):
        return data
    return data[:at] + other + data[at + len(other) :]
