"""Writes output files atomically, and makes temporary folders that survive no process.

A regular file is replaced after all data is written. A pipe, a device or an open descriptor is written to and never
replaced. A symbolic link is followed, as a shell does for `>`: its target is written, and the link stays.

A temporary folder has a fixed name pattern, belongs to the user and has mode 0700. Its process holds an advisory lock
on it. `sweep` removes only such folders that no process locks and that are a minute old; it follows no link.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import shlex
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO

from ..errors import UsageError

AGE = 60.0
"""Seconds after which a folder without a lock belongs to a killed process; making and locking take microseconds."""
_NAMES = re.compile(r"(?<=/)\.?omnirecord\.[a-z]+\.[a-z0-9_]{8}(?=/)")
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DESCRIPTORS = ("/proc/self/fd", "/proc/thread-self/fd", "/dev/fd")
"""Folders with the open descriptors of this process."""
_PIECE = 1 << 20
_LITTLE = 1 << 16
"""Free bytes below which a file system counts as full."""
_SETTLED_NS = 100_000_000
"""Least age of a change, in ns, for a further change to show in the file time."""


class TemporaryFolder(tempfile.TemporaryDirectory[str]):
    """A folder in the temporary directory, or a hidden one in `dir`; gone after `cleanup`, or at the end of `with`.
    `kind` is part of its name: lower-case letters. Folders of killed processes beside it are removed. Raises
    `OSError`."""

    def __init__(self, kind: str, dir: Path | None = None) -> None:
        sweep(dir)
        super().__init__(prefix=f"{'' if dir is None else '.'}omnirecord.{kind}.", dir=dir, ignore_cleanup_errors=True)
        self._descriptor: int | None = None
        with suppress(OSError):  # a file system without locks: nothing is swept
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
            for name in _NAMES.findall(f"/{'/'.join(names)}/"):  # one search: there may be many names
                _sweep_one(parent, name, now())
        finally:
            os.close(parent)


def _sweep_one(parent: int, name: str, now: float) -> None:
    with suppress(OSError):
        descriptor = os.open(name, _OPEN, dir_fd=parent)
        try:
            found = os.fstat(descriptor)
            mode = stat.S_IMODE(found.st_mode) & ~stat.S_ISGID  # a setgid folder passes that bit on
            is_ours = found.st_uid == os.geteuid() and mode == 0o700
            if is_ours and now - found.st_mtime > AGE:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if a process holds the lock
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


def itself(path: Path) -> Path:
    """Return the target of a link; any other path unchanged, since its parent folders may be unreadable."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def checked_new(path: Path) -> Path:
    """Return the path of a new cassette to record into. Raises `UsageError` if it exists, or is no `.db`."""
    if path.suffix in (".jsonl", ".zst"):
        raise UsageError(f"{path} cannot be recorded into: record a .db, and then omnirecord export FILE.db -o {path}")
    if os.path.lexists(path):
        raise UsageError(f"{path} exists already, and a new cassette is written: name another file, or remove it")
    if path.suffix != ".db":
        raise UsageError(f"{path} is no .db, and a recording is an SQLite file: name it {path.with_suffix('.db')}")
    return path


def sibling(path: Path, ending: str) -> Path:
    """Return the path of the file beside `path`, or beside its target, whose name has this ending more."""
    file = itself(path)
    return file.with_name(file.name + ending)


@contextmanager
def whole_or_not(path: Path) -> Iterator[BinaryIO]:
    """Open a file for the new content of `path`.

    A regular file is replaced after everything is written, and is unchanged after an error. Other files are written to.
    The new file has the mode and owner of the old file, or mode 0600. It is made in a hidden folder beside `path`; the
    next output there removes the folder of a killed process. Raises `UsageError` if `path` cannot be written, and
    `BrokenPipeError` if the reader of a pipe is gone.
    """
    descriptor = _opened(path)
    if descriptor is not None:
        with io.BufferedWriter(_Raw(descriptor, path)) as file:
            yield file
        return
    target = _target(path)
    with ExitStack() as stack:
        with _trouble(path):
            folder = stack.enter_context(TemporaryFolder("partial", target.parent))
            descriptor, name = tempfile.mkstemp(dir=folder)
        with io.BufferedWriter(_Raw(descriptor, path)) as file:
            yield file
            file.flush()
            with _trouble(path):
                os.fsync(descriptor)
        put(Path(name), path)


