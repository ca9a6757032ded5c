"""The fault verbs: a value for each, and an example. Pure.

To add a verb: its class and its row in `VERBS` here, its reader in `grammar.py`, its effect in `apply.BoundFault`, and
its paragraph in `docs/faults.md`. `str` of a fault is its line in the plainest spelling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from ...omnigent.protocol import (
    RESPONSE_COMPLETED,
    RESPONSE_CREATED,
    RESPONSE_IN_PROGRESS,
    RESPONSE_OUTPUT_TEXT_DELTA,
    SESSION_HEARTBEAT,
    SESSION_STATUS,
)
from ...omnigent.routes import GATE_EXAMPLE, READ_EXAMPLE
from ..event_address import Address, Field, Ordinal, ordinal_text

LONGEST_NS = 24 * 3600 * 10**9
"""Longest time: a day, in ns."""
TIME = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*(ms|s|min)(?!\S)", re.IGNORECASE)
_UNITS = {"min": 60 * 10**9, "s": 10**9, "ms": 10**6}


def time_ns(found: re.Match[str]) -> int | None:
    """Return the time that `TIME` matched, in ns; None if it is 0, or more than a day."""
    value = int(Decimal(found[1]) * _UNITS[found[2].lower()])
    return value if 0 < value <= LONGEST_NS else None


def time_text(value_ns: int) -> str:
    """Return a time as text, in the largest unit in which it is a whole number, else in ms."""
    for unit, size in _UNITS.items():
        if value_ns % size == 0:
            return f"{value_ns // size}{unit}"
    return f"{(Decimal(value_ns) / 10**6).normalize():f}ms"


RESET = "reset"
End = Literal["clean", "short", "reset", "freeze"]
"""How a stream ends; with `freeze` it stays open and silent."""
Where = Literal["before", "inside", "inside a character of", "after"]
ENDINGS: dict[End, str] = {"clean": "", "short": " short", "reset": " by reset"}


@dataclass(frozen=True, slots=True)
class OnEvent:
    """A verb whose first argument is an event; by itself, it is the only one."""

    event: Address

    def __str__(self) -> str:
        return f"{type(self).__name__.lower()} {self.event}"


class Drop(OnEvent):
    __slots__ = ()


class Duplicate(OnEvent):
    __slots__ = ()


class Corrupt(OnEvent):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Swap(OnEvent):
    """`other`: None means the next event."""

    other: Address | None

    def __str__(self) -> str:
        return f"swap {self.event}" + (f" with {self.other}" if self.other else "")


@dataclass(frozen=True, slots=True)
class Delay(OnEvent):
    by_ns: int

    def __str__(self) -> str:
        return f"delay {self.event} by {time_text(self.by_ns)}"


@dataclass(frozen=True, slots=True)
class Stall(OnEvent):
    """A delay of the first connection that reaches the event. `each_time`: of every connection."""

    by_ns: int
    each_time: bool = False

    def __str__(self) -> str:
        return f"stall {time_text(self.by_ns)} at {self.event}" + (" each time" if self.each_time else "")


@dataclass(frozen=True, slots=True)
class SetField(OnEvent):
    """`json`: the text of the new value."""

    field: Field
    json: str

    def __str__(self) -> str:
        return f"set {self.field} of {self.event} to {self.json}"


@dataclass(frozen=True, slots=True)
class RemoveField(OnEvent):
    field: Field

    def __str__(self) -> str:
        return f"remove {self.field} of {self.event}"


@dataclass(frozen=True, slots=True)
class StopHeartbeats(OnEvent):
    """`after`: the event itself still goes out if it is a heartbeat."""

    after: bool

    def __str__(self) -> str:
        return f"stop heartbeats {'after' if self.after else 'at'} {self.event}"


@dataclass(frozen=True, slots=True)
class Ends(OnEvent):
    """A cut, or with `freeze` a freeze. `each_time`: on every connection that reaches the event, not only on the
    first."""

    where: Where
    how: End
    each_time: bool = False

    def __str__(self) -> str:
        again = " each time" if self.each_time else ""
        if self.how == "freeze":
            return f"freeze {'at' if self.where == 'before' else 'after'} {self.event}{again}"
        return f"cut {self.where} {self.event}{ENDINGS[self.how]}{again}"


@dataclass(frozen=True, slots=True)
class Requests:
    """The nth request with this method and path, the `first` so many, or every one."""

    ordinal: Ordinal
    method: str
    glob: str
    first: int = 1

    def __str__(self) -> str:
        ordinal = ordinal_text(self.ordinal) if self.first == 1 else f"first {self.first}"
        return f"{ordinal} {self.method} {self.glob}" if ordinal else f"{self.method} {self.glob}"


@dataclass(frozen=True, slots=True)
class Answer:
    """`status`: 0 for a reset of the connection. `retry_after_ns`: what the answer tells the client; None: nothing."""

    requests: Requests
    status: int
    retry_after_ns: int | None = None

    def __str__(self) -> str:
        later = "" if self.retry_after_ns is None else f" retry after {time_text(self.retry_after_ns)}"
        return f"answer {self.requests} with {self.status or RESET}{later}"


@dataclass(frozen=True, slots=True)
class Slow:
    requests: Requests
    by_ns: int

    def __str__(self) -> str:
        return f"slow {self.requests} by {time_text(self.by_ns)}"


Edit = Corrupt | SetField | RemoveField
"""Faults that change the data of an event."""
Change = Drop | Duplicate | Swap | Delay | Stall | Edit | StopHeartbeats
OnRequest = Answer | Slow
Fault = Change | Ends | OnRequest


VERBS: dict[str, str] = {
    "drop": f"drop 2nd {SESSION_STATUS}",
    "duplicate": f"duplicate {RESPONSE_COMPLETED}",
    "swap": f"swap {RESPONSE_CREATED} with {RESPONSE_IN_PROGRESS}",
    "delay": f"delay {RESPONSE_COMPLETED} by 2s",
    "stall": f"stall 20s at {RESPONSE_COMPLETED}",
    "freeze": f"freeze after 3rd {RESPONSE_OUTPUT_TEXT_DELTA}",
    "cut": f"cut before {RESPONSE_COMPLETED} by reset",
    "corrupt": f"corrupt last {RESPONSE_OUTPUT_TEXT_DELTA}",
    "set": f'set status of last {SESSION_STATUS} to "failed"',
    "remove": f"remove response.usage of {RESPONSE_COMPLETED}",
    "stop": f"stop heartbeats after {SESSION_HEARTBEAT}",
    "answer": f"answer 2nd {GATE_EXAMPLE} with 503",
    "slow": f"slow every {READ_EXAMPLE} by 500ms",
}
"""An example of each verb, by the verb, in the order in which errors list them. `docs/faults.md` has their forms."""
EXAMPLE = VERBS["drop"]
EACH_TIME = "only a cut, a freeze or a stall happens once: all others happen each time as they are"
