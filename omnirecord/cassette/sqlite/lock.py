"""Tells whether a recorder is alive, and counts the SQLite connections of this process.

A recorder holds two advisory locks. `flock` on `CASSETTE-lock` belongs to a path; it is needed before the cassette
exists, and on systems that have only this lock. A hard link, or a file that is mounted elsewhere, is the same file
under another path. So a recorder also locks one byte of the cassette itself, which no connection of SQLite locks. The
kernel keeps that lock by inode. It is a lock of the open file description: SQLite releases all other locks of its
process on the file after each transaction. The kernel drops both locks when the process dies.

If a process closes any descriptor of a file, the kernel drops all POSIX locks of that process on it, SQLite's too.
Therefore a descriptor is closed only while this process has no connection to the file.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import CassetteInUse, NotACassette
from ..files import sibling

Identity = tuple[int, int]
"""Device and inode."""
JOURNAL = slice(18, 20)
"""Bytes of a database header that say that it has a log; a compressed database has none."""

_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_BYTE = 0x40000000 + 1024
"""Offset of the locked byte. SQLite locks 512 bytes from 1 GiB on."""
_FLOCK = "hhqqi0q"
"""`struct flock` of Linux: type, whence, start, length, process."""
_SET = getattr(fcntl, "F_OFD_SETLK", None)
_GET = getattr(fcntl, "F_OFD_GETLK", None)
"""None on a system without such locks; then only the lock file counts."""

SHIPPER_WITHIN = 60.0
"""Seconds in which a shipper has read a cassette: then its lock is no longer waited for."""
_SHIPPER = b"ship"
"""Content of the lock file of a shipper; that of a recorder is empty."""
_WANTED = b"+"
"""It follows in the lock file of a shipper while a recorder waits for it."""

_LOCK = threading.RLock()
_connections: dict[Identity, int] = {}
_recorded: set[Identity] = set()
_idle: dict[Identity, list[int]] = {}
"""Descriptors that stay open while the process has a connection to the file."""


def identity(path: Path | int) -> Identity:
    """Return the device and inode of a file, by its path or a descriptor. Raises `OSError`."""
    found = os.stat(path)  # noqa: PTH116  # `Path.stat` would take a good part of each opening
    return found.st_dev, found.st_ino


def in_use(file: Identity) -> bool:
    """Whether this process has a connection to the file. Such a file is a database; do not open it in another way."""
    return file in _connections


class _Connection(sqlite3.Connection):
    """An SQLite connection that is counted until it is closed."""

    file: Identity | None = None

    def close(self) -> None:
        super().close()
        self._uncount()

    def __del__(self) -> None:
        self._uncount()  # otherwise a later file with the same inode would count as open

    def _uncount(self) -> None:
        if self.file is not None:
            _uncount(self.file)
            self.file = None


def connect(path: Path, mode: str, **options: Any) -> sqlite3.Connection:
    """Return a connection to an existing file, in SQLite's `mode`. Raises `sqlite3.Error` or `OSError`."""
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


def is_recorded(path: Path) -> bool:
    """Whether a recorder writes this file, under any name."""
    with suppress(OSError):
        found = os.stat(path)  # noqa: PTH116
        file = found.st_dev, found.st_ino
        with _LOCK:
            return stat.S_ISREG(found.st_mode) and (file in _recorded or _is_locked(path, file))
    return False


def _is_locked(path: Path, file: Identity) -> bool:
    if _GET is None:
        return False
    if kept := _idle.get(file):
        return _locked_by_another(kept[-1])
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return _locked_by_another(descriptor)
    finally:
        _put_away(identity(descriptor), descriptor)


def _locked_by_another(descriptor: int) -> bool:
    assert _GET is not None
    answer = _command(_GET, descriptor, fcntl.F_WRLCK)
    return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)


def _command(command: int, descriptor: int, kind: int) -> bytes:
    return fcntl.fcntl(descriptor, command, struct.pack(_FLOCK, kind, os.SEEK_SET, _BYTE, 1, 0))


def lock_path(cassette: Path) -> Path:
    """Return the path of the lock file, which lies beside the cassette and not beside a link to it."""
    return sibling(cassette, "-lock")


