"""The times of several recordings on one clock, and the differences of their clocks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from ...model import Recording
from .values import Offset

CAUSAL = 1_000_000
"""Difference in ns of two times of one recorder, at most, if the first one caused the second."""
SKEW = 100_000_000
"""The same for two recorders whose clocks agree."""


class Seen(NamedTuple):
    """A text or a tool call on both hops."""

    delay_ns: int
    """From the model to the client, by the wall clocks."""
    fits: bool
    """Whether the times of its call and its turn fit."""


class Clocks:
    """The recordings of a cassette with their starts in ns since 1970, and the assumed offsets between them."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._runs = {one.recording: one.run_id for one in recordings if one.run_id is not None}
        self._zeros = {one.recording: since_1970(one.started_at) for one in recordings}
        self._offsets: dict[tuple[int, int], Offset] = {}

    def zero(self, recording: int) -> int:
        return self._zeros.get(recording, 0)

    def measure(self, model: int, client: int, seen: Sequence[Seen]) -> None:
        """Set the offset of a recording of model calls to one of turns. It is 0 if the times fit as they are, else the
        shortest delay that was seen."""
        if not self._is_one(model, client) and sum(one.fits for one in seen) * 2 < len(seen):
            offset_ns = min(one.delay_ns for one in seen)
            self._offsets[model, client] = Offset(model, client, offset_ns, "texts")

    def offset(self, model: int, client: int) -> Offset:
        """Return the assumed offset of a recording of model calls to one of turns."""
        known = self._offsets.get((model, client))
        if known is None:
            by_run = self._is_one(model, client)
            known = self._offsets[model, client] = Offset(model, client, 0, "run" if by_run else "wall clock")
        return known

    def slack(self, model: int, client: int) -> int:
        """Return the difference in ns that two times may have, at most."""
        return CAUSAL if self.offset(model, client).by == "run" else SKEW

    def at(self, model: int, ns: int, client: int) -> int:
        """Return a time of a model call in ns since 1970, on the clock of the turns."""
        return self.zero(model) + ns + self.offset(model, client).offset_ns

    def _is_one(self, model: int, client: int) -> bool:
        run = self._runs.get(model)
        return model == client or (run is not None and run == self._runs.get(client))


def since_1970(started_at: str) -> int:
    """Return a time in ns since 1970."""
    at = datetime.fromisoformat(started_at)
    past = at - datetime(1970, 1, 1, tzinfo=at.tzinfo)
    return past.days * 86_400_000_000_000 + past.seconds * 1_000_000_000 + past.microseconds * 1000
