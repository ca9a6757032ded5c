"""What names a recording beyond its number: its id, the id of its run, and its labels.

`uuid7` makes the ids of new recordings. A recording of an older omnirecord has no id in its file: `derived_id` makes
it from the content.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from ..errors import UsageError
from ..model import moment_of

VARIABLE = "OMNIRECORD_LABELS"
"""The environment variable with labels for each recording: `KEY=VALUE,KEY=VALUE`."""
MOST_LABELS = 64
LONGEST_KEY = 63
LONGEST_VALUE = 256
"""Limits of the labels of a recording; lengths are in characters."""
EXIT_CODE = "command.exit_code"
"""The label with the exit code of the command that `run` or `fork` recorded; 128 + N if the signal N ended it."""
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")

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
    high, low = bits >> 68, bits & (1 << 62) - 1
    return str(uuid.UUID(int=(ms & (1 << 48) - 1) << 80 | version << 76 | high << 64 | 0b10 << 62 | low))


def exit_code_of(labels: Mapping[str, str]) -> int | None:
    """Return the exit code of the recorded command; None if it is not known."""
    code = labels.get(EXIT_CODE, "")
    return int(code) if code.isdecimal() and code.isascii() and len(code) < 9 else None


def labels_of(
    given: Mapping[str, str] | Iterable[str] = (), environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the labels of a recording, by key: those of the environment, replaced per key by the given ones. `given`
    is a mapping, or texts `KEY=VALUE`, the last of a key counts. Raises `UsageError`."""
    variable = (os.environ if environment is None else environment).get(VARIABLE, "")
    found = dict(_pair(VARIABLE, one) for one in variable.split(",") if one.strip())
    if isinstance(given, Mapping):
        found |= dict(_label("labels", key, value) for key, value in given.items())
    else:
        found |= dict(_pair("--label", one) for one in ([given] if isinstance(given, str) else given))
    if len(found) > MOST_LABELS:
        raise UsageError(f"a recording has at most {MOST_LABELS} labels, and {len(found)} are given: leave some out")
    return dict(sorted(found.items()))


def _pair(where: str, text: str) -> tuple[str, str]:
    key, equals, value = text.strip().partition("=")
    if not equals:
        raise UsageError(f"{where} {text.strip()!r} is no label: write KEY=VALUE, as in branch=main")
    return _label(where, key, value)


def _label(where: str, key: object, value: object) -> tuple[str, str]:
    if not isinstance(key, str) or not key:
        raise UsageError(f"{where}: a label has no key: write KEY=VALUE, as in branch=main")
    if len(key) > LONGEST_KEY or not _KEY.fullmatch(key):
        raise UsageError(
            f"{where}: {key[:LONGEST_KEY]!r} is no key of a label: take letters A-Z and a-z, digits, '.', '_', '-' and"
            f" '/', a letter or digit first, at most {LONGEST_KEY} characters"
        )
    if not isinstance(value, str):
        raise UsageError(f"{where}: the value of {key} is no text: write a string, as in {{'branch': 'main'}}")
    if len(value) > LONGEST_VALUE or not value.isprintable():
        allowed = f"printable characters, at most {LONGEST_VALUE}"
        raise UsageError(f"{where}: the value of {key} cannot be used: take {allowed}")
    return key, value
