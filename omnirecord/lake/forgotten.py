"""What a lake has forgotten, so that it does not come back.

The objects in `forgotten/` name sessions by hashes, and the rows that are still to be removed. A property of the table
`recordings` changes after each new object. So the commit of a shipper that does not know the object fails, and the
shipper looks again. An object has no text and no session id.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any
from uuid import uuid4

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from obstore.exceptions import NotFoundError

from ..errors import LakeError
from ..text import counted, dumps
from .layout import TABLES
from .location import Lake

FOLDER = "forgotten"
_MARK = "omnirecord.forgotten"
_ATTEMPTS = 20
_MANY = 64
"""Objects from which on they become one."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """What leaves a recording: all of it, or the rows of these exchanges and streams, by their numbers."""

    is_whole: bool = False
    exchanges: frozenset[int] = frozenset()
    streams: frozenset[int] = frozenset()

    def __or__(self, other: Leaving) -> Leaving:
        if self.is_whole or other.is_whole:
            return Leaving(is_whole=True)
        return Leaving(False, self.exchanges | other.exchanges, self.streams | other.streams)

    def value(self) -> dict[str, Any] | None:
        return None if self.is_whole else {"exchanges": sorted(self.exchanges), "streams": sorted(self.streams)}

    @classmethod
    def of(cls, value: Mapping[str, Any] | None) -> Leaving:
        return cls(True) if value is None else cls(False, frozenset(value["exchanges"]), frozenset(value["streams"]))


@dataclass(slots=True)
class _Request:
    """One object."""

    path: str
    at: str
    """When it was written, UTC."""
    sessions: frozenset[str]
    """Hashes."""
    leaving: dict[str, Leaving]
    """What is still to be removed, by recording."""
    done_at: str | None = None
    """When the rows had left the tables, UTC."""

    def data(self) -> bytes:
        value = {
            "at": self.at,
            "done_at": self.done_at,
            "sessions": sorted(self.sessions),
            "leaving": {one: leaving.value() for one, leaving in sorted(self.leaving.items())},
        }
        return f"{dumps(value)}\n".encode()


@dataclass(slots=True)
class Forgotten:
    """The memory of a lake. `of`: the id of the lake. Its methods raise `LakeError`."""

    lake: Lake
    of: str
    _mark: str | None = ""
    """That of the last reading; empty before the first one."""
    _requests: list[_Request] = field(default_factory=list)
    _hashes: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether the lake has forgotten a session."""
        return bool(self._hashes)

    def has(self, session_id: str | None) -> bool:
        return session_id is not None and bool(self._hashes) and self._hash(session_id) in self._hashes

    def _hash(self, session_id: str) -> str:
        return blake2b(session_id.encode("utf-8", "surrogatepass"), digest_size=16, key=self.of.encode()).hexdigest()

    def leaving(self) -> dict[str, Leaving]:
        """Return what is still to be removed, by recording."""
        found: dict[str, Leaving] = {}
        for request in self._requests:
            for recording, one in request.leaving.items():
                found[recording] = found.get(recording, Leaving()) | one
        return found

    def pending(self) -> str | None:
        """Return the sentence for rows that are still to be removed."""
        count = len(self.leaving())
        if not count:
            return None
        return (
            f"rows of removed sessions are still in {counted(count, 'recording')}. If no lake forget runs, one was"
            f" interrupted: omnirecord lake forget {self.lake.url} completes it"
        )

    def renew(self, recordings: DeltaTable) -> bool:
        """Read the objects if a version of `recordings` has another mark than the last one; return whether it has."""
        mark = recordings.metadata().configuration.get(_MARK)
        if mark == self._mark:
            return False
        self.read()
        self._mark = mark
        return True

    def read(self) -> None:
        """Read the objects."""
        with self.lake.failures():
            for _ in range(_ATTEMPTS):
                paths = sorted(one["path"] for some in self.lake.objects.list(prefix=f"{FOLDER}/") for one in some)
                try:
                    self._requests = [self._request(path) for path in paths if path.endswith(".json")]
                except (NotFoundError, FileNotFoundError):  # another process has just merged them
                    continue
                self._hashes = frozenset().union(*(one.sessions for one in self._requests))
                return
        raise LakeError(f"{self.lake.url}/{FOLDER} changes all the time: try again")

    def _request(self, path: str) -> _Request:
        try:
            value = json.loads(bytes(self.lake.objects.get(path).bytes()))
            leaving = {one: Leaving.of(of) for one, of in value["leaving"].items()}
            return _Request(path, value["at"], frozenset(value["sessions"]), leaving, value["done_at"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LakeError(f"{self.lake.url}/{path} is damaged: restore it from a copy of the lake") from error

    def add(self, sessions: Iterable[str], leaving: Mapping[str, Leaving]) -> None:
        """Remember sessions, and what is to be removed. From then on, no shipper brings them in."""
        self.note(sessions, leaving)
        with self.lake.failures():
            for attempt in range(_ATTEMPTS):
                try:
                    table = self.lake.table(TABLES[-1])
                    table.alter.set_table_properties({_MARK: str(uuid4())}, raise_if_not_exists=False)
                    return
                except CommitFailedError:
                    if attempt == _ATTEMPTS - 1:
                        raise

    def note(self, sessions: Iterable[str], leaving: Mapping[str, Leaving]) -> None:
        """Remember what is to be removed. A shipper that runs does not look for it."""
        path = f"{FOLDER}/{uuid4()}.json"
        made = _Request(path, _now(), frozenset(map(self._hash, sessions)), dict(leaving))
        with self.lake.failures():
            self.lake.objects.put(path, made.data(), mode="create", use_multipart=False)
        self._requests.append(made)
        self._hashes |= made.sessions

    def done(self) -> None:
        """Remember that nothing of what is known is still to be removed."""
        with self.lake.failures():
            for one in self._requests:
                if one.leaving or one.done_at is None:
                    one.leaving = {}
                    one.done_at = _now()
                    self.lake.objects.put(one.path, one.data(), use_multipart=False)
            if len(self._requests) >= _MANY:
                self._merge()

    def _merge(self) -> None:
        first, *others = self._requests
        made = _Request(f"{FOLDER}/{uuid4()}.json", first.at, self._hashes, {}, others[-1].done_at)
        self.lake.objects.put(made.path, made.data(), mode="create", use_multipart=False)
        for one in self._requests:
            self.lake.objects.delete(one.path)
        self._requests = [made]

    @property
    def done_at(self) -> datetime | None:
        """When the newest rows left the tables; None if none did."""
        times = [datetime.fromisoformat(one.done_at) for one in self._requests if one.done_at is not None]
        return max(times, default=None)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def known(sessions: Collection[str], forgotten: Forgotten) -> frozenset[str]:
    """Return those of these sessions that the lake has forgotten."""
    return frozenset(filter(forgotten.has, sessions)) if forgotten else frozenset()
