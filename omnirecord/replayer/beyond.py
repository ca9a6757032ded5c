"""What a replay needs to go on behind its recording: a server for other requests, and a copy of its own answers.

`omnirecord.episodes` connects a recorder. A replay without a `Beyond` answers from the recording only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

from aiohttp import web

from ..model import Ending, Exchange, Headers, Kind, Side
from .matching.key import Incoming, Miss

Source = Literal["recorded", "again", "live", "fault", "made up", "none"]
"""Where an answer is from: a recorded exchange; a recorded exchange that had answered before; the upstream; a fault;
omnirecord itself, for Omnigent's web UI; nowhere, as no recorded request matched."""


@dataclass(frozen=True, slots=True)
class Served:
    """A request and its answer, as it begins. `exchange`: the number of the recorded exchange; None if none matched.
    `source`: where the answer is from. `new`: the number of the exchange that a live answer got in the new
    recording; None if it is not recorded. `advice`: how to ignore the differences, or to record the request, as a
    sentence."""

    method: str
    target: str
    status: int
    exchange: int | None
    why: str = ""
    """If none matched: why, with the nearest recorded requests and their differences."""
    source: Source = "recorded"
    new: int | None = None
    advice: str = ""

    @property
    def reasons(self) -> list[str]:
        """The lines of `why` and `advice`."""
        return [line for line in (*self.why.split("\n"), self.advice) if line]


Where = Literal["recording", "either"]
"""Where to look for an answer: in the recording alone, or then at the upstream."""


@dataclass(frozen=True, eq=False)
class Question:
    """A request to a replay, before it is answered. `hop`: the name of the hop that got it. `request` has the whole
    body."""

    hop: str | None
    request: Incoming
    find: Callable[[], Exchange | None] = field(repr=False)

    @cached_property
    def exchange(self) -> Exchange | None:
        """The recorded exchange that answers the request next; None if no recorded request matches."""
        return self.find()


Decide = Callable[[Question], Where | Incoming | Miss]
"""Decides about each request. It returns where to look for the answer, the request to send to the upstream at once, or
why the request is refused."""


class Copy(Protocol):
    """Records one answer of a replay in a new cassette. A recorder's `ExchangeRecorder` is one."""

    def respond(self, kind: Kind, status: int, reason: str, headers: Headers) -> None: ...
    def body(self, side: Side, data: bytes) -> None: ...
    def now(self) -> int: ...
    def passed(self, data: bytes, at_ns: int) -> None: ...
    def end(self, ending: Ending) -> None: ...


Answered = Callable[[str | None, str, str, int, int], None]
"""Called when the upstream's response begins: hop, method, target, number of the exchange in the new cassette or 0 if
it is not recorded, status."""
Over = Callable[[Ending], object]
"""Called when an exchange with the upstream has ended."""


class Beyond(Protocol):
    """The upstreams of a replay, and what records their answers."""

    def decide(self, question: Question) -> Where | Incoming | Miss: ...

    def reaches(self, hop: str | None) -> bool:
        """Return whether the hop has an upstream."""
        ...

    def live(
        self, hop: str | None, request: web.BaseRequest, sent: Incoming, answered: Answered, over: Over
    ) -> Awaitable[web.StreamResponse]:
        """Send a request to the upstream of the hop, record the exchange, and answer it."""
        ...

    def copy(self, hop: str | None, asked: Incoming, exchange: Exchange) -> Copy | None:
        """Return what records the answer from an exchange; None if such answers are not recorded."""
        ...
