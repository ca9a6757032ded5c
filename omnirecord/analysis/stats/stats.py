"""The numbers of a cassette's sessions, read from the store: what `stats` prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ...cassette.open import open_store
from ...cassette.sqlite import Store
from ..gather import conclusions
from . import SessionStats, measure


def stats(cassette: str | Path, session: str | None = None) -> list[SessionStats]:
    """The numbers of each session of a cassette. Raises `UsageError` or `CassetteError`."""
    with closing(open_store(cassette)) as store:
        return list(measured(store, session))


def measured(store: Store, session: str | None = None) -> Iterator[SessionStats]:
    """The numbers of each session of each recording, or of the one that is meant; streams of no session one by one."""
    started = {one.recording: one.started_at for one in store.recordings()}
    for one, told, conclusion in conclusions(store, session):
        yield measure(
            one.exchanges, one.frames(), one.acts, started[told.recording], parent_id=told.parent_id,
            conclusion=conclusion,
        )  # fmt: skip
