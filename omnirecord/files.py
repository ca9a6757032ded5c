"""Writing a file so that it is there whole or not at all; and which file is meant."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import UsageError


def itself(path: Path) -> Path:
    """What a link leads to; any other path as it is, since the folders above it may be closed to us."""
    return path.resolve() if path.is_symlink() else path


@contextmanager
def whole_or_not(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once everything is written. Raises `UsageError` where it cannot be."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # two processes may write the same one
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
