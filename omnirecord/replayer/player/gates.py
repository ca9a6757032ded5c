"""Gates: the recorded requests that a replay waits for. `GateRule` says which requests are gates.

`Gates` has those of one playing of a session tree: which one is closed, and which one a request opens. `timeline` stops
the playhead at a closed gate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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

    @classmethod
    def of(cls, exchange: Exchange) -> Gate:
        request = exchange.request
        return cls(exchange.exchange, request.at_ns, f"{request.method} {request.target}")


class Gates:
    """The gates of one playing of a session tree, in the order of recorded time. A gate that was opened stays open."""

    def __init__(self, gates: Iterable[Gate] = ()) -> None:
        self._gates = sorted(gates, key=lambda gate: gate.at_ns)
        self._by_exchange = {gate.exchange: gate for gate in self._gates}
        self._opened = 0  # the first so many gates are open

    def __iter__(self) -> Iterator[Gate]:
        return iter(self._gates)

    def of(self, exchange: Exchange) -> Gate | None:
        """Return the gate of a recorded request; None if the request is no gate."""
        return self._by_exchange.get(exchange.exchange)

    def closed(self) -> Gate | None:
        """Return the first closed gate; None if all are open."""
        while self._opened < len(self._gates) and self._gates[self._opened].open:
            self._opened += 1
        return self._gates[self._opened] if self._opened < len(self._gates) else None

    def before(self, offset_ns: int) -> Gate | None:
        """Return the closed gate that holds a part of this offset; None if none does."""
        gate = self.closed()
        return gate if gate is not None and gate.at_ns < offset_ns else None

    def during(self, exchange: Exchange) -> tuple[Gate, ...]:
        """Return the gates for which the answer of a recorded request has to wait: requests before its end."""
        begin = exchange.request.at_ns
        end = exchange.end_ns or begin
        return tuple(gate for gate in self._gates if begin < gate.at_ns < end and gate.exchange != exchange.exchange)

    def closed_of(self, recorded: Iterable[Exchange]) -> Gate | None:
        """Return the first closed gate among recorded requests."""
        gates = (self.of(exchange) for exchange in recorded)
        return next((gate for gate in gates if gate is not None and not gate.open), None)
