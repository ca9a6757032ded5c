"""The parsed options of a replay."""

from __future__ import annotations

from ...options import ReplayOptions
from ..faults import Faults
from ..matching.rules import Rules, rules_of
from ..stream_parts import chunks_of
from .gates import GateRule
from .timeline import timing_of


class Options:
    """The parsed options of the replay of one hop. Raises `UsageError`.

    `hold_opens`: every open of a stream after a session's first is a gate, as a message is. `repeats`: a request that
    is sent more often than it was recorded gets its first answer again; if false, it matches nothing.
    """

    def __init__(self, options: ReplayOptions, *, hold_opens: bool = False, repeats: bool = True) -> None:
        self.timing = timing_of(options.timing, options.speed, options.max_gap)
        self.gates = GateRule(options.gates, off=options.no_gate, opens=hold_opens)
        is_as_recorded = options.chunks is None and not self.timing.instant
        self.chunks = chunks_of("recorded" if is_as_recorded else options.chunks)
        self.faults = Faults.parse(options.faults)
        match = [options.match] if isinstance(options.match, str) else options.match
        self.rules = Rules.parse([*match, *rules_of(options.match_on)])
        self.resume = options.resume
        self.loop = options.loop
        self.only = options.only
        self.repeats = repeats
