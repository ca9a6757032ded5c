"""The options of a replay, checked. Pure.

To add an option to `serve`: a parameter here, in `omnirecord.replay` and in `cli/serve.py`, and the code that it
controls. The pytest marker takes the parameters of `omnirecord.replay`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..faults import Faults
from ..matching.rules import DEFAULT, Rules, rules_of
from ..stream_parts import Chunks, chunks_of
from .plan import GateRule, gate_rule
from .timeline import Timing, timing_of


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one replay. `resume`: events get ids, and a client resumes after its `Last-Event-ID`."""

    timing: Timing = field(default_factory=Timing)
    gates: GateRule = field(default_factory=GateRule)
    chunks: Chunks = field(default_factory=Chunks)
    faults: Faults = field(default_factory=Faults)
    rules: Rules = DEFAULT
    resume: bool = False
    only: str | None = None
    """The name of the hop to play; None for the first hop that has requests."""


def options(
    *,
    timing: str = "original",
    speed: float | None = None,
    max_gap: float | None = None,
    gates: Iterable[str] = (),
    no_gate: bool = False,
    hold_opens: bool = False,
    match: Iterable[str] = (),
    match_on: str | Iterable[str] = (),
    faults: Iterable[str] = (),
    chunks: str | None = None,
    resume: bool = False,
    only: str | None = None,
) -> Options:
    """Return the options of these arguments of `omnirecord serve` and `omnirecord.replay`. Raises `UsageError`.

    `hold_opens`: every open of a stream after a session's first is a gate, as a message is.
    """
    how = timing_of(timing, speed, max_gap)
    return Options(
        timing=how,
        gates=gate_rule(gates, off=no_gate, opens=hold_opens),
        chunks=chunks_of(None if chunks is None and how.instant else "recorded" if chunks is None else chunks),
        faults=Faults.parse(faults),
        rules=Rules.parse([*([match] if isinstance(match, str) else match), *rules_of(match_on)]),
        resume=resume,
        only=only,
    )
