"""The server of one test: from what it asks for to a replay, or to a recording that is kept if it passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ..cassette.temporary import TemporaryFolder
from ..errors import NotACassette, UsageError
from ..replayer.blocking import Server
from ..replayer.server import Replay
from .paths import checked_for_recording
from .recording import Recording, keep, keep_failed
from .settings import Settings


@dataclass(frozen=True, slots=True)
class Case:
    """A test that asks for a server. `upstream`, `passed` and `failed` are called when they are needed."""

    node_id: str
    cassette: Path
    upstream: Callable[[], str]
    has_upstream: bool
    passed: Callable[[], bool]
    failed: Callable[[], bool]


@contextmanager
def served(case: Case, settings: Settings) -> Iterator[Server]:
    """A running server. Raises `UsageError`, `CassetteError` or `ServerError`."""
    if settings.record == "all" or (settings.record == "once" and not case.cassette.exists()):
        with _recorded(case, settings) as server:
            yield server
        return
    if not case.cassette.exists():
        raise NotACassette(f"{case.cassette} does not exist{_how_to_record_it(case, settings)}")
    replay = Replay(case.cassette, **settings.replay)
    replay.logs_misses = False  # a failed test shows them, once
    with _running(Server(replay)) as server:
        yield server


@contextmanager
def _recorded(case: Case, settings: Settings) -> Iterator[Server]:
    path = checked_for_recording(case.cassette)
    if settings.replay.get("faults"):
        raise UsageError(
            f"{path} cannot be recorded by a test with faults, a live server makes no faults to order: let another"
            " test record it, and give this one record='none'"
        )
    with TemporaryFolder("test") as folder:
        db = Path(folder) / "recording.db"
        recording = Recording(case.upstream(), db, **settings.recording)
        with _running(Server(cast("Replay", recording))) as server:
            yield server
        if case.passed():
            keep(db, path)
        elif case.failed():
            keep_failed(db, path)


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _how_to_record_it(case: Case, settings: Settings) -> str:
    options = "--omnirecord-record=once" + ("" if case.has_upstream else " --omnirecord-upstream=URL")
    if settings.only_replays:
        return f", and this test does not record it: run the one that does, first, with {options}"
    return f": record it with `pytest '{case.node_id}' {options}`"
