"""Two cassettes, or two sessions of one, put beside each other: opens them, and has `differing` compare them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cassette.open import open_store
from ...cassette.select import named_session
from ...errors import UsageError
from ...model import TimedFrame
from ..gather import Gathered, gathered
from . import TOLERANCE_S, Difference, Telling, compare, telling_of


@dataclass(frozen=True, slots=True)
class Compared:
    """What differs, and how much there was to compare."""

    found: list[Difference]
    sessions: int
    """Of the side that has more; so it is with the turns."""
    turns: int


Watch = Callable[[Iterable[Any], str], Iterable[Any]]
"""Hands on what it is given, and may show how far it is: the items, and what is being done."""


def compared(
    a: str | Path,
    b: str | Path,
    *,
    session: str | None = None,
    tolerance_s: float = TOLERANCE_S,
    watch: Watch = lambda items, _: items,
) -> Compared:
    """What differs between two cassettes, or between a session of each. Raises `UsageError` or `CassetteError`."""
    if not (math.isfinite(tolerance_s) and tolerance_s >= 0):
        raise UsageError(f"the tolerance is {tolerance_s:g}: give a number of seconds that is not negative")
    sides = list(_tellings(a, session, watch)), list(_tellings(b, session, watch))
    sessions = max(len(side) for side in sides)
    turns = max(sum(len(one.turns) for one in side) for side in sides)
    return Compared(compare(*sides, tolerance_s=tolerance_s), sessions, turns)


def _tellings(source: str | Path, session: str | None, watch: Watch) -> Iterator[Telling]:
    path, named = named_session(source)
    if named is not None and session is not None and named != session:
        raise UsageError(f"{source} names a session, and so does --session {session}: name it once")
    store = open_store(path)
    try:
        label, sessions = f"reading {path.name}", list(gathered(store, named or session))
        if len(sessions) == 1:
            yield _telling(sessions[0], watch(sessions[0].frames(), label))
        else:
            yield from (_telling(one, one.frames()) for one in watch(sessions, label))
    finally:
        store.close()


def _telling(one: Gathered, frames: Iterable[TimedFrame]) -> Telling:
    return telling_of(one.exchanges, frames, one.acts, is_child=one.parent_id is not None)
