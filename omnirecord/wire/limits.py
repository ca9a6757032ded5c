"""The values of options: limits of a cassette's size and age, of the number of full cassettes, and of decoded events
(`500MB`, `1h`, `10`); times; the URL of a lake.

SIZE is a number with KB, MB, GB or TB (of 1000) or KiB, MiB, GiB, TiB; DURATION one with s, min, h, d or w.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import UsageError
from ..model import moment_of

Given = str | int | Iterable[str | int]
"""One limit or several, as they are written."""

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt])(i?)b", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(s|m|min|h|d|w)", re.IGNORECASE)
MAX_DECODED = 1 << 30
"""The default of `max_decoded`, in bytes. A session of hours costs a third of that."""
AN_EVENT = 512
"""Bytes of memory that the objects of an event take beside its own bytes."""
MORE_MEMORY = "give the process more, or a smaller --max-decoded, or look at one session only"
"""The remedy if memory ends before a limit is reached."""
_COUNT = re.compile(r"[0-9]{1,9}")
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LEAST_SIZE = 1_000_000
"""The smallest size of `--rotate`, in bytes. An empty cassette has a tenth of it."""
_MOST_SIZE = 1 << 60
_MOST_SECONDS = 100 * 366 * 86400.0


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a cassette is full: at a size in bytes, or after seconds; None: never."""

    size: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """Which full cassettes are kept: the newest `files`, those younger than `seconds`, and `size` bytes with the
    current one. All given limits apply; None: no limit."""

    files: int | None = None
    size: int | None = None
    seconds: float | None = None


_max_decoded = MAX_DECODED


def max_decoded(new: str | int | None = None) -> int:
    """Return the limit of decoded bytes, and change it to `new` if given (`omnirecord.max_decoded`)."""
    global _max_decoded  # one limit for a process, as csv.field_size_limit
    if new is not None:
        _max_decoded = size_of("--max-decoded", new, "a size as in 2GB", least=1)
    return _max_decoded


def shown_size(size: int) -> str:
    """Return a size for people, in a unit of 1024."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} bytes"


def rotation(given: Given) -> Rotation | None:
    """Return the value of `--rotate`; None if it is not given. Raises `UsageError`."""
    found = _each("--rotate", given, "a size as in 500MB, or a time as in 1h", counts=False)
    if not found:
        return None
    if found.get("size", _LEAST_SIZE) < _LEAST_SIZE:
        raise UsageError(f"--rotate {found['size']} bytes is too little for a cassette: give at least 1MB")
    if found.get("seconds", 1) < 1:
        raise UsageError(f"--rotate {found['seconds']:g} s is too short: give at least 1s")
    return Rotation(**found)


def retention(given: Given) -> Retention:
    """Return the value of `--keep`. Raises `UsageError`."""
    forms = "a number of files as in 10, a time as in 7d, or a size as in 5GB"
    return Retention(**_each("--keep", given, forms, counts=True))


def size_of(option: str, given: str | int, forms: str = "a size as in 10GB", *, least: int = 0) -> int:
    """Return a size in bytes, as in `10GB`. `forms`: the allowed forms, for the error. Raises `UsageError`."""
    kind, value = ("size", given) if isinstance(given, int) else _read(option, given.strip(), forms, counts=False)
    if kind != "size" or not least <= value <= _MOST_SIZE:
        raise UsageError(f"{option} {given!r} cannot be used: give {forms}")
    return int(value)


def duration(option: str, text: str, forms: str) -> timedelta:
    """Return a duration, as in `2h`. `forms`: the allowed forms, for the error. Raises `UsageError`."""
    kind, value = _read(option, text.strip(), forms, counts=False)
    if kind != "seconds":
        raise UsageError(f"{option} {text!r} cannot be used: give {forms}")
    return timedelta(seconds=value)


def _each(option: str, given: Given, forms: str, *, counts: bool) -> dict[str, Any]:
    """Return the values by their kind: a whole number of `files` or of bytes (`size`), or a number of `seconds`."""
    found: dict[str, Any] = {}
    for one in [given] if isinstance(given, (str, int)) else given:
        kind, value = _read(option, str(one).strip(), forms, counts)
        if kind in found:
            raise UsageError(f"{option} {one} is the second of its kind: give one of them")
        found[kind] = value
    return found


def _read(option: str, text: str, forms: str, counts: bool) -> tuple[str, float]:
    kind = ""
    value = 0.0
    most = 0.0
    if found := _SIZE.fullmatch(text):
        base = 1024 if found[3] else 1000
        kind = "size"
        value = float(found[1]) * base ** ("kmgt".index(found[2].lower()) + 1)
        most = _MOST_SIZE
    elif found := _DURATION.fullmatch(text):
        kind = "seconds"
        value = float(found[1]) * _SECONDS[found[2].lower()]
        most = _MOST_SECONDS
    elif counts and _COUNT.fullmatch(text):
        kind = "files"
        value = float(text)
        most = 1e9
    if not 0 < value <= most:
        raise UsageError(f"{option} {text!r} cannot be used: give {forms}")
    return kind, value if kind == "seconds" else int(value)


LONGEST = 1e9
"""The longest time in seconds, about thirty years: a longer one is a mistake, and too much for a clock in ns."""


def checked_seconds(name: str, value: float) -> float:
    """Return a number of seconds from the user. Raises `UsageError` if it is negative or too large."""
    if not 0 <= value <= LONGEST:
        raise UsageError(f"{name} {value:g} must be 0 or more, in seconds, up to {LONGEST:g}")
    return value


def since(text: str, now: datetime) -> datetime:
    """Return the time of `--since`: a duration before `now`, or a time in ISO 8601, UTC unless it names a zone. Raises
    `UsageError`."""
    try:
        return moment_of(text.strip())
    except ValueError:
        return now - duration("--since", text, "a duration as in 2h or 7d, or a time as in 2026-11-27T11:28")


_SCHEMES = ("s3", "gs", "az")


def lake_url(url: str) -> str:
    """Return a URL without a slash at its end, or the absolute path of a folder. Raises `UsageError`."""
    if "://" not in url:
        if not url:
            raise UsageError("the URL of the lake is empty: name a folder, or s3://BUCKET/PATH, gs://… or az://…")
        if url.startswith(tuple(f"{scheme}:/" for scheme in _SCHEMES)):
            raise UsageError(f"{url} has one slash after the colon: write {url.replace(':/', '://', 1)}")
        return str(Path(url).absolute())
    parts = urlsplit(url)
    if parts.scheme == "file":
        return str(Path(parts.path))
    if parts.scheme not in _SCHEMES or not parts.hostname:
        known = "name a folder, s3://BUCKET/PATH, gs://… or az://…"
        raise UsageError(f"{parts.scheme}:// is no address of a lake: {known}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError("the URL of a lake has no user, query or fragment: credentials come from the environment")
    return url.rstrip("/")