def put(made: Path, path: Path) -> None:
    """Replace `path` by a finished file, or write its bytes there if `path` is no regular file. The new file gets the
    mode and, if allowed, the owner of the old one. `made` is on the same file system, in the folder that `room_for`
    returns. Raises as `whole_or_not` does."""
    descriptor = _opened(path)
    if descriptor is not None:
        with io.BufferedWriter(_Raw(descriptor, path)) as file:
            file.writelines(pieces_of(made))
        return
    target = _target(path)
    with _trouble(path):
        with suppress(FileNotFoundError):
            before = target.stat()
            if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):
                    os.chown(made, before.st_uid, before.st_gid)
            made.chmod(stat.S_IMODE(before.st_mode) & 0o777)
        made.replace(target)


def pieces_of(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, 1 MiB at a time."""
    with path.open("rb") as file:
        yield from iter(lambda: file.read(_PIECE), b"")


def room_for(path: Path) -> Path | None:
    """Return the folder for a new file that `put` moves to `path`; None if `path` is no regular file. Raises
    `UsageError` if `path` cannot be written."""
    with _trouble(path):
        if _descriptor(path) is not None or (path.exists() and not path.is_file() and not path.is_dir()):
            return None
    descriptor = _opened(path)
    if descriptor is not None:  # a device has just replaced a file
        os.close(descriptor)
        return None
    return _target(path).parent


def is_stdout(path: Path) -> bool:
    """Whether `path` is the pipe or file that this process prints to."""
    with suppress(OSError):
        found = path.stat()
        return not stat.S_ISCHR(found.st_mode) and os.path.samestat(found, os.fstat(1))
    return False


def is_of_the_disk(error: OSError) -> bool:
    """Whether the disk is full or read-only, or a quota or a limit is reached."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def unwritable(path: Path | str, error: OSError) -> str:
    """Return a sentence that says why `path` cannot be written. For a full disk, it names the file system."""
    if error.errno == errno.ENOSPC:
        return no_room(Path(path))
    hint = _HINTS.get(error.errno or 0, "").format(mount=mount_of(Path(path)))
    return f"cannot write {path}: {error.strerror or error}{hint and f' ({hint})'}"


_HINTS = {
    errno.EDQUOT: "your quota on {mount} is used up: remove something there, or write to another disk",
    errno.EFBIG: "`ulimit -f`, or the file system at {mount}, allows no larger file",
    errno.EROFS: "choose a path outside {mount}",
    errno.EIO: "check the disk at {mount}",
    errno.EISDIR: "name a file in it",
    errno.ENOENT: "make the folder first",
    errno.ENOTDIR: "a part of the path is a file",
    errno.ELOOP: "symbolic links lead in a circle: remove one of them",
    errno.ENXIO: "it is a socket, or a device without a driver: name a file or a pipe",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "check the owner and the mode of the file and of its folder"),
}


def no_room(*paths: Path) -> str:
    """Return a sentence that names the full file system: the first one of `paths` without room."""
    path = next((one for one in paths if not has_room(one)), paths[0])
    why = f"No space left on device: the file system at {mount_of(path)} is full"
    return f"cannot write {path}: {why}. Make room there, or write to another one"


def has_room(path: Path) -> bool:
    """Whether the file system of `path` has free blocks."""
    with suppress(OSError):
        found = os.statvfs(_nearest(path))
        return not found.f_blocks or found.f_bavail * found.f_frsize >= _LITTLE
    return True


def mount_of(path: Path) -> Path:
    """Return the mount point of the file system of `path`, which need not exist."""
    place = _nearest(path)
    return next(one for one in (place, *place.parents) if one.is_mount())


def temporary() -> Path:
    """Return the temporary folder, even if it cannot be written."""
    with suppress(OSError):
        return Path(tempfile.gettempdir())
    return Path(os.environ.get("TMPDIR") or "/tmp")


def folder_for(output: Path | None, kind: str) -> TemporaryFolder:
    """Return a folder beside `output` for a file that `put` moves there. Without an output, or if that is no regular
    file, it is in the temporary folder. Raises `UsageError`."""
    beside = None if output is None else room_for(output)
    try:
        return TemporaryFolder(kind, beside)
    except OSError as error:
        raise UsageError(unwritable(temporary() if output is None or beside is None else output, error)) from error


