"""The faults, as values. `str` of one is the line that it was read from, in its plainest spelling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..event_address import Address, Field, Ordinal, ordinal_text
from .durations import time_text

End = Literal["clean", "short", "reset", "freeze"]
"""How a stream ends, or that nothing more comes."""
Where = Literal["before", "inside", "inside a character of", "after"]
ENDINGS: dict[End, str] = {"clean": "", "short": " short", "reset": " by reset"}


@dataclass(frozen=True, slots=True)
class Drop:
    event: Address

    def __str__(self) -> str:
        return f"drop {self.event}"


@dataclass(frozen=True, slots=True)
class Duplicate:
    event: Address

    def __str__(self) -> str:
        return f"duplicate {self.event}"


@dataclass(frozen=True, slots=True)
class Swap:
    """`other`: None for the next event."""

    event: Address
    other: Address | None

    def __str__(self) -> str:
        return f"swap {self.event}" + (f" with {self.other}" if self.other else "")


@dataclass(frozen=True, slots=True)
class Delay:
    event: Address
    by_ns: int

    def __str__(self) -> str:
        return f"delay {self.event} by {time_text(self.by_ns)}"


@dataclass(frozen=True, slots=True)
class Corrupt:
    event: Address

    def __str__(self) -> str:
        return f"corrupt {self.event}"


@dataclass(frozen=True, slots=True)
class SetField:
    """`json`: the new value's text."""

    event: Address
    field: Field
    json: str

    def __str__(self) -> str:
        return f"set {self.field} of {self.event} to {self.json}"


@dataclass(frozen=True, slots=True)
class RemoveField:
    event: Address
    field: Field

    def __str__(self) -> str:
        return f"remove {self.field} of {self.event}"


@dataclass(frozen=True, slots=True)
class StopHeartbeats:
    """`after`: the event itself still comes, should it be a heartbeat."""

    event: Address
    after: bool

    def __str__(self) -> str:
        return f"stop heartbeats {'after' if self.after else 'at'} {self.event}"


@dataclass(frozen=True, slots=True)
class Ends:
    """A cut, or with `freeze` a freeze. `each_time`: on every connection that comes to it, not only on the first."""

    event: Address
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
    """The nth request with this method and path, or every one."""

    ordinal: Ordinal
    method: str
    glob: str

    def __str__(self) -> str:
        ordinal = ordinal_text(self.ordinal)
        return f"{ordinal} {self.method} {self.glob}" if ordinal else f"{self.method} {self.glob}"


@dataclass(frozen=True, slots=True)
class Answer:
    requests: Requests
    status: int

    def __str__(self) -> str:
        return f"answer {self.requests} with {self.status}"


@dataclass(frozen=True, slots=True)
class Slow:
    requests: Requests
    by_ns: int

    def __str__(self) -> str:
        return f"slow {self.requests} by {time_text(self.by_ns)}"


Edit = Corrupt | SetField | RemoveField
"""What changes an event's data."""
Change = Drop | Duplicate | Swap | Delay | Edit | StopHeartbeats
OnRequest = Answer | Slow
Fault = Change | Ends | OnRequest
