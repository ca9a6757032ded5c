"""Counts the connections of this process by device and inode of the file, and locks a recorder's file itself.

The lock file beside a cassette belongs to a path. A hard link, or a file that is mounted elsewhere, is the same file
under another path. So a recorder also locks one byte of the file, which no connection of SQLite's locks. The kernel
keeps that lock by inode, and drops it when the process dies. It is a lock of the open file description: SQLite releases
all other locks of its process on the file whenever it ends a transaction.

Whenever a process closes any descriptor of a file, the kernel drops the POSIX locks of that process on it, SQLite's
too. So a descriptor of ours is closed only while no connection of this process is on the file.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import struct
import threading
from pathlib import Path
from typing import Any

Identity = tuple[int, int]
"""Device and inode."""

_BYTE = 0x40000000 + 1024
"""Behind the 512 bytes that SQLite locks, from 1 GiB on."""
_FLOCK = "hhqqi0q"
"""`struct flock` as Linux has it: type, whence, start, length, process."""
_SET, _GET = getattr(fcntl, "F_OFD_SETLK", None), getattr(fcntl, "F_OFD_GETLK", None)
"""None if the system has no such locks; then only the lock file counts."""

_LOCK = threading.RLock()
_connections: dict[Identity, int] = {}
_recorded: set[Identity] = set()
_idle: dict[Identity, list[int]] = {}
"""Descriptors of files with connections that are needed no more, or only to test a lock."""


def identity(path: Path) -> Identity:
    found = os.stat(path)  # noqa: PTH116  # called for each opening, of which it is a good part
    return found.st_dev, found.st_ino


def in_use(file: Identity) -> bool:
    """Whether this process has a connection on the file. Such a file is a database, and is opened in no other way."""
    return file in _connections


class _Connection(sqlite3.Connection):
    """A connection that is counted until it is closed."""

    file: Identity | None = None

    def close(self) -> None:
        super().close()
        self._uncount()

    def __del__(self) -> None:
        self._uncount()  # else a later file of the same number would be taken for this one

    def _uncount(self) -> None:
        if self.file is not None:
            _uncount(self.file)
            self.file = None


def connect(path: Path, mode: str, **options: Any) -> sqlite3.Connection:
    """A connection to an existing file, in SQLite's `mode`. Raises `sqlite3.Error` or `OSError`."""
    file = identity(path)
    with _LOCK:
        _connections[file] = _connections.get(file, 0) + 1
    try:
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        made = sqlite3.connect(uri, uri=True, check_same_thread=False, factory=_Connection, **options)
    except BaseException:
        _uncount(file)
        raise
    made.file = file
    return made


def _uncount(file: Identity) -> None:
    with _LOCK:
        _connections[file] -= 1
        if not _connections[file]:
            del _connections[file]
            for descriptor in _idle.pop(file, ()):
                os.close(descriptor)


def _put_away(file: Identity, descriptor: int) -> None:
    with _LOCK:
        if in_use(file):
            _idle.setdefault(file, []).append(descriptor)
        else:
            os.close(descriptor)


class FileLock:
    """A recorder's lock on a file. `is_taken` is false if another recorder has it."""

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = None
        self._file = identity(path)
        with _LOCK:
            self.is_taken = self._file not in _recorded and self._take(path)
            if self.is_taken:
                _recorded.add(self._file)

    def _take(self, path: Path) -> bool:
        if _SET is None:
            return True
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        self._file = _identity_of(descriptor)
        try:
            _command(_SET, descriptor, fcntl.F_WRLCK)
        except (BlockingIOError, PermissionError):
            _put_away(self._file, descriptor)
            return False
        except OSError:  # a file system without locks
            _put_away(self._file, descriptor)
            return True
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Release the lock; call it when the recorder's connection is closed."""
        with _LOCK:
            if self.is_taken:
                _recorded.discard(self._file)
            if self._descriptor is not None and _SET is not None:
                _command(_SET, self._descriptor, fcntl.F_UNLCK)
                _put_away(self._file, self._descriptor)
            self.is_taken, self._descriptor = False, None


def is_recorded(path: Path) -> bool:
    """Whether a recorder writes this file, under any name."""
    try:
        found = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(found.st_mode):
            return False
        with _LOCK:
            return (found.st_dev, found.st_ino) in _recorded or _is_locked(path, (found.st_dev, found.st_ino))
    except OSError:
        return False


def _is_locked(path: Path, file: Identity) -> bool:
    if _GET is None:
        return False
    kept = _idle.get(file)
    if kept:
        return _locked_by_another(kept[-1])
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return _locked_by_another(descriptor)
    finally:
        _put_away(_identity_of(descriptor), descriptor)


def _locked_by_another(descriptor: int) -> bool:
    assert _GET is not None
    answer = _command(_GET, descriptor, fcntl.F_WRLCK)
    return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)


def _command(command: int, descriptor: int, kind: int) -> bytes:
    return fcntl.fcntl(descriptor, command, struct.pack(_FLOCK, kind, os.SEEK_SET, _BYTE, 1, 0))


def _identity_of(descriptor: int) -> Identity:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino
