"""Finds the cassette, session or stream that a name means, and the part of a recording between two times.

Unknown names raise `UsageError` with the known names. A number is a time in seconds from a zero, `11:28:19` is a time
of day, and other times are ISO 8601. Times without a zone are UTC. `Source` is what an analysis reads: an open
cassette, or rows from elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..contract.judge import Contract
from ..errors import UsageError
from ..model import Exchange, Incident, Recording, Side, TimedFrame, children_of, moment_of, reached
from ..omnigent.routes import is_session, unknown_sessions

if TYPE_CHECKING:
    from ..providers.grouping import Place


class Source(Protocol):
    """Recordings with their exchanges, frames and bodies. `sqlite.Store` describes each method."""

    places: Mapping[int, Place]
    """The places of model calls in their conversations, by exchange, in a part of a cassette; empty in a whole one."""

    def recordings(self) -> list[Recording]: ...
    def contract_of(self, recording: int, /) -> Contract: ...
    def judge_of(self, x: Exchange, /) -> Contract: ...
    def exchanges(
        self,
        *,
        recording: int | None = None,
        session_id: str | None = None,
        kind: str | None = None,
        method: str | None = None,
        ending: str | None = None,
        by_clients: bool = False,
        in_session: bool | None = None,
    ) -> list[Exchange]: ...
    def each(self, recording: int, /) -> Iterator[Exchange]: ...
    def groups(
        self, *, recording: int | None = None, sessions: Collection[str] | None = None
    ) -> Iterator[list[Exchange]]: ...
    def strays(self, *, recording: int | None = None) -> list[Exchange]: ...
    def streams(self, session_id: str | None = None, /) -> list[Exchange]: ...
    def frames(self, exchange: Exchange, /) -> Iterator[TimedFrame]: ...
    def frame_lists(self, exchange: Exchange, /) -> Iterator[list[TimedFrame]]: ...
    def outline(self, exchange: Exchange, /) -> Iterator[TimedFrame]: ...
    def decoded_body(self, x: Exchange, side: Side, /) -> bytes: ...
    def incidents(self) -> list[Incident]: ...
    def last_known_ns(self, recording: int, /) -> int: ...
    def last_exchange_ns(self, recording: int, /) -> int: ...
    def parents(self) -> dict[str, str]: ...


_LISTED = 5


def grouped(exchanges: Iterable[Exchange]) -> Iterator[list[Exchange]]:
    """Return the exchanges by session and recording, in the order in which sessions began.

    A stream without a session is a group by itself. A session that the server did not know is left out (`is_session`).
    """
    groups: dict[tuple[int, object], list[Exchange]] = {}
    for x in exchanges:
        if x.session_id is not None:
            groups.setdefault((x.recording, x.session_id), []).append(x)
        elif x.kind == "sse":
            groups[x.recording, x.exchange] = [x]
    yield from (group for group in groups.values() if group[0].session_id is None or is_session(group))


def strays(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Return the exchanges in none of these groups: without a session and no stream, or of an unknown session."""
    known = {x.exchange for group in grouped(exchanges) for x in group}
    return [x for x in exchanges if x.exchange not in known]


def named_session(source: str | Path) -> tuple[Path, str | None]:
    """Split `CASSETTE#SESSION`; the session, which may be the number of a conversation, is None if there is none, or if
    a file has that whole name. Raises `UsageError` if the session is empty."""
    text = str(source)
    cassette, mark, session = text.rpartition("#")
    if not mark or not cassette or os.path.exists(text):  # noqa: PTH110  # `Path.exists` may raise
        return Path(text), None
    if not session:
        raise UsageError(f"{text} names no session behind the #: give its id, or the beginning of that")
    return Path(cassette), session


def session_ids(store: Source) -> list[str]:
    """Return the ids of all sessions that the server knew, sorted."""
    exchanges = store.exchanges(in_session=True)
    return sorted({x.session_id for x in exchanges if x.session_id} - unknown_sessions(exchanges))


def the_session(store: Source, name: str) -> str:
    """Return the session id that equals `name` or begins with it. Raises `UsageError`."""
    known = session_ids(store)
    found = [one for one in known if one == name] or [one for one in known if one.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"several sessions begin with {name!r}: there are {_listed(found)}; give more of the id")
    if os.path.exists(name):  # noqa: PTH110  # `Path.exists` may raise
        raise UsageError(f"{name} is a file, and no session: this command takes one cassette")
    near = get_close_matches(name, known, _LISTED)
    if not near:  # `name` may be a shortened id
        beginnings: dict[str, list[str]] = {}
        for one in known:
            beginnings.setdefault(one[: len(name)], []).append(one)
        near = [one for like in get_close_matches(name, beginnings, _LISTED, 0.7) for one in beginnings[like]]
    if near:
        verb = "is" if len(near) == 1 else "are"
        raise UsageError(f"no session begins with {name!r}: the nearest {verb} {_listed(near)}")
    is_number = any(str(x.exchange) == name for x in store.exchanges())
    hint = f"; {name} is the number of an exchange, which `omnirecord request` prints" if is_number else ""
    if not known:
        hint += "; a conversation of model calls has a number, as in CASSETTE#1"
    raise UsageError(f"no session begins with {name!r}: there are {_listed(known)}{hint}")


def _listed(names: list[str]) -> str:
    return first_of(names, _LISTED) or "none"


def with_children(store: Source, session: str) -> frozenset[str]:
    """Return the ids of a session and of all its direct and indirect sub-agents."""
    return frozenset(reached([session], children_of(store.parents())))


def the_stream(store: Source, number: int | None) -> int | None:
    """Return the number of a stream, or None for None. Raises `UsageError` if there is no such stream."""
    known = [x.stream for x in store.streams()]
    if number is None or number in known:
        return number
    there = f"are {first_of(known)}" if known else "is none"
    raise UsageError(f"the cassette holds no stream {number}: there {there}")


def first_of(values: Sequence[object], most: int = 20) -> str:
    """Return the first values in a text."""
    return ", ".join(map(str, values[:most])) + (", …" if len(values) > most else "")


Given = str | float | datetime | None
Moment = float | datetime | time | None
_LATEST = 1 << 62
_DAY = timedelta(days=1)


def moment(name: str, value: Given) -> Moment:
    """Parse the value of option `name`. Raises `UsageError`."""
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
    """Return the first and the last ns of a recording between two times. Numbers are seconds from `zero_ns`. A time of
    day is the moment nearest to `zero_ns`."""
    low = -_LATEST if since is None else _offset(recording, since, zero_ns)
    high = _LATEST if until is None else _offset(recording, until, zero_ns)
    return low, high


def _offset(recording: Recording, at: float | datetime | time, zero_ns: int) -> int:
    if isinstance(at, (int, float)):
        return zero_ns + _bounded(at)
    began = moment_of(recording.started_at)
    if isinstance(at, time):
        at = _nearest(at, began + timedelta(microseconds=zero_ns // 1000))
    return _bounded((at - began).total_seconds())


def _bounded(seconds: float) -> int:
    return max(-_LATEST, min(_LATEST, round(seconds * 1e9)))


def _nearest(at: time, to: datetime) -> datetime:
    """Return the moment with this time of day that is nearest to `to`."""
    that_day = datetime.combine(to.astimezone(at.tzinfo or UTC).date(), at, at.tzinfo or UTC)
    return min((that_day - _DAY, that_day, that_day + _DAY), key=lambda one: abs(one - to))
