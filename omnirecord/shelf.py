"""The cassettes of a recorder that rotates: `run-20261125T101500Z.db`, each named after the second in which it began,
and `run.db`, a link to the newest.

No cassette is ever renamed: whoever reads one is not disturbed, and a recorder that is killed at any moment leaves
files that open under their names. Only what a rotation made is ever removed: such a file has its own name in it.
"""

from __future__ import annotations

import logging
import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .errors import CassetteError, UsageError
from .limits import Retention
from .store import Writer
from .store.lock import RecorderLock, recorder_is_alive
from .store.made import beside, bytes_of, is_made_by_rotation, mark
from .store.schema import clear_errors, is_usable_path

log = logging.getLogger("omnirecord")

_STAMP = "%Y%m%dT%H%M%SZ"


class Shelf:
    """The cassettes beside `link`, and what is kept of them. Raises `UsageError` where `link` is no link of ours."""

    def __init__(self, link: Path, keep: Retention) -> None:
        is_usable_path(link)
        self.link, self._keep = link, keep
        self._name = re.compile(re.escape(link.stem) + "-([0-9]{8}T[0-9]{6}Z)" + re.escape(link.suffix))
        self._known: set[tuple[str, int]] = set()
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
            with clear_errors(writer.path or self.link):
                mark(writer.connection, writer.path.name)  # type: ignore[union-attr]
                writer.salt(salt)
        except BaseException:
            self.discard(writer)
            raise
        return writer

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
            new = self.link.with_name(f".{self.link.name}.{os.getpid()}.link")
            with suppress(FileNotFoundError):
                new.unlink()
            new.symlink_to(path.name)
            new.replace(self.link)

    def left_behind(self) -> list[Path]:
        """Cassettes that killed recorders did not finish, but for the current one."""
        current = self.current()
        logs = (path for path in self._full(current) if path.with_name(path.name + "-wal").exists())
        return [path for path in logs if not recorder_is_alive(path)]

    def still_recorded(self) -> list[Path]:
        """Those that somebody records into, but for the current one, oldest first."""
        current = self.current()
        held = (path for path in self._named() if path != current and recorder_is_alive(path))
        return [path for path in held if self._is_made(path)]

    def between(self, older: Path, newer: Path) -> list[Path]:
        """Those that were begun after one and before the other, oldest first."""
        return [path for path in self._named() if older.name < path.name < newer.name and self._is_made(path)]

    def stamp(self, path: Path) -> str | None:
        """When one of ours was begun, as its name says it."""
        found = self._name.fullmatch(path.name)
        return found and found[1]

    def named(self, stamp: str) -> Path:
        """The one that was begun then, whether it is there or not."""
        return self.link.with_name(f"{self.link.stem}-{stamp}{self.link.suffix}")

    def _full(self, current: Path | None) -> list[Path]:
        """All but the current one, oldest first."""
        return [path for path in self._named() if path != current and self._is_made(path)]

    def _named(self) -> list[Path]:
        """What has a name of ours, by that in the order in which they were begun."""
        with clear_errors(self.link.parent):
            names = sorted(entry.name for entry in os.scandir(self.link.parent))
        return [self.link.with_name(name) for name in names if self._name.fullmatch(name)]

    def _is_made(self, path: Path) -> bool:
        try:
            inode = path.lstat().st_ino
        except OSError:
            return False
        known = (path.name, inode) in self._known  # one that is just being made has no mark yet
        if not known and path.is_file() and not path.is_symlink() and is_made_by_rotation(path):
            self._known.add((path.name, inode))
            return True
        return known

    def prune(self, writing: set[Path]) -> None:
        """Remove what is not to be kept, oldest first; none of those that are being written, here or elsewhere.

        Raises `CassetteError` where one cannot be removed.
        """
        full = self._full(self.current())
        sizes = {path: bytes_of(path) for path in full}
        total = sum(sizes.values()) + sum(bytes_of(path) for path in writing if path not in sizes)
        for number, path in enumerate(full):
            too_many = self._keep.files is not None and len(full) - number > self._keep.files
            too_large = self._keep.size is not None and total > self._keep.size
            if (too_many or too_large or self._is_too_old(path)) and path not in writing and self._remove(path):
                total -= sizes[path]

    def _is_too_old(self, path: Path) -> bool:
        return self._keep.seconds is not None and time.time() - path.stat().st_mtime > self._keep.seconds

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
        log.info("removed %s: --keep", path.name)
        return True
