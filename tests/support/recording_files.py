"""A file that is being written, without a recorder thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omnirecord.omnigent.contract import load
from omnirecord.recorder.files import Hop, RecordingFile, RecordingFiles
from omnirecord.wire.limits import Retention


@contextmanager
def file_in(db: Path) -> Iterator[RecordingFile]:
    hops = [Hop(None, None, load("omnigent"))]
    files = RecordingFiles(db, hops, None, Retention(), lambda: 0, None)
    try:
        yield files.current
    finally:
        files.close()
