"""Gates: the recorded requests that a replay waits for. `GateRule` says which requests are gates.

`timeline` stops the playhead at a closed gate; `stream_choice` makes the gates of a session tree, and `playback` opens
one when a client sends its request.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ...errors import UsageError
from ...model import Exchange
from ...omnigent import routes


class GateRule:
    """Which requests are gates: by default messages, interrupts and answers to elicitations. `specs` and `off`: the
    values of `--gate 'METHOD GLOB'` and `--no-gate`. `opens`: every open of a stream after the first of a session tree
    is a gate, too. Raises `UsageError`."""

    def __init__(self, specs: Iterable[str] = (), *, off: bool = False, opens: bool = False) -> None:
        self.off = off
        self.opens = opens
        self._globs = []
        for spec in specs:
            method, _, glob = spec.partition(" ")
            if not method or not glob.strip():
                raise UsageError(f"--gate {spec!r} is no 'METHOD GLOB': write for instance {routes.GATE_EXAMPLE!r}")
            self._globs.append((method.upper(), glob.strip()))
        if self._globs and off:
            raise UsageError("--gate and --no-gate exclude each other")

    def __call__(self, exchange: Exchange) -> bool:
        response = exchange.response
        if self.off or exchange.party == "runner" or response is None or not 200 <= response.status < 300:
            return False
        method = exchange.request.method
        target = exchange.request.target
        if not self._globs:
            return routes.is_gate(method, target)
        return any(fnmatchcase(method, m) and fnmatchcase(routes.path_of(target), glob) for m, glob in self._globs)


@dataclass(slots=True)
class Gate:
    """A recorded request. Later events wait until a client sends it again."""

    exchange: int
    at_ns: int
    """Recorded offset of its first byte, in ns: nothing later passes while the gate is closed."""
    what: str
    """The request for messages, as `POST /v1/sessions/…/events`."""
    open: bool = False
    is_reported: bool = False
    """Whether the wait for it was logged."""
