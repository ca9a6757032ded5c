"""A request to the replay, and what is said where no recorded request matches it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ...model import Headers


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


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A request that was matched although its body says something else."""

    request: str
    field: str
    recorded: Any
    got: Any
