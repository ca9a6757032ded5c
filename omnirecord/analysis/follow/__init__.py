"""Follows a cassette while it grows, across rotated files. `file` reads one cassette, the `Follower` all of them.

It goes on after a killed recorder, with further recordings, and with a file that replaces the one before. If the path
is a link of `--rotate`, a rotated file is followed until its recorder has closed it, together with the newer ones. Each
read begins with the oldest file. A stream that goes on in the next file waits until all of it in the file before has
been read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path

from ...cassette.files import itself
from ...cassette.rotation import RotatedCassettes
from ...cassette.sqlite import Store
from ...errors import UsageError
from ...wire.limits import Retention
from .file import LAST, Batch, Cursor, File, Part, Wanted

__all__ = ["LAST", "Batch", "Follower", "Part", "Wanted"]
_PLACE = re.compile(r"([0-9a-f]{8})(?:@([0-9]{8}T[0-9]{6}Z))?,([0-9]{1,15})((?:,[0-9]{1,15}:[0-9]{1,15})*)")
"""A cursor for one followed file in a bookmark: cassette, stamp, highest stream, and the last frame of open streams."""
_OPENS = partial(Store.open, follows=True)


class Follower:
    """Follows the cassette at `path`: the `last` recorded events, then each new one. `opens` opens it.

    `most`: number of new events that a read returns, at most; earlier ones are skipped and counted. `bookmark`: of
    another follower, after which this one goes on; it reads all events if the bookmark is of another cassette.
    """

    def __init__(
        self, path: Path, wanted: Wanted, last: int = LAST, opens: Callable[[Path], Store] = _OPENS,
        bookmark: str | None = None, most: int | None = None,
    ) -> None:  # fmt: skip
        self._path, self._last, self._places = path, last, _places_in(bookmark or "")
        self._file = partial(File, wanted=wanted, opens=opens, most=most)
        self._files: list[File] = []

    @property
    def has_read(self) -> bool:
        return any(file.has_read for file in self._files)

    @property
    def paths(self) -> list[Path]:
        """The files that may grow, oldest first."""
        return [file.path for file in self._files]

    @property
    def cassette(self) -> str:
        """The id of the newest cassette, after the first read."""
        return self._files[-1].cassette

    @property
    def bookmark(self) -> str:
        """The position, from which another follower can go on."""
        rotated = self._rotated
        return ";".join(_written(file, rotated.stamp(file.path) if rotated else None) for file in self._files)

    def read(self) -> Batch:
        """Return the new rows. Raises `CassetteError`, and `UsageError` if a wanted session or stream is missing and no
        recorder runs."""
        newest = itself(self._path)
        self._look_for(newest)
        parts = list(self._parts())
        has_more, is_recorded = parts[-1].has_more, any(part.is_recorded for part in parts)
        if not is_recorded and (now := itself(self._path)) != newest and now.exists():
            has_more = is_recorded = True  # a newer file has been created since the last look
        return Batch([part for part in parts if part.rows or part.left_out], has_more, is_recorded)

    def _parts(self) -> Iterator[Part]:
        """Return the new rows of each file, oldest first, up to a file with more than a read takes."""
        waiting = set[int]()
        for file in list(self._files):
            yield (part := file.read(waiting))
            if part.has_more:
                return
            waiting |= file.going_on
            if not part.is_recorded and file is not self._files[-1]:
                self._files.remove(file)

    def _look_for(self, newest: Path) -> None:
        """Update the files to read."""
        if not self._files:
            self._files = self._first(newest)
        last = self._files[-1].path
        if newest != last and newest.exists():
            between = self._rotated.between(last, newest) if self._rotated else []
            self._files += [self._file(path, Cursor()) for path in [*between, newest]]
        self._files = [file for file in self._files if file is self._files[-1] or file.path.exists()]

    def _first(self, newest: Path) -> list[File]:
        rotated = self._rotated
        if not self._places:
            older = rotated.still_recorded() if rotated else []
            return [*(self._file(path, last=0) for path in older), self._file(newest, last=self._last)]
        if rotated is None or not all(stamp for _, stamp, _ in self._places):
            cassette, _, cursor = self._places[-1]
            return [self._file(newest, cursor, cassette)]
        return [self._file(rotated.named(stamp or ""), cursor, cassette) for cassette, stamp, cursor in self._places]

    @cached_property
    def _rotated(self) -> RotatedCassettes | None:
        """The rotated files beside the link, if the path is one."""
        with suppress(UsageError):
            return RotatedCassettes(self._path, Retention()) if self._path.is_symlink() else None
        return None


def _written(file: File, stamp: str | None) -> str:
    """Return the bookmark of one file. `stamp`: of a rotated file."""
    at, cursor = f"@{stamp}" if stamp else "", file.cursor or Cursor()
    return ",".join([file.cassette + at, str(cursor.highest), *(f"{at}:{seq}" for at, seq in cursor.at.items())])


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