def kept_recording(recording: Path, path: Path, error: UsageError) -> UsageError:
    """Move a recording out of its temporary folder, because `path`, which should get it, cannot be written. Return an
    error that also says where the recording is now. Within a file system, the move needs no room."""
    folder = recording.parent
    kept = folder.with_name(f"omnirecord-{path.stem}-{folder.name[-8:]}.db")
    recording.rename(kept)
    how = f"is kept: omnirecord export {shlex.join([str(kept), '-o', str(path)])}"
    return UsageError(f"{error}. The recording {how if path.suffix == '.jsonl' else f'is kept in {kept}'}")


@contextmanager
def copied_aside(path: Path, purpose: str) -> Iterator[None]:
    """Wrap the making of a temporary copy of `path`: raises `UsageError` if the temporary folder has no room."""
    try:
        yield
    except OSError as error:
        where = temporary()
        place = f"; the file system at {mount_of(where)} is full" if error.errno == errno.ENOSPC else ""
        raise UsageError(
            f"{path} has to be {purpose}, and cannot be in {where} ({error.strerror or error}{place}): set TMPDIR to a"
            " folder with room for it"
        ) from error


class _Raw(io.FileIO):
    """A file for writing, whose errors are sentences about `path`. It owns the descriptor."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "wb")
        self._path = path

    def write(self, data: object) -> int:
        with _trouble(self._path):
            return super().write(data)  # type: ignore[arg-type]


def _opened(path: Path) -> int | None:
    """Return a descriptor for writing to `path`; None if it is a regular file or does not exist. A regular file is
    opened too, unchanged: a file that the user cannot write is not replaced."""
    with _trouble(path):
        number = _descriptor(path)
        try:
            found = os.dup(number) if number is not None else os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
    if number is None and stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        return None
    if os.isatty(found):
        os.close(found)
        raise UsageError(f"{path} is a terminal, which may act on recorded data: name a file or a pipe")
    return found


def _descriptor(path: Path) -> int | None:
    """Return the descriptor of this process that `path` names, as /dev/stdout and /dev/fd/3 do; else None. Such a path
    names no file, even if a file is open there: the shell opened it, perhaps to append."""
    ours = [os.path.realpath(folder) for folder in _DESCRIPTORS]
    for _ in range(40):  # most symbolic links in a path, as in Linux
        folder = os.path.realpath(path.parent)
        if folder in ours and path.name.isascii() and path.name.isdecimal():
            return int(path.name)
        try:
            path = Path(folder) / path.readlink()
        except OSError:  # no link
            return None
    return None


def _target(path: Path) -> Path:
    """Return the file to replace: the target of a link. Raises `UsageError` for a circle of links."""
    target = itself(path)
    if path.is_symlink() and target.is_symlink():
        raise UsageError(unwritable(path, OSError(errno.ELOOP, os.strerror(errno.ELOOP))))
    return target


def _nearest(path: Path) -> Path:
    """Return the path, or its nearest existing parent folder."""
    place = Path(os.path.realpath(path))
    there = os.path.exists  # `Path.exists` may raise
    return next(one for one in (place, *place.parents) if there(one))


@contextmanager
def _trouble(path: Path) -> Iterator[None]:
    """Convert system errors about `path` to a sentence, except for a closed pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(unwritable(path, error)) from error


def stamp_of(cassette: Path) -> tuple[int, list[int] | None]:
    """Return the inode, and the sizes and times in ns of the file and its log; None if they have just changed. Call it
    before opening the cassette, so that a write in between shows as a change."""
    found = []
    for path in (cassette, sibling(cassette, "-wal")):
        with suppress(OSError):
            found.append(path.stat())
    if not found:
        return 0, None
    is_settled = time.time_ns() - max(one.st_mtime_ns for one in found) > _SETTLED_NS
    return found[0].st_ino, [n for one in found for n in (one.st_size, one.st_mtime_ns)] if is_settled else None


def free_path(path: Path) -> Path:
    """Return a path for a new cassette: `path` if it is free or an empty file, else a numbered path beside it."""
    others = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return next(one for one in chain([path], others) if not (one.exists() and one.stat().st_size))
