"""Whether a recorder is alive: an advisory lock (flock) on `CASSETTE-lock`, held for as long as it writes, and another
one on the cassette itself (`inodes`), which also holds for other names of the same file.

The operating system drops both when the process dies, however it dies. The first is needed while there is no cassette
yet, and on systems that have only this one.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from ...errors import CassetteInUse, NotACassette
from ..files import itself
from .compressed import JOURNAL
from .inodes import FileLock, identity, in_use, is_recorded

_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def lock_path(cassette: Path) -> Path:
    """Beside the file itself, whichever link to it was named."""
    cassette = itself(cassette)
    return cassette.with_name(cassette.name + "-lock")


class RecorderLock:
    """Held by a recorder. Raises `CassetteInUse` if another one has it, `NotACassette` if its path is no such file."""

    def __init__(self, cassette: Path) -> None:
        self._path = lock_path(cassette)
        self._fd = self._acquire(cassette)
        self._file: FileLock | None = None

    def _acquire(self, cassette: Path) -> int:
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
                os.close(fd)
                raise CassetteInUse(
                    f"{cassette} is being recorded by another omnirecord: choose another --db, or stop that one"
                ) from None
            if self._still_there(fd):
                return fd
            os.close(fd)  # its last owner removed it between our open and our lock

    def lock_file(self, cassette: Path) -> None:
        """Lock the file itself, once it is there and before it is opened. Raises `CassetteInUse`."""
        self._file = FileLock(cassette)
        if not self._file.is_taken:
            raise CassetteInUse(
                f"{cassette} is being recorded by another omnirecord under another name of the same file, such as a"
                " hard link: choose another --db, or stop that one"
            )

    def _still_there(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    def release(self) -> None:
        if self._file is not None:
            self._file.release()
        if self._still_there(self._fd):  # else it was removed, and may be another recorder's by now
            self._path.unlink(missing_ok=True)
        os.close(self._fd)


def recorder_is_alive(cassette: Path) -> bool:
    """Whether some process records into `cassette` now, under this name or another one of the same file."""
    return is_locked_beside(cassette) or is_recorded(cassette)


def is_locked_beside(cassette: Path) -> bool:
    """Whether some process records into `cassette` under this name. Opens the lock file for reading only."""
    try:
        fd = os.open(lock_path(cassette), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # which may be a pipe
    except OSError:
        return False
    try:
        return not _try_shared(fd)
    finally:
        os.close(fd)


def _try_shared(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def refuse_other_name(path: Path) -> None:
    """Raise `CassetteInUse` for another name of a file that is being recorded: its log lies beside the first name."""
    if is_recorded(path) and not is_locked_beside(path) and not _log_beside(path).exists():
        raise CassetteInUse(
            f"{path} is another name, such as a hard link, of a cassette that is being recorded: read it under the name"
            " that the recorder uses, or wait until it is done"
        )


def _log_beside(path: Path) -> Path:
    path = itself(path)
    return path.with_name(path.name + "-wal")


def refuse_log_elsewhere(path: Path) -> None:
    """Raise `NotACassette` for a file with several names whose log may lie beside another one: writing without the log
    would damage the cassette."""
    if path.stat().st_nlink == 1 or _log_beside(path).exists() or in_use(identity(path)):
        return
    with path.open("rb") as file:
        has_log = file.read(20)[JOURNAL] == b"\2\2"
    if has_log:
        raise NotACassette(
            f"{path} was left by a killed recorder and has another name, such as a hard link, beside which its log may"
            " lie: append to it under that name, or to a copy of it"
        )
