"""What can be asked of a replay, and what it can decide to answer. Frozen values; `replaying` carries them out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from ..cassette import Exchange, Headers
from .playing import Playing
from .timeline import Gate, Timeline


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request to the replay. `headers` and `body` are looked at only as far as the rules of matching ask for it."""

    method: str
    target: str
    is_runner: bool = False
    if_none_match: str | None = None
    body: bytes = b""
    headers: Headers = ()
    last_event_id: str | None = None


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
class Miss:
    """Nothing recorded answers this. `nearest`: `request` and `differs` of the recorded ones most like it; `lines`: the
    same for a person, each with its differences marked."""

    message: str
    nearest: list[dict[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What a person reads: a line, and one for each recorded request, with short ids."""
        head = self.message + ("; nearest recorded, as [-recorded-]{+asked+}:" if self.lines else "")
        told = [head, *(f"  {line}" for line in self.lines)]
        return "\n".join(short_ids(one if len(one) <= _LONGEST else f"{one[:_LONGEST]}…") for one in told)


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


_LONGEST = 1000
"""Characters of a line for a person."""
_ID_OR_MARK = re.compile(
    r"\[-[^\n]{0,200}?-\]|\{\+[^\n]{0,200}?\+\}"
    r"|(?<![\w-])((?:[A-Za-z]{2,24}_)*[0-9a-f]{8})(?:-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{24})(?![\w-])"
)
"""A marked difference, or a long id with what is shown of it."""


def short_ids(text: str) -> str:
    """A text for a person, in which long ids are cut. Marked differences stay whole."""
    return _ID_OR_MARK.sub(lambda found: f"{found[1]}…" if found[1] else found[0], text)


Decision = Playing | Answering | Failing | Miss | NoContent | Refused | Updates


def begun_at(decision: Decision, earliest: int) -> Decision:
    """The same, begun no earlier, if it is something recorded."""
    if isinstance(decision, Answering):
        return replace(decision, earliest=max(decision.earliest, earliest))
    if isinstance(decision, Playing):
        decision.begins_at = earliest
    return decision


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A request that was matched although its body says something else."""

    request: str
    field: str
    recorded: Any
    got: Any