class RecorderLock:
    """The two locks of a recorder. `is_shipper`: one that reads a closed cassette, and holds off recorders meanwhile. A
    lock of a shipper is waited for, up to `SHIPPER_WITHIN` seconds. Raises `CassetteInUse` if another recorder holds
    the lock file, `NotACassette` if that path is no regular file."""

    def __init__(self, cassette: Path, *, is_shipper: bool = False) -> None:
        self._path = lock_path(cassette)
        self._fd = self._acquire(cassette, is_shipper)
        self._file: Identity | None = None
        """The cassette, while it is locked itself."""
        self._descriptor: int | None = None
        os.truncate(self._fd, 0)
        if is_shipper:
            os.write(self._fd, _SHIPPER)

    def _acquire(self, cassette: Path, for_shipper: bool) -> int:
        until = time.monotonic() + SHIPPER_WITHIN
        while True:
            fd = os.open(self._path, _OPEN, 0o600)
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
                raise NotACassette(
                    f"{self._path} is a pipe or a device, and has to be the recorder's lock file: remove it, or choose"
                    " another --db"
                )
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                is_shipper = _content(fd).startswith(_SHIPPER)
                if is_shipper and not for_shipper:
                    os.pwrite(fd, _WANTED, len(_SHIPPER))
                os.close(fd)
                if is_shipper and time.monotonic() < until:
                    time.sleep(0.02)
                    continue
                raise CassetteInUse(
                    f"{cassette} is being recorded by another omnirecord: name another file, or stop that one"
                ) from None
            if self._still_there(fd):
                return fd
            os.close(fd)  # the last owner removed it between our open and our lock

    def lock_file(self, cassette: Path) -> None:
        """Lock the cassette itself, after it is created and before it is opened. Raises `CassetteInUse`."""
        with _LOCK:
            file = identity(cassette)
            taken = None if file in _recorded else self._take(cassette, file)
            if taken is None:
                raise CassetteInUse(
                    f"another omnirecord records {cassette} under another name of the same file, such as a hard link:"
                    " choose another --db, or stop that one"
                )
            self._file = taken
            _recorded.add(taken)

    def _take(self, cassette: Path, file: Identity) -> Identity | None:
        """Lock the byte of the cassette; return which file that is, or None if another recorder holds it."""
        if _SET is None:
            return file
        descriptor = os.open(cassette, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        file = identity(descriptor)
        try:
            _command(_SET, descriptor, fcntl.F_WRLCK)
        except OSError as error:
            _put_away(file, descriptor)
            is_held = isinstance(error, (BlockingIOError, PermissionError))  # else a file system without locks
            return None if is_held else file
        self._descriptor = descriptor
        return file

    def _still_there(self, fd: int) -> bool:
        with suppress(FileNotFoundError, NotADirectoryError):
            return os.path.samestat(os.fstat(fd), self._path.stat())
        return False

    def release(self) -> None:
        """Release both locks and remove the lock file; call it when the recorder's connection is closed."""
        with _LOCK:
            if self._descriptor is not None and _SET is not None:
                _command(_SET, self._descriptor, fcntl.F_UNLCK)
                _put_away(identity(self._descriptor), self._descriptor)
            if self._file is not None:
                _recorded.discard(self._file)
            self._file = self._descriptor = None
        if self._still_there(self._fd):  # otherwise it may belong to another recorder
            self._path.unlink(missing_ok=True)
        os.close(self._fd)


def recorder_is_alive(cassette: Path) -> bool:
    """Whether a process records into `cassette` now, or waits for a shipper to do so, under this or another name of the
    same file."""
    return is_locked_beside(cassette) or is_recorded(cassette)


def is_locked_beside(cassette: Path) -> bool:
    """Whether a process records into `cassette` under this name, or waits for a shipper to do so. Opens the lock file
    for reading only."""
    try:
        fd = os.open(lock_path(cassette), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # the path may be a pipe
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
        return False
    except OSError:
        return _content(fd) != _SHIPPER
    finally:
        os.close(fd)


def _content(fd: int) -> bytes:
    return os.pread(fd, len(_SHIPPER + _WANTED), 0)


def refuse_other_name(path: Path) -> None:
    """Raise `CassetteInUse` if the recorder uses another name of the file: the log lies beside that name."""
    if is_recorded(path) and not is_locked_beside(path) and not sibling(path, "-wal").exists():
        raise CassetteInUse(
            f"{path} is another name (such as a hard link) of a cassette that is being recorded. Read it under the"
            " recorder's name, or wait until it is done"
        )


def refuse_log_elsewhere(path: Path) -> None:
    """Raise `NotACassette` for a file with several names whose log may lie beside another name. Writing without the log
    would damage the cassette."""
    if path.stat().st_nlink == 1 or sibling(path, "-wal").exists() or in_use(identity(path)):
        return
    with path.open("rb") as file:
        has_log = file.read(20)[JOURNAL] == b"\2\2"
    if has_log:
        raise NotACassette(
            f"{path} was left by a killed recorder and has another name (such as a hard link). Its log may lie beside"
            " that name: append to it under that name, or to a copy of it"
        )
