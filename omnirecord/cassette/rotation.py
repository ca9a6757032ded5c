"""The cassettes of a recorder that rotates: `run-20261125T101500Z.db`, each named after the second in which it began,
and `run.db`, a link to the newest.

No cassette is ever renamed: a reader is not disturbed, and a recorder that is killed at any moment leaves files that
open under their names. Only what a rotation made is ever removed: such a file has its own name in it. Each also has its
number in the order of recording, which counts wherever files are ordered: names go by a clock that may be set back.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..errors import CassetteError, UsageError
from ..server.timers import monotonic
from ..wire.limits import Retention
from .files import TemporaryFolder
from .sqlite import Writer
from .sqlite.lock import RecorderLock, recorder_is_alive
from .sqlite.schema import clear_errors, is_usable_path
from .sqlite.writer import beside, bytes_of, mark, number_made, shipped_to

log = logging.getLogger("omnirecord")

_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Unshipped:
    """Which cassettes `prune` keeps because no lake has them: those without a mark of the lake at `url`, up to `most`
    bytes together. `removes` is called with each cassette that is removed nevertheless, and its bytes."""

    url: str
    most: int
    removes: Callable[[Path, int], object]

    def has(self, path: Path) -> bool:
        """Whether the lake lacks a cassette."""
        return not any(mark.rpartition("#")[0] == self.url for mark in shipped_to(path))


class RotatedCassettes:
    """The cassettes beside `link`, and what is kept of them. Raises `UsageError` where `link` is no link of ours.

    `clock` is a steady one, in seconds.
    """

    def __init__(
        self, link: Path, keep: Retention, clock: Callable[[], float] = monotonic, unshipped: Unshipped | None = None
    ) -> None:  # fmt: skip
        is_usable_path(link)
        self.link, self._keep, self._clock, self._unshipped = link, keep, clock, unshipped
        self._written: dict[Path, float] = {}
        """When a file was seen being written here, on the steady clock."""
        self._name = re.compile(re.escape(link.stem) + "-([0-9]{8}T[0-9]{6}Z)" + re.escape(link.suffix))
        self._known: dict[tuple[str, int], int] = {}
        """The numbers of cassettes that a rotation made, by name and inode."""
        if os.path.lexists(link) and not self._is_ours(self._target()):
            raise UsageError(
                f"{link} is there already: with --rotate it is a link to the newest of {self._pattern}; name another"
                f" --db, or move it to another name"
            )

    @property
    def _pattern(self) -> str:
        return f"{self.link.stem}-TIME{self.link.suffix}"

    def _target(self) -> Path | None:
        """What the link points to, if that is the name of one of ours."""
        try:
            target = self.link.readlink()
        except OSError:
            return None
        is_name = target.parent == Path() and self._name.fullmatch(target.name)
        return self.link.with_name(target.name) if is_name else None

    def _is_ours(self, path: Path | None) -> bool:
        return path is not None and (not path.exists() or self._is_made(path))

    def current(self) -> Path | None:
        """The newest cassette, to go on in; None where there is none yet."""
        path = self._target()
        return path if path is not None and path.exists() else None

    def age(self, path: Path) -> float:
        """Seconds since a cassette was begun, by its name."""
        begun = datetime.strptime(self._name.fullmatch(path.name)[1], _STAMP).replace(tzinfo=UTC)  # type: ignore[index]
        return max(0.0, (datetime.now(UTC) - begun).total_seconds())

    def begin(self, salt: bytes | None = None) -> Writer:
        """A new cassette, with this salt of pseudonyms. Raises `CassetteError`."""
        writer = Writer(self._free_name())
        try:
            assert writer.path is not None
            with clear_errors(writer.path):
                number = self._next_number()
                mark(writer.connection, writer.path.name, number)
                self._known[writer.path.name, writer.path.stat().st_ino] = number
                writer.salt(salt)
        except BaseException:
            self.discard(writer)
            raise
        return writer

    def _next_number(self) -> int:
        return max((self._number(path) or 0 for path in self._named()), default=0) + 1

    def _free_name(self) -> Path:
        at = datetime.now(UTC)
        while True:
            path = self.named(at.strftime(_STAMP))
            if not os.path.lexists(path) and not recorder_is_alive(path):  # else it is just being removed
                return path
            at += timedelta(seconds=1)

    def discard(self, writer: Writer) -> None:
        """Away with one that was begun and cannot be used."""
        writer.close()
        with suppress(OSError):
            assert writer.path is not None
            writer.path.unlink()

    def point(self, path: Path) -> None:
        """The link leads to `path` from now on. Raises `CassetteError`."""
        with clear_errors(self.link):
            if os.path.lexists(self.link) and not self.link.is_symlink():
                raise UsageError(f"{self.link} is no longer a link: somebody has put a file in its place")
            with TemporaryFolder("link", self.link.parent) as folder:
                new = Path(folder) / self.link.name
                new.symlink_to(path.name)
                new.replace(self.link)

    def all(self) -> list[Path]:
        """Return the cassettes, the oldest first. Raises `CassetteError`."""
        return self._in_order(self._named())

    def left_behind(self) -> list[Path]:
        """Cassettes that killed recorders did not finish, but for the current one."""
        current = self.current()
        logs = (path for path in self._full(current) if path.with_name(path.name + "-wal").exists())
        return [path for path in logs if not recorder_is_alive(path)]

    def still_recorded(self) -> list[Path]:
        """Those that somebody records into, but for the current one, oldest first."""
        current = self.current()
        held = [path for path in self._named() if path != current and recorder_is_alive(path)]
        return self._in_order(held)

    def between(self, older: Path, newer: Path) -> list[Path]:
        """Those that were begun after one and before the other, oldest first."""
        first, last = ((self._number(path) or 0, path.name) for path in (older, newer))
        return [path for path in self._in_order(self._named()) if first < (self._number(path) or 0, path.name) < last]

    def stamp(self, path: Path) -> str | None:
        """When one of ours was begun, as its name says it."""
        found = self._name.fullmatch(path.name)
        return found and found[1]

    def named(self, stamp: str) -> Path:
        """The one that was begun then, whether it is there or not."""
        return self.link.with_name(f"{self.link.stem}-{stamp}{self.link.suffix}")

    def _full(self, current: Path | None) -> list[Path]:
        """All but the current one, oldest first."""
        return self._in_order([path for path in self._named() if path != current])

    def _in_order(self, paths: list[Path]) -> list[Path]:
        """Those of them that a rotation made, in the order in which they were begun."""
        numbers = ((self._number(path), path) for path in paths)
        return [path for _, path in sorted((number, path) for number, path in numbers if number is not None)]

    def _named(self) -> list[Path]:
        """The files with a name of ours, sorted by it."""
        with clear_errors(self.link.parent):
            names = sorted(entry.name for entry in os.scandir(self.link.parent))
        return [self.link.with_name(name) for name in names if self._name.fullmatch(name)]

    def _is_made(self, path: Path) -> bool:
        return self._number(path) is not None

    def _number(self, path: Path) -> int | None:
        """The number of a cassette that a rotation made, as `number_made` says it."""
        try:
            key = path.name, path.lstat().st_ino
        except OSError:
            return None
        number = self._known.get(key)  # one that is just being made has no mark yet
        if number is None and path.is_file() and not path.is_symlink():
            number = number_made(path)
            if number is not None:
                self._known[key] = number
        return number

    def prune(self, writing: set[Path], *, spares_unshipped: bool = False) -> None:
        """Remove what is not to be kept, oldest first; none of those that are being written, here or elsewhere.

        `spares_unshipped`: keep all that no lake has. Raises `CassetteError` where one cannot be removed.
        """
        self._written |= dict.fromkeys(writing, self._clock())
        full = self._full(self.current())
        sizes = {path: bytes_of(path) for path in full}
        total = sum(sizes.values()) + sum(bytes_of(path) for path in writing if path not in sizes)
        excess = []
        for number, path in enumerate(full):
            too_many = self._keep.files is not None and len(full) - number > self._keep.files
            too_large = self._keep.size is not None and total > self._keep.size
            if (too_many or too_large or self._is_too_old(path)) and path not in writing:
                if self._unshipped is not None and self._unshipped.has(path):
                    excess.append(path)
                elif not self._remove(path):
                    continue
                total -= sizes[path]
        if self._unshipped is not None and not spares_unshipped:
            self._remove_excess(self._unshipped, excess, sizes)

    def _remove_excess(self, unshipped: Unshipped, excess: list[Path], sizes: dict[Path, int]) -> None:
        """Remove the oldest cassettes that no lake has, until the others have no more than the allowed bytes."""
        total = sum(sizes[path] for path in excess)
        for path in excess:
            if total > unshipped.most and self._remove(path):
                total -= sizes[path]
                unshipped.removes(path, sizes[path])

    def _is_too_old(self, path: Path) -> bool:
        """By the file's time; for a file written here by the steady clock, too, as the system's may be set ahead."""
        if self._keep.seconds is None or time.time() - path.stat().st_mtime <= self._keep.seconds:
            return False
        return self._clock() - self._written.get(path, -math.inf) > self._keep.seconds

    def _remove(self, path: Path) -> bool:
        try:
            lock = RecorderLock(path)
        except CassetteError:
            return False  # somebody records into it
        try:
            with clear_errors(path):
                path.unlink()
                for other in beside(path):
                    other.unlink(missing_ok=True)
        finally:
            lock.release()
        self._written.pop(path, None)
        log.info("removed %s: --keep", path.name)
        return True
