"""The sessions of a cassette, told: what `show` prints, as lines for a person or as one object a turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cassette import Exchange
from .choosing import the_session
from .store import Store
from .story import Aftermath, Session, Snapshot, act_of, is_snapshot, may_act, session_of, snapshot_of, turn_row
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
    parents, aftermaths = store.parents(), _aftermaths(store)
    for exchanges in _grouped(store):
        if wanted in (None, exchanges[0].session_id):
            parent = parents.get(exchanges[0].session_id or "")
            yield _told(store, exchanges, parent, aftermaths[exchanges[0].recording])


def _told(store: Store, exchanges: list[Exchange], parent_id: str | None, aftermath: Aftermath) -> Session:
    frames = (frame for x in exchanges if x.stream is not None for frame in store.frames(x))
    acting = (x for x in exchanges if may_act(x))
    found = (act_of(x, store.body(x.exchange, "request"), store.body(x.exchange, "response")) for x in acting)
    acts = [act for act in found if act is not None]
    return session_of(
        exchanges, frames, acts, parent_id=parent_id, snapshot=_snapshot(store, exchanges), aftermath=aftermath
    )


def _snapshot(store: Store, exchanges: list[Exchange]) -> Snapshot | None:
    """The last one that a client asked for."""
    asked = next((x for x in reversed(exchanges) if is_snapshot(x)), None)
    return None if asked is None else snapshot_of(asked, store.body(asked.exchange, "response"))


def _aftermaths(store: Store) -> dict[int, Aftermath]:
    by_recording: dict[int, list[Exchange]] = {}
    for x in store.exchanges():
        by_recording.setdefault(x.recording, []).append(x)
    return {recording: Aftermath(exchanges) for recording, exchanges in by_recording.items()}


def _grouped(store: Store) -> Iterator[list[Exchange]]:
    """The exchanges of each session in each recording, in the order in which sessions began."""
    groups: dict[tuple[int, object], list[Exchange]] = {}
    for x in store.exchanges("party != 'runner'"):
        if x.session_id is not None:
            groups.setdefault((x.recording, x.session_id), []).append(x)
        elif x.kind == "sse":
            groups[x.recording, x.exchange] = [x]
    yield from groups.values()
