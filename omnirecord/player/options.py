"""How a cassette is to be played: everything that a user can choose, checked. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from .chunks import Chunks
from .script import GateRule
from .timing import Timing


@dataclass(frozen=True, slots=True)
class Options:
    """`resume`: frames get ids, and who comes back with one gets what lies behind it."""

    timing: Timing = field(default_factory=Timing)
    gates: GateRule = field(default_factory=GateRule)
    chunks: Chunks = field(default_factory=Chunks)
    resume: bool = False
