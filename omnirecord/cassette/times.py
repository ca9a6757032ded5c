"""A time as a person gives it, and which part of a recording two of them leave. Pure.

A number is seconds from a zero; `11:28:19` is a time of day; the rest is ISO 8601. All are UTC unless they say.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from math import isfinite

from ..errors import UsageError
from ..model import Recording

Given = str | float | datetime | None
Moment = float | datetime | time | None
_LATEST = 1 << 62
_DAY = timedelta(days=1)


def moment(name: str, value: Given) -> Moment:
    """What is given as `name`, read. Raises `UsageError`."""
    try:
        read = _read(value.strip()) if isinstance(value, str) else value
        if isinstance(read, (int, float)) and not isfinite(read):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"{name} {value!r} is no time: give seconds from the start, a time of day like 14:03:00, or"
            " 2026-11-25T14:03:00"
        ) from None
    return read.replace(tzinfo=UTC) if isinstance(read, datetime) and read.tzinfo is None else read


def _read(value: str) -> float | datetime | time:
    try:
        return float(value)
    except ValueError:
        return time.fromisoformat(value) if ":" in value[:3] else datetime.fromisoformat(value)


def span(recording: Recording, since: Moment, until: Moment, zero_ns: int = 0) -> tuple[int, int]:
    """The first and the last ns of a recording that lie in between. Numbers count from `zero_ns`; a time of day is the
    one that is nearest to it."""
    low = -_LATEST if since is None else _offset(recording, since, zero_ns)
    high = _LATEST if until is None else _offset(recording, until, zero_ns)
    return low, high


def _offset(recording: Recording, at: float | datetime | time, zero_ns: int) -> int:
    if isinstance(at, (int, float)):
        return zero_ns + _bounded(at)
    began = _started(recording)
    if isinstance(at, time):
        at = _nearest(at, began + timedelta(microseconds=zero_ns // 1000))
    return _bounded((at - began).total_seconds())


def _bounded(seconds: float) -> int:
    return max(-_LATEST, min(_LATEST, round(seconds * 1e9)))


def _nearest(at: time, to: datetime) -> datetime:
    """The moment at which a clock shows that time, and which is nearest."""
    that_day = datetime.combine(to.astimezone(at.tzinfo or UTC).date(), at, at.tzinfo or UTC)
    return min((that_day - _DAY, that_day, that_day + _DAY), key=lambda one: abs(one - to))


def _started(recording: Recording) -> datetime:
    at = datetime.fromisoformat(recording.started_at)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
