"""The user's pseudonym key, which is never in a cassette, and the key of one cassette, which is derived from it.

A cassette holds a random salt. Its key is an HMAC of that salt under the user's key. So a cassette alone confirms no
guess of a secret, and the pseudonyms of two cassettes do not match.
"""

from __future__ import annotations

import fcntl
import hmac
import logging
import os
import re
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

VARIABLE = "OMNIRECORD_PSEUDONYM_KEY"
"""Environment variable that names the key file, if no option does."""
SALT_BYTES = 16
_KEY_BYTES = 32
_HEX = re.compile(rb"[0-9a-fA-F]{64}\s*")
_LONGEST = 4096
"""Most bytes that are read from a key file."""

log = logging.getLogger("omnirecord")

File = str | os.PathLike[str]


@dataclass(frozen=True)
class UserKey:
    """The key from which the keys of cassettes are derived. `is_kept`: the next run has the same key."""

    secret: bytes
    is_kept: bool = True

    def of(self, salt: bytes) -> bytes:
        """Return the key of the cassette with this salt."""
        return hmac.digest(self.secret, b"omnirecord cassette\0" + salt, "sha256")


def mark_of(cassette_key: bytes) -> bytes:
    """Return eight bytes that distinguish keys of a cassette without revealing them."""
    return hmac.digest(cassette_key, b"omnirecord mark", "sha256")[:8]


def user_key(named: File | None = None) -> UserKey:
    """Return the key in the file `named`, in `VARIABLE`'s file, or in the user's state folder; make it if missing. If
    the state folder cannot be written, the key is for this run only. Raises `UsageError` if the file cannot be used."""
    given = named or os.environ.get(VARIABLE)
    if given:
        path = Path(given)
        try:
            return UserKey(_read(path) or _make(path))
        except OSError as error:
            raise UsageError(f"the pseudonym key {path} cannot be used: {error.strerror or error}") from error
    try:
        path = state_folder() / "pseudonym-key"
        return UserKey(_read(path) or _make(path))
    except (OSError, RuntimeError) as error:
        if isinstance(error, PermissionError) and os.path.exists(path):  # noqa: PTH110  # `Path.exists` may raise
            raise UsageError(f"the pseudonym key {path} cannot be read: check its owner and mode") from error
        log.warning(
            "no pseudonym key can be stored (%s): this run uses a key of its own, so its pseudonyms differ from those"
            " of other runs; name a key file with --pseudonym-key or %s",
            getattr(error, "strerror", None) or str(error),
            VARIABLE,
        )
        return UserKey(os.urandom(_KEY_BYTES), is_kept=False)


def state_folder() -> Path:
    """Return the folder for persistent data of this user. Raises `RuntimeError` if the user has no home folder."""
    given = os.environ.get("XDG_STATE_HOME", "")
    if given.startswith("/"):  # a relative path does not count
        return Path(given) / "omnirecord"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "omnirecord"
    return Path.home() / ".local" / "state" / "omnirecord"


def _read(path: Path) -> bytes | None:
    """Return the key in a file; None if there is no file, or an empty one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # the path may be a pipe
    except FileNotFoundError:
        return None
    try:
        return _checked(descriptor, path, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _make(path: Path) -> bytes:
    """Return a new key in a new file, mode 0600; or the key of another process that made the file first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        return _checked(descriptor, path, fcntl.LOCK_EX) or _fill(descriptor)
    finally:
        os.close(descriptor)


def _fill(descriptor: int) -> bytes:
    key = os.urandom(_KEY_BYTES)
    text = key.hex().encode() + b"\n"
    os.lseek(descriptor, 0, os.SEEK_SET)
    if os.write(descriptor, text) != len(text):
        os.ftruncate(descriptor, 0)
        raise OSError(0, "no space left for it")
    os.fsync(descriptor)
    return key


def _checked(descriptor: int, path: Path, lock: int) -> bytes | None:
    """Return the key in an open file; None if it is empty. Raises `UsageError` for any other content."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"the pseudonym key {path} is no regular file: name another file")
    if found.st_mode & 0o077:
        raise UsageError(f"other users may open the pseudonym key {path}: restrict it with chmod 600 {path}")
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, lock)
    text = os.read(descriptor, _LONGEST)
    if not text:
        return None
    if not _HEX.fullmatch(text):
        raise UsageError(
            f"{path} holds no pseudonym key, which is 64 hexadecimal digits: name another file, or a new one"
        )
    return bytes.fromhex(text.decode().strip())
