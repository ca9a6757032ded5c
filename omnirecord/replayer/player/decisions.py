"""What can be asked of a replay, and what it can decide to answer. Frozen values; `replaying` carries them out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...model import Exchange
from ..matching.key import Miss
from .playback import Playing
from .timeline import Gate, Timeline


@dataclass(frozen=True, slots=True)
class Answering:
    """An answer that is no stream: when it is due, and which gates it waits for, on which timeline."""

    exchange: Exchange
    body: bytes
    earliest: int
    gates: tuple[Gate, ...] = ()
    timeline: Timeline | None = None

    def due(self, now: int) -> int | None:
        """When it may be sent; None while a gate holds it."""
        return None if self.waits_for() else max(now, self.earliest)

    def waits_for(self) -> Gate | None:
        return next((gate for gate in self.gates if not gate.open), None)


@dataclass(frozen=True, slots=True)
class NoContent:
    """Bookkeeping that nobody recorded."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Never replayed, whatever was recorded."""

    message: str


@dataclass(frozen=True, slots=True)
class Updates:
    """`/v1/sessions/updates`, which is served from the recorded session list."""


@dataclass(frozen=True, slots=True)
class Failing:
    """A status that a fault puts in the place of what was recorded. `due`: when, on the replay's clock."""

    status: int
    message: str
    due: int


Decision = Playing | Answering | Failing | Miss | NoContent | Refused | Updates


def begun_at(decision: Decision, earliest: int) -> Decision:
    """The same, begun no earlier, if it is something recorded."""
    if isinstance(decision, Answering):
        return replace(decision, earliest=max(decision.earliest, earliest))
    if isinstance(decision, Playing):
        decision.begins_at = earliest
    return decision
