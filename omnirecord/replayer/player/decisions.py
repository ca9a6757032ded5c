"""The answers that the player can decide on, as values. `server` carries them out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...model import Exchange
from ..matching.key import Miss
from .playback import Playing
from .timeline import Gate, Timeline


@dataclass(frozen=True, slots=True)
class Answering:
    """An answer that is no stream. `earliest`: when it is due, in ns on the replay's clock; `gates`: the gates before
    it."""

    exchange: Exchange
    body: bytes
    earliest: int
    gates: tuple[Gate, ...] = ()
    timeline: Timeline | None = None

    def due(self, now: int) -> int | None:
        """Return when it may be sent, in ns on the replay's clock; None while a gate holds it."""
        return None if self.waits_for() else max(now, self.earliest)

    def waits_for(self) -> Gate | None:
        return next((gate for gate in self.gates if not gate.open), None)


@dataclass(frozen=True, slots=True)
class NoContent:
    """204 for a bookkeeping request that was not recorded."""


@dataclass(frozen=True, slots=True)
class Refused:
    """403 for what is never replayed."""

    message: str


@dataclass(frozen=True, slots=True)
class Updates:
    """The WebSocket `/v1/sessions/updates`, served from the recorded session list."""


@dataclass(frozen=True, slots=True)
class Failing:
    """A status that a fault sends instead of the recorded answer. `due`: in ns on the replay's clock."""

    status: int
    message: str
    due: int


Decision = Playing | Answering | Failing | Miss | NoContent | Refused | Updates


def begun_at(decision: Decision, earliest: int) -> Decision:
    """Return a recorded decision so that it begins at `earliest` or later, in ns; any other decision as it is."""
    if isinstance(decision, Answering):
        return replace(decision, earliest=max(decision.earliest, earliest))
    if isinstance(decision, Playing):
        decision.begins_at = earliest
    return decision
