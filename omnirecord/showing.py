"""The sessions of a cassette, told: what `show` prints, as lines for a person or as one object a turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .gathering import Gathered, gathered
from .store import Store
from .story import Session, session_of, turn_row
from .telling import WIDTH, tell


def lines_of(store: Store, session: str | None, width: int = WIDTH) -> Iterator[str]:
    """The lines of `show`. Raises `UsageError` where no session, or more than one, has that id."""
    return tell(sessions(store, session), width=width)


def rows_of(store: Store, session: str | None) -> Iterator[dict[str, Any]]:
    """The objects of `show --json`, one for each turn."""
    return (turn_row(turn) for told in sessions(store, session) for turn in told.turns)


def sessions(store: Store, session: str | None = None) -> Iterator[Session]:
    """Each session of each recording, told; streams that belong to no session are told one by one."""
    return map(_told, gathered(store, session))


def _told(one: Gathered) -> Session:
    return session_of(one.exchanges, one.frames(), one.acts, parent_id=one.parent_id)
