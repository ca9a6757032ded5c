"""The sessions of a cassette, told: what `show` prints, as lines for a person or as one object a turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cassette import Exchange
from .errors import UsageError
from .store import Store
from .story import Session, act_of, session_of, turn_row
from .telling import tell


def lines_of(store: Store, session: str | None) -> Iterator[str]:
    """The lines of `show`. Raises `UsageError` where no session, or more than one, has that id."""
    return tell(sessions(store, session))


def rows_of(store: Store, session: str | None) -> Iterator[dict[str, Any]]:
    """The objects of `show --json`, one for each turn."""
    return (turn_row(turn) for told in sessions(store, session) for turn in told.turns)


def sessions(store: Store, session: str | None = None) -> Iterator[Session]:
    """Each session of each recording, told; streams that belong to no session are told one by one."""
    wanted = None if session is None else _the_session(store, session)
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


def _the_session(store: Store, name: str) -> str:
    known = sorted({x.session_id for x in store.exchanges("session_id IS NOT NULL") if x.session_id})
    found = [one for one in known if one == name] or [one for one in known if one.startswith(name)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join((found or known)[:5]) or "none"
    raise UsageError(f"{'several sessions begin' if found else 'no session begins'} with {name!r}: there are {listed}")
