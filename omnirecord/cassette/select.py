"""Which cassette, session or stream a name means. Raises `UsageError` with the names that are there.

A time as a person gives it, and which part of a recording two of them leave. Pure.

A number is seconds from a zero; `11:28:19` is a time of day; the rest is ISO 8601. All are UTC unless they say.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from difflib import get_close_matches
from math import isfinite
from pathlib import Path

from ..errors import UsageError
from ..model import Recording
from ..omnigent.routes import unknown_sessions
from .sqlite import Store

_LISTED = 5


def named_session(source: str | Path) -> tuple[Path, str | None]:
    """`CASSETTE#SESSION` in its parts. A file that has that very name is meant as a whole."""
    text = str(source)
    cassette, mark, session = text.rpartition("#")
    if not mark or not cassette or _exists(text):
        return Path(text), None
    if not session:
        raise UsageError(f"{text} names no session behind the #: give its id, or the beginning of that")
    return Path(cassette), session


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def session_ids(store: Store) -> list[str]:
    """The ids of all sessions that the server knew, sorted."""
    exchanges = store.exchanges()
    return sorted({x.session_id for x in exchanges if x.session_id} - unknown_sessions(exchanges))


def the_session(store: Store, name: str) -> str:
    """The id that is, or begins with, `name`."""
    known = session_ids(store)
    found = [one for one in known if one == name] or [one for one in known if one.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"several sessions begin with {name!r}: there are {_listed(found)}; give more of the id")
    near = get_close_matches(name, known, _LISTED) or _near_beginning(name, known)
    if near:
        raise UsageError(f"no session begins with {name!r}: the nearest {_are(near)}")
    raise UsageError(f"no session begins with {name!r}: there are {_listed(known)}")


def _near_beginning(name: str, known: list[str]) -> list[str]:
    """The ids whose beginning is like `name`: a shortened id is not like the whole one."""
    beginnings: dict[str, list[str]] = {}
    for one in known:
        beginnings.setdefault(one[: len(name)], []).append(one)
    return [one for near in get_close_matches(name, beginnings, _LISTED, 0.7) for one in beginnings[near]]


def _are(names: list[str]) -> str:
    return f"{'is' if len(names) == 1 else 'are'} {_listed(names)}"


def _listed(names: list[str]) -> str:
    return (", ".join(names[:_LISTED]) or "none") + (", …" if len(names) > _LISTED else "")


def with_children(store: Store, session: str) -> frozenset[str]:
    """The ids of a session and of its sub-agents, theirs among them."""
    children: dict[str, list[str]] = {}
    for child, parent in store.parents().items():
        children.setdefault(parent, []).append(child)
    found, left = set[str](), [session]
    while left:
        if (one := left.pop()) not in found:
            found.add(one)
            left += children.get(one, ())
    return frozenset(found)


def the_stream(store: Store, number: int | None) -> int | None:
    """The number of a stream, if it is one."""
    known = [x.stream for x in store.streams()]
    if number is None or number in known:
        return number
    listed = ", ".join(map(str, known[:20])) + (", …" if len(known) > 20 else "")
    raise UsageError(f"the cassette holds no stream {number}: there {'are ' + listed if known else 'is none'}")


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
