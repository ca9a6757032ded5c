"""The cassettes of a rotating recorder: `run-20261125T101500Z.db`, named after the second of its start, and `run.db`, a
link to the newest.

No cassette is renamed, so readers are not disturbed, and a killed recorder leaves files that open under their names.
Only files that a rotation made are removed: such a file holds its own name. It also holds its number in the order of
recording. Files are ordered by that number, since the clock in their names may be set back.
"""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..errors import CassetteError, UsageError
from ..server.timers import monotonic
from ..wire.limits import Retention
from .files import TemporaryFolder, sibling
from .sqlite import Writer
from .sqlite.connection import clear_errors, is_usable_path
from .sqlite.lock import RecorderLock, recorder_is_alive
from .sqlite.writer import beside, bytes_of, holds_nothing, mark, number_made, shipped_to

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
    """The cassettes beside `link`; `keep` limits them. Raises `UsageError` if `link` is no link of a rotation. `clock`
    is monotonic, in seconds."""

    def __init__(
        self, link: Path, keep: Retention, clock: Callable[[], float] = monotonic, unshipped: Unshipped | None = None
    ) -> None:
        is_usable_path(link)
        self.link = link
        self._keep = keep
        self._clock = clock
        self._unshipped = unshipped
        self._written: dict[Path, float] = {}
        """Last time at which this process wrote a file, by `clock`."""
        self._name = re.compile(re.escape(link.stem) + "-([0-9]{8}T[0-9]{6}Z)" + re.escape(link.suffix))
        self._known: dict[tuple[str, int], int] = {}
        """Numbers of cassettes that a rotation made, by name and inode."""
        target = self._target()
        is_ours = target is not None and (not target.exists() or self._number(target) is not None)
        if os.path.lexists(link) and not is_ours:
            raise UsageError(
                f"{link} is there already: with --rotate it is a link to the newest of {link.stem}-TIME{link.suffix};"
                " name another --db, or move it to another name"
            )

    def _target(self) -> Path | None:
        """Return the target of the link, if it has the name of a rotated cassette."""
        try:
            target = self.link.readlink()
        except OSError:
            return None
        is_name = target.parent == Path() and self._name.fullmatch(target.name)
        return self.link.with_name(target.name) if is_name else None

    def current(self) -> Path | None:
        """Return the newest cassette, in which recording continues; None if there is none."""
        path = self._target()
        return path if path is not None and path.exists() else None

    def age(self, path: Path) -> float:
        """Return the age of a cassette in seconds, by its name."""
        begun = datetime.strptime(self._name.fullmatch(path.name)[1], _STAMP).replace(tzinfo=UTC)  # type: ignore[index]
        return max(0.0, (datetime.now(UTC) - begun).total_seconds())

    def begin(self, salt: bytes | None = None) -> Writer:
        """Return a writer of a new cassette with this salt of pseudonyms. Raises `CassetteError`."""
        writer = Writer(self._free_name())
        try:
            assert writer.path is not None
            with clear_errors(writer.path):
                number = max((self._number(path) or 0 for path in self._named()), default=0) + 1
                mark(writer.connection, writer.path.name, number)
                self._known[writer.path.name, writer.path.stat().st_ino] = number
                writer.salt(salt)
        except BaseException:
            writer.discard()
            raise
        return writer

    def _free_name(self) -> Path:
        at = datetime.now(UTC)
        while True:
            path = self.named(at.strftime(_STAMP))
            if not os.path.lexists(path) and not recorder_is_alive(path):  # else its removal has begun
                return path
            at += timedelta(seconds=1)

    def point(self, path: Path) -> None:
        """Let the link lead to `path`. Raises `CassetteError`."""
        with clear_errors(self.link):
            if os.path.lexists(self.link) and not self.link.is_symlink():
                raise UsageError(f"{self.link} is no longer a link: another program has put a file in its place")
            with TemporaryFolder("link", self.link.parent) as folder:
                new = Path(folder) / self.link.name
                new.symlink_to(path.name)
                new.replace(self.link)

    def all(self, *, but: Path | None = None) -> list[Path]:
        """Return the cassettes, except `but`, the oldest first. Raises `CassetteError`."""
        return self._in_order([path for path in self._named() if path != but])

    def left_behind(self) -> list[Path]:
        """Return the cassettes that killed recorders did not finish, except the current one."""
        full = self.all(but=self.current())
        return [one for one in full if sibling(one, "-wal").exists() and not recorder_is_alive(one)]

    def remove_begun(self) -> None:
        """Remove the files that killed recorders had only begun: they have no number and hold nothing. Call it while
        the recorder of the link has its own file open: then no other recorder begins one. Raises `CassetteError`."""
        for path in self._named():
            with clear_errors(path):
                if path.is_file() and not path.is_symlink() and self._number(path) is None and holds_nothing(path):
                    self._remove(path, "its recorder was killed before it recorded anything")

    def still_recorded(self) -> list[Path]:
        """Return the cassettes with a running recorder, oldest first, except the current one."""
        current = self.current()
        return self._in_order([path for path in self._named() if path != current and recorder_is_alive(path)])

    def between(self, older: Path, newer: Path) -> list[Path]:
        """Return the cassettes between two others, oldest first."""
        first, last = ((self._number(path) or 0, path.name) for path in (older, newer))
        return [path for path in self.all() if first < (self._number(path) or 0, path.name) < last]

    def stamp(self, path: Path) -> str | None:
        """Return the start time in the name of a cassette; None for another name."""
        found = self._name.fullmatch(path.name)
        return found and found[1]

    def named(self, stamp: str) -> Path:
        """Return the path of the cassette with this start time; it need not exist."""
        return self.link.with_name(f"{self.link.stem}-{stamp}{self.link.suffix}")

    def _in_order(self, paths: list[Path]) -> list[Path]:
        """Return those of the paths that a rotation made, in the order of recording."""
        numbers = ((self._number(path), path) for path in paths)
        return [path for _, path in sorted((number, path) for number, path in numbers if number is not None)]

    def _named(self) -> list[Path]:
        """Return the files with the name of a rotated cassette, sorted by name."""
        with clear_errors(self.link.parent):
            names = sorted(entry.name for entry in os.scandir(self.link.parent))
        return [self.link.with_name(name) for name in names if self._name.fullmatch(name)]

    def _number(self, path: Path) -> int | None:
        """Return the number of a cassette as `number_made` does, from the cache if possible."""
        try:
            key = path.name, path.lstat().st_ino
        except OSError:
            return None
        number = self._known.get(key)  # a new cassette has no mark yet
        if number is None and path.is_file() and not path.is_symlink() and (number := number_made(path)) is not None:
            self._known[key] = number
        return number

    def prune(self, writing: set[Path], *, spares_unshipped: bool = False) -> None:
        """Remove cassettes beyond the limits, oldest first, but none that a recorder writes, here or elsewhere.
        `spares_unshipped`: keep all that no lake has. Raises `CassetteError` if a file cannot be removed."""
        self._written |= dict.fromkeys(writing, self._clock())
        full = self.all(but=self.current())
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
        if self._unshipped is None or spares_unshipped:
            return
        total = sum(sizes[path] for path in excess)
        for path in excess:  # oldest first, until the others have no more than the allowed bytes
            if total > self._unshipped.most and self._remove(path):
                total -= sizes[path]
                self._unshipped.removes(path, sizes[path])

    def _is_too_old(self, path: Path) -> bool:
        """Whether its modification time is too old, and for a file of this process also its monotonic age."""
        if self._keep.seconds is None or time.time() - path.stat().st_mtime <= self._keep.seconds:
            return False
        return self._clock() - self._written.get(path, -math.inf) > self._keep.seconds

    def _remove(self, path: Path, why: str = "--keep") -> bool:
        try:
            lock = RecorderLock(path)
        except CassetteError:
            return False  # another recorder has it open
        try:
            with clear_errors(path):
                path.unlink()
                for other in beside(path):
                    other.unlink(missing_ok=True)
        finally:
            lock.release()
        self._written.pop(path, None)
        log.info("removed %s: %s", path.name, why)
        return True
