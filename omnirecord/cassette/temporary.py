"""Temporary folders, each locked by its process, so that those of killed processes are found and removed.

A folder has a name of ours, belongs to the user and has mode 0700. Its process holds an advisory lock on it. `sweep`
removes only such folders that no process locks and that are a minute old; it follows no link.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

AGE = 60.0
"""Seconds after which a folder without a lock belongs to a killed process: making and locking take microseconds."""
_NAMES = re.compile(r"(?<=/)\.?omnirecord\.[a-z]+\.[a-z0-9_]{8}(?=/)")
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TemporaryFolder(tempfile.TemporaryDirectory[str]):
    """A folder in the temporary directory, or a hidden one in `dir`; gone after `cleanup`, or at the end of `with`.

    `kind` is part of its name: lower-case letters. Folders of killed processes beside it are removed. Raises `OSError`.
    """

    def __init__(self, kind: str, dir: Path | None = None) -> None:
        sweep(dir)
        super().__init__(prefix=f"{'' if dir is None else '.'}omnirecord.{kind}.", dir=dir, ignore_cleanup_errors=True)
        self._descriptor: int | None = None
        with suppress(OSError):  # a file system without locks, on which nothing is swept
            self._descriptor = os.open(self.name, _OPEN)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def cleanup(self) -> None:
        super().cleanup()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def sweep(folder: Path | None = None, now: Callable[[], float] = time.time) -> None:
    """Remove the folders of killed processes in the temporary directory, or in `folder`. Raises nothing."""
    with suppress(OSError):
        parent = os.open(tempfile.gettempdir() if folder is None else folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = os.listdir(parent)  # noqa: PTH208  # of a folder that is open
            for name in _NAMES.findall(f"/{'/'.join(names)}/"):  # at once: there may be very many
                _sweep_one(parent, name, now())
        finally:
            os.close(parent)


def _sweep_one(parent: int, name: str, now: float) -> None:
    with suppress(OSError):
        descriptor = os.open(name, _OPEN, dir_fd=parent)
        try:
            found = os.fstat(descriptor)
            mode = stat.S_IMODE(found.st_mode) & ~stat.S_ISGID  # a setgid folder hands that bit down
            is_ours = found.st_uid == os.geteuid() and mode == 0o700
            if is_ours and now - found.st_mtime > AGE:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error where a process holds it
                _empty(descriptor)
                os.rmdir(name, dir_fd=parent)
        finally:
            os.close(descriptor)


def _empty(descriptor: int) -> None:
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.name, dir_fd=descriptor)
            else:
                os.unlink(entry.name, dir_fd=descriptor)
