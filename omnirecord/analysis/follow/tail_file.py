"""A recording followed by its file: it is looked every 50 ms whether the file has changed or its recorder has ended,
and only then it is opened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ...cassette.files import itself, stamp_of
from ...cassette.open import open_store
from ...cassette.sqlite import is_packed
from ...cassette.sqlite.lock import recorder_is_alive
from ...cassette.sqlite.schema import clear_errors
from ...errors import CassetteError, NotACassette, UsageError
from ...server.clock import monotonic
from ..listing import Row
from . import Batch, Follower, Wanted

POLL = 0.05
"""Seconds between looks."""
_BEGINNING = 5.0
"""Seconds that a recorder may take to make a cassette of a new file."""


def rows_of_file(
    path: Path, wanted: Wanted, last: int, *, retry: bool, say: Callable[[str], None], rest: Callable[[], None]
) -> Iterator[Row]:  # fmt: skip
    """See `follow`. With `retry`, also for a file that is not there yet, and for the next recording."""
    with clear_errors(path):
        if path.is_file() and is_packed(path):
            raise UsageError(f"{path} is compressed, so nothing is added to it: omnirecord events {path} shows it all")
    follower = Follower(path, wanted, last, opens=open_store)
    while True:
        if not path.exists():
            _missing(path, follower, retry=retry, say=say)
            if follower.has_read and not retry:
                return
            time.sleep(POLL)
            continue
        seen = _states(path, follower)
        batch = _read(follower, path)
        yield from batch.happenings
        if batch.has_more:
            continue
        rest()
        if not batch.is_recorded and not retry:
            say(f"no recorder writes to {path}: end of the recording")
            return
        say("" if batch.is_recorded else f"no recorder writes to {path}: waiting for the next recording")
        _wait(path, follower, seen)


def _missing(path: Path, follower: Follower, *, retry: bool, say: Callable[[str], None]) -> None:
    if follower.has_read:
        say(f"{path} is no longer there" + (": waiting for another one" if retry else ""))
    elif retry:
        say(f"waiting for {path}")
    else:
        raise NotACassette(f"{path} does not exist: name a cassette, or wait for it with --retry")


def _states(path: Path, follower: Follower) -> list[object]:
    """What changes when there is something to read; with None, when that cannot be told yet."""
    files = list(dict.fromkeys([itself(path), *follower.paths]))
    return [of for file in files for of in (file, *stamp_of(file), recorder_is_alive(file))]


def _wait(path: Path, follower: Follower, seen: list[object]) -> None:
    """Until there may be something new."""
    time.sleep(POLL)
    while None not in seen and path.exists() and _states(path, follower) == seen:
        time.sleep(POLL)


def _read(follower: Follower, path: Path) -> Batch:
    """A file that a recorder has just made is no cassette yet."""
    until = monotonic() + _BEGINNING
    while True:
        try:
            return follower.read()
        except CassetteError:
            if not recorder_is_alive(path) or monotonic() > until:
                raise
        time.sleep(POLL)
