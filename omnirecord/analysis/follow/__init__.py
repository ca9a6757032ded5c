"""Follows a recording while it grows, across rotated files. All commands, the live view and the page read new content
with these classes.

`Growth` has the new content of one cassette. A `Reader` makes rows or sessions of it (`rows`, `sessions`). A `File`
opens one cassette for its reader. A `Follower` has all files of a recording.

It goes on after a killed recorder, with further recordings, and with a file that replaces the one before. If the path
is a link of `--rotate`, a rotated file is followed until its recorder has closed it, together with the newer ones. Each
read begins with the oldest file.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path
from typing import Generic, TypeVar

from ...cassette.files import itself, stamp_of
from ...cassette.rotation import RotatedCassettes
from ...cassette.sqlite import Store
from ...cassette.sqlite.lock import recorder_is_alive
from ...errors import UsageError
from ...wire.limits import Retention
from .growth import Cursor, Growth

T = TypeVar("T")
Opens = Callable[[Path], Store]
OPENS: Opens = partial(Store.open, follows=True)
Begin = int | Cursor | None
"""Where a reader begins: with the last so many events, after a cursor, or with all that a cassette has."""
_PLACE = re.compile(r"([0-9a-f]{8})(?:@([0-9]{8}T[0-9]{6}Z))?,([0-9]{1,15})((?:,[0-9]{1,15}:[0-9]{1,15})*)")
"""A cursor for one followed file in a bookmark: cassette, stamp, highest stream, and the last frame of open streams."""


class Reader(ABC, Generic[T]):
    """Makes something of what is new in one cassette. `growth` has its position."""

    growth: Growth

    @abstractmethod
    def read(self, store: Store, waiting: Set[int] = frozenset()) -> tuple[list[T], bool]:
        """Return what is new, and whether more can be read at once. `waiting`: the streams that go on in an older file,
        and are read later."""

    def rest(self) -> list[T]:
        """Return what has become final although nothing is new."""
        return []

    def growing(self) -> Iterable[T]:
        """Return what is not final."""
        return ()

    def end(self, store: Store) -> list[T]:
        """Return the rest. Nothing follows."""
        return self.read(store)[0]


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """The result of one read of one followed file."""

    path: Path
    cassette: str
    """Its id among the cassettes that are followed."""
    rows: list[T]
    has_more: bool = False
    is_recorded: bool = False
    """Whether a recorder wrote to it during the read: more may come."""
    left_out: int = 0
    """Number of events that were skipped, since there are too many."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """The result of one read of all followed cassettes."""

    parts: list[Part[T]]
    """The parts that have rows, the oldest file first."""
    has_more: bool
    is_recorded: bool

    @property
    def rows(self) -> list[T]:
        """The rows of all parts, those of the oldest file first."""
        return [row for part in self.parts for row in part.rows]

    @property
    def left_out(self) -> int:
        return sum(part.left_out for part in self.parts)


class File(Generic[T]):
    """The cassette at `path`, read again and again. `make` makes its reader, and another one for another cassette at
    this path. `of`: the cassette of the cursor in `begin`."""

    def __init__(
        self,
        path: Path,
        make: Callable[[Begin], Reader[T]],
        opens: Opens = OPENS,
        begin: Begin = None,
        of: str | None = None,
    ) -> None:
        self.path = path
        self.reader = make(begin)
        self._make = make
        self._opens = opens
        self._of = of
        self._inode: int | None = None
        self._recordings: list[str] = []
        """When each of its recordings started. A server may tell its version later."""
        self._all_of: tuple[object, ...] = (None,)
        """The state of the file after a complete read; with None in it if that is unknown."""

    @property
    def has_read(self) -> bool:
        return self._inode is not None

    @property
    def cassette(self) -> str:
        """Its id among cassettes, after the first read."""
        return blake2b("".join(self._recordings[:1]).encode(), digest_size=4).hexdigest()

    @property
    def going_on(self) -> set[int]:
        """The streams that may have more frames in this file."""
        return set(self.reader.growth.cursor.at)

    def read(self, waiting: Set[int] = frozenset()) -> Part[T]:
        """Return what is new. Raises what the reader raises, and `CassetteError`."""
        is_recorded = recorder_is_alive(self.path)
        now = (*stamp_of(self.path), is_recorded)
        if None not in now and now == self._all_of:
            return Part(self.path, self.cassette, self.reader.rest(), is_recorded=is_recorded)
        with closing(self._opens(self.path)) as store:
            rows, has_more = self.look(store, waiting)
            is_recorded = store.is_being_recorded
        self._all_of = (None,) if has_more or self.going_on.intersection(waiting) else now
        growth = self.reader.growth
        left_out = growth.left_out
        growth.left_out = 0
        return Part(self.path, self.cassette, rows, has_more, is_recorded, left_out)

    def end(self) -> list[T]:
        """Return the rest, as if the recording ended now."""
        with closing(self._opens(self.path)) as store:
            return self.reader.end(store)

    def look(self, store: Store, waiting: Set[int] = frozenset()) -> tuple[list[T], bool]:
        """Return what is new in the opened file, and whether more can be read at once."""
        inode = self.path.stat().st_ino if self.path.exists() else None
        recordings = [one.started_at for one in store.recordings()]
        is_another = inode != self._inode or self._recordings != recordings[: len(self._recordings)]
        is_replaced = self.has_read and is_another
        self._inode = inode
        self._recordings = recordings
        if is_replaced or self._of not in (None, self.cassette):
            self.reader = self._make(None)
        self._of = None
        return self.reader.read(store, waiting)


class Follower(Generic[T]):
    """Follows the recording at `path`, a cassette or the link of a rotation. `make` makes the reader of a file.

    `begin`: where the reader of the newest file begins. With a number, the new events of older files that are still
    recorded are read, too. `bookmark`: of another follower, after which this one goes on; it reads all if the bookmark
    is of another cassette.
    """

    def __init__(
        self,
        path: Path,
        make: Callable[[Begin], Reader[T]],
        opens: Opens = OPENS,
        begin: int | None = None,
        bookmark: str | None = None,
    ) -> None:
        self._path = path
        self._begin = begin
        self._places = _places_in(bookmark or "")
        self._file: Callable[..., File[T]] = partial(File, make=make, opens=opens)
        self.files: list[File[T]] = []
        """The files that may grow, oldest first."""

    @property
    def has_read(self) -> bool:
        return any(file.has_read for file in self.files)

    @property
    def paths(self) -> list[Path]:
        return [file.path for file in self.files]

    @property
    def cassette(self) -> str:
        """The id of the newest cassette, after the first read."""
        return self.files[-1].cassette

    @property
    def bookmark(self) -> str:
        """The position, from which another follower can go on."""
        rotated = self._rotated
        return ";".join(_written(file, rotated.stamp(file.path) if rotated else None) for file in self.files)

    def growing(self) -> list[T]:
        """Return what is not final."""
        return [row for file in self.files for row in file.reader.growing()]

    def read(self) -> Batch[T]:
        """Return what is new. Raises `CassetteError`, and `UsageError` if a wanted session or stream is missing and no
        recorder runs."""
        newest = itself(self._path)
        self._look_for(newest)
        parts = list(self._parts())
        has_more = parts[-1].has_more
        is_recorded = any(part.is_recorded for part in parts)
        if not is_recorded and (now := itself(self._path)) != newest and now.exists():
            has_more = is_recorded = True  # a newer file has been created since the last look
        return Batch([part for part in parts if part.rows or part.left_out], has_more, is_recorded)

    def _parts(self) -> Iterator[Part[T]]:
        """Return what is new in each file, oldest first, up to a file with more than a read takes."""
        waiting = set[int]()
        for file in list(self.files):
            yield (part := file.read(waiting))
            if part.has_more:
                return
            waiting |= file.going_on
            if not part.is_recorded and file is not self.files[-1]:
                self.files.remove(file)

    def _look_for(self, newest: Path) -> None:
        """Update the files to read."""
        if not self.files:
            self.files = self._first(newest)
        last = self.files[-1].path
        if newest != last and newest.exists():
            between = self._rotated.between(last, newest) if self._rotated else []
            self.files += [self._file(path) for path in [*between, newest]]
        self.files = [file for file in self.files if file is self.files[-1] or file.path.exists()]

    def _first(self, newest: Path) -> list[File[T]]:
        rotated = self._rotated
        if not self._places:
            older = rotated.still_recorded() if rotated and self._begin is not None else []
            return [*(self._file(path, begin=0) for path in older), self._file(newest, begin=self._begin)]
        if rotated is None or not all(stamp for _, stamp, _ in self._places):
            cassette, _, cursor = self._places[-1]
            return [self._file(newest, begin=cursor, of=cassette)]
        return [
            self._file(rotated.named(stamp or ""), begin=cursor, of=cassette)
            for cassette, stamp, cursor in self._places
        ]

    @cached_property
    def _rotated(self) -> RotatedCassettes | None:
        """The rotated files beside the link, if the path is one."""
        with suppress(UsageError):
            return RotatedCassettes(self._path, Retention()) if self._path.is_symlink() else None
        return None


def _written(file: File[T], stamp: str | None) -> str:
    """Return the bookmark of one file. `stamp`: of a rotated file."""
    cassette = f"{file.cassette}@{stamp}" if stamp else file.cassette
    cursor = file.reader.growth.cursor
    return ",".join([cassette, str(cursor.highest), *(f"{stream}:{seq}" for stream, seq in cursor.at.items())])


def _places_in(bookmark: str) -> list[tuple[str, str | None, Cursor]]:
    """Return cassette, stamp and cursor of the files in a bookmark; nothing if the text is no bookmark."""
    places = []
    for one in bookmark.split(";"):
        if (found := _PLACE.fullmatch(one)) is None:
            return []
        cassette, stamp, highest, streams = found.groups()
        at = (pair.split(":") for pair in streams.split(",")[1:])
        places.append((cassette, stamp, Cursor(int(highest), {int(one): int(seq) for one, seq in at})))
    return places
