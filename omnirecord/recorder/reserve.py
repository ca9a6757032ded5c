"""Space on the disk for the last rows of a recording: a file beside the cassette, which gives way on a full disk.

A full disk takes no row, not even the row that says how many bytes are missing. So the recorder keeps some space and
gives it up in two steps: the first for the note that the disk is full, the second for the last rows of the recording.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..cassette.files import sibling

SIZE = 512 * 1024
"""Bytes of the reserve: the last rows of about 200 exchanges, in pages of 16 KiB."""
FOR_A_NOTE = 128 * 1024
"""Bytes that the first step gives up."""


class Reserve:
    """The reserve of one cassette. Its methods raise nothing: without a reserve, the recording goes on."""

    def __init__(self, cassette: Path) -> None:
        self._path = _path_of(cassette)
        self.fill()

    def fill(self) -> None:
        """Take the space, if the disk has it."""
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o600)
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(descriptor, 0, SIZE)
                else:
                    os.write(descriptor, bytes(SIZE))
            finally:
                os.close(descriptor)

    def give_some(self) -> None:
        """Give up the space for a note."""
        with suppress(OSError):
            if self._path.stat().st_size > SIZE - FOR_A_NOTE:
                os.truncate(self._path, SIZE - FOR_A_NOTE)

    def give_all(self) -> None:
        """Give up all of it, and remove the file."""
        with suppress(OSError):
            self._path.unlink()


def remove_left(cassette: Path) -> None:
    """Remove the reserve that a killed recorder left."""
    with suppress(OSError):
        _path_of(cassette).unlink()


def _path_of(cassette: Path) -> Path:
    return sibling(cassette, "-reserve")
