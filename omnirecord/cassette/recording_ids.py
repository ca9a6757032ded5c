"""The ids of recordings.

`uuid7` makes those of new recordings. A recording of an older omnirecord has no id in its file: `derived_id` makes it
from the content.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from ..model import moment_of

Asked = tuple[int, str, str, int | None, str | None]
"""Of an exchange: time of the request in ns, method, target, status, session id."""


def uuid7() -> str:
    """Return a new UUIDv7 (RFC 9562): unique, and in the order of time."""
    if sys.version_info >= (3, 14):
        return str(uuid.uuid7())
    return _uuid(7, time.time_ns() // 1_000_000, os.urandom(10))


def derived_id(started_at: str, contract: str, upstream: str | None, asked: Iterable[Asked]) -> str:
    """Return the id of a recording without one: the same for each form and each copy of its cassette.

    `asked` has the exchanges in ascending order, without their numbers, which an import changes. The result is a
    UUIDv8: the time of the start as in a UUIDv7, so that both kinds sort by time, then a SHA-256. A UUIDv5 has neither
    a time nor a hash that can be fed row by row. Raises `ValueError` for an invalid `started_at`.
    """
    found = hashlib.sha256(json.dumps([started_at, contract, upstream]).encode())
    for one in asked:
        found.update(json.dumps(one).encode())
    since = moment_of(started_at) - datetime(1970, 1, 1, tzinfo=UTC)
    return _uuid(8, max(0, since // timedelta(milliseconds=1)), found.digest())


def is_derived(recording_id: str) -> bool:
    """Whether an id has the version of a derived one."""
    return recording_id[14:15] == "8"


def _uuid(version: int, ms: int, rest: bytes) -> str:
    """Return a UUID with this version, a time in ms since 1970, and 74 bits of `rest`."""
    bits = int.from_bytes(rest[:10], "big")
    high = bits >> 68
    low = bits & (1 << 62) - 1
    return str(uuid.UUID(int=(ms & (1 << 48) - 1) << 80 | version << 76 | high << 64 | 0b10 << 62 | low))
