"""What a cassette grows by, read again and again: for whoever follows a recording, by file or through its proxy.

`file` reads one cassette; the `Follower` goes on from file to file. It follows over a recorder that was killed, over
further recordings, and to a file that took the place of the one before. Where the path is a link that leads to another
file by now (`--rotate`), both are followed until the recorder has let the one before go, however long that takes; so
are those that were begun in between. Each read tells what is new in the oldest file first. A stream that has moved to
the next file waits there until all of it that is in the file before has been told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path

from ...cassette.files import itself
from ...cassette.rotation import RotatedCassettes
from ...cassette.sqlite import Store
from ...errors import UsageError
from ...wire.limits import Retention
from . import file as bookmarks
from .file import LAST, File
from .values import Batch, Cursor, Part, Wanted

__all__ = ["LAST", "Batch", "Follower", "Part", "Wanted"]


class Follower:
    """Follows the cassette at `path`: the `last` events that are there, then what comes. `opens` opens it.

    `most`: of more new events than these, a read tells only the last ones, and how many it left out.

    With the `bookmark` of another follower, what that had still to read; all there is, if it read another cassette.
    """

    def __init__(
        self, path: Path, wanted: Wanted, last: int = LAST, opens: Callable[[Path], Store] = Store.open,
        bookmark: str | None = None, most: int | None = None,
    ) -> None:  # fmt: skip
        self._path, self._last, self._places = path, last, bookmarks.read(bookmark or "")
        self._file = partial(File, wanted=wanted, opens=opens, most=most)
        self._files: list[File] = []

    @property
    def has_read(self) -> bool:
        return any(file.has_read for file in self._files)

    @property
    def paths(self) -> list[Path]:
        """The files in which there may be more to come, oldest first."""
        return [file.path for file in self._files]

    @property
    def cassette(self) -> str:
        """By which the newest one is told from another, once it was read."""
        return self._files[-1].cassette

    @property
    def bookmark(self) -> str:
        """How far it has read, for another follower to go on there."""
        rotated = self._rotated
        return bookmarks.write((file, rotated.stamp(file.path) if rotated else None) for file in self._files)

    def read(self) -> Batch:
        """Raises `CassetteError`; `UsageError` where nobody records, and what is asked for is not there."""
        newest = itself(self._path)
        self._look_for(newest)
        parts = list(self._parts())
        has_more, is_recorded = parts[-1].has_more, any(part.is_recorded for part in parts)
        if not is_recorded and self._is_followed_by_another(newest):
            has_more = is_recorded = True
        return Batch([part for part in parts if part.rows or part.requests or part.left_out], has_more, is_recorded)

    def _parts(self) -> Iterator[Part]:
        """What is new in each file, oldest first, until there is one that has more than a read takes."""
        waiting = set[int]()
        for file in list(self._files):
            yield (part := file.read(waiting))
            if part.has_more:
                return
            waiting |= file.going_on
            if not part.is_recorded and file is not self._files[-1]:
                self._files.remove(file)

    def _is_followed_by_another(self, newest: Path) -> bool:
        """Whether a file was begun since we looked: the one that was the newest then may have been let go."""
        now = itself(self._path)
        return now != newest and now.exists()

    def _look_for(self, newest: Path) -> None:
        """The files that are to be read now."""
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
        if rotated is None or not all(place.stamp for place in self._places):
            last = self._places[-1]
            return [self._file(newest, last.cursor, last.cassette)]
        return [self._file(rotated.named(x.stamp or ""), x.cursor, x.cassette) for x in self._places]

    @cached_property
    def _rotated(self) -> RotatedCassettes | None:
        """What a rotation made beside the link, if it is a link of one."""
        with suppress(UsageError):
            return RotatedCassettes(self._path, Retention()) if self._path.is_symlink() else None
        return None
