"""Faults on requests: the nth of a kind is answered with a status, or late. Pure; it counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ...errors import UsageError
from ...omnigent.routes import path_of
from ..event_address import listed
from .kinds import Answer, OnRequest, Requests

Asked = tuple[str, str]
"""Method and target."""


@dataclass(frozen=True, slots=True)
class RequestFault:
    """`status`: what to answer with, instead of what was recorded; None for that. `late_ns`: how much later the
    answer begins. `names`: the faults that say so."""

    status: int | None
    late_ns: int
    names: tuple[str, ...]


class RequestFaults:
    """Counts the requests of each kind."""

    def __init__(self, faults: Sequence[OnRequest]) -> None:
        self._faults = faults
        self._counts = [0] * len(faults)

    def reset(self) -> None:
        """Begin to count again."""
        self._counts = [0] * len(self._faults)

    def on(self, method: str, target: str) -> RequestFault | None:
        """Count a request; what happens to it. Of several statuses the first that was given is taken."""
        happening = [fault for number, fault in enumerate(self._faults) if self._happens(number, method, target)]
        if not happening:
            return None
        statuses = [fault.status for fault in happening if isinstance(fault, Answer)]
        late_ns = sum(fault.by_ns for fault in happening if not isinstance(fault, Answer))
        return RequestFault(statuses[0] if statuses else None, late_ns, tuple(map(str, happening)))

    def _happens(self, number: int, method: str, target: str) -> bool:
        requests = self._faults[number].requests
        if not _is_one(requests, method, target):
            return False
        self._counts[number] += 1
        nth = requests.ordinal if isinstance(requests.ordinal, int) else 1
        return requests.ordinal == "every" or self._counts[number] == nth


def check(faults: Iterable[OnRequest], asked: Iterable[Asked]) -> None:
    """Raises `UsageError` where nothing like it was recorded."""
    recorded = set(asked)
    for fault in faults:
        requests = fault.requests
        if any(_is_one(requests, method, target) for method, target in recorded):
            continue
        known = sorted({f"{method} {path_of(target)}" for method, target in recorded})
        near = get_close_matches(f"{requests.method} {requests.glob}", known[:1000], 3) or known
        raise UsageError(
            f"the fault {str(fault)!r} cannot happen: no such request was recorded, there are {listed(near) or 'none'}"
        )


def _is_one(requests: Requests, method: str, target: str) -> bool:
    return requests.method in ("*", method.upper()) and fnmatchcase(path_of(target), requests.glob)
