"""How a cassette is to be played: everything that a user can choose, checked. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..faults import Faults
from .chunks import Chunks
from .rules import DEFAULT, Rules
from .script import GateRule
from .timing import Timing


@dataclass(frozen=True, slots=True)
class Options:
    """`resume`: frames get ids, and who comes back with one gets what lies behind it."""

    timing: Timing = field(default_factory=Timing)
    gates: GateRule = field(default_factory=GateRule)
    chunks: Chunks = field(default_factory=Chunks)
    faults: Faults = field(default_factory=Faults)
    rules: Rules = DEFAULT
    resume: bool = False
