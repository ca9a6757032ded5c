"""The sessions of a cassette, told: what `show` prints, as lines for a person or as one object a turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cassette import Exchange
from .choosing import the_session
from .store import Store
from .story import Session, act_of, session_of, turn_row
from .telling import WIDTH, tell


def lines_of(store: Store, session: str | None, width: int = WIDTH) -> Iterator[str]:
    """The lines of `show`. Raises `UsageError` where no session, or more than one, has that id."""
    return tell(sessions(store, session), width=width)


def rows_of(store: Store, session: str | None) -> Iterator[dict[str, Any]]:
    """The objects of `show --json`, one for each turn."""
    return (turn_row(turn) for told in sessions(store, session) for turn in told.turns)


def sessions(store: Store, session: str | None = None) -> Iterator[Session]:
    """Each session of each recording, told; streams that belong to no session are told one by one."""
    wanted = None if session is None else the_session(store, session)
    parents = store.parents()
    for exchanges in _grouped(store):
        if wanted in (None, exchanges[0].session_id):
            yield _told(store, exchanges, parents)


def _told(store: Store, exchanges: list[Exchange], parents: dict[str, str]) -> Session:
    frames = (frame for x in exchanges if x.stream is not None for frame in store.frames(x))
    found = (act_of(x, store.body(x.exchange, "request"), store.body(x.exchange, "response")) for x in exchanges)
    acts = [act for act in found if act is not None]
    return session_of(exchanges, frames, acts, parent_id=parents.get(exchanges[0].session_id or ""))


def _grouped(store: Store) -> Iterator[list[Exchange]]:
    """The exchanges of each session in each recording, in the order in which sessions began."""
    groups: dict[tuple[int, object], list[Exchange]] = {}
    for x in store.exchanges("party != 'runner'"):
        if x.session_id is not None:
            groups.setdefault((x.recording, x.session_id), []).append(x)
        elif x.kind == "sse":
            groups[x.recording, x.exchange] = [x]
    yield from groups.values()
