"""A file that is being written, without a recorder thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from omnirecord.omnigent.contract import load
from omnirecord.recorder.files import RecordingFile, RecordingFiles
from omnirecord.recorder.rows.frames import FrameMaker
from omnirecord.wire.limits import Retention


@contextmanager
def file_in(db: Path) -> Iterator[RecordingFile]:
    judge = load("omnigent")
    files = RecordingFiles(db, judge, None, None, Retention(), lambda: 0, None, partial(FrameMaker, contract=judge))
    try:
        yield files.current
    finally:
        files.close()
