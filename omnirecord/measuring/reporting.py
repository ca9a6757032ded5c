"""The numbers of a cassette's sessions, read from the store: what `stats` prints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ..choosing import the_session
from ..gathering import Held, acts_in, grouped
from ..library import open_store
from ..store import Store
from . import SessionStats, measure


def stats(cassette: str | Path, session: str | None = None) -> list[SessionStats]:
    """The numbers of each session of a cassette. Raises `UsageError` or `CassetteError`."""
    with closing(open_store(cassette)) as store:
        return list(measured(store, session))


def measured(store: Store, session: str | None = None) -> Iterator[SessionStats]:
    """The numbers of each session of each recording, or of the one that is meant; streams of no session one by one."""
    wanted = None if session is None else the_session(store, session)
    started, parents = {one.recording: one.started_at for one in store.recordings()}, store.parents()
    for exchanges in grouped(store.exchanges()):
        if wanted in (None, first := exchanges[0].session_id):
            frames = Held().of(frame for x in exchanges if x.stream is not None for frame in store.frames(x))
            yield measure(
                exchanges, frames, list(acts_in(store, exchanges)), started[exchanges[0].recording],
                parent_id=parents.get(first or ""),
            )  # fmt: skip
