"""A file that is being written, without a tape that writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from omnirecord.omnigent.contract import load
from omnirecord.recorder.files import Reel, Reels
from omnirecord.recorder.rows.exchanges import FrameMaker
from omnirecord.wire.limits import Retention


@contextmanager
def reel_in(db: Path) -> Iterator[Reel]:
    judge = load("omnigent")
    reels = Reels(db, judge, None, None, Retention(), lambda: 0, None, partial(FrameMaker, contract=judge))
    try:
        yield reels.current
    finally:
        reels.close()
