"""What a maker of frames is, for a recorder: the frames it has made, and the calls that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from ..framing import Framed
from ..store import Writer

Rest = Callable[[int], object]
"""Called with the number of streams that wait for their frames, where nothing is held that others may wait for."""


def none(_waiting: int) -> None:
    """Take no rest."""


@dataclass(frozen=True, slots=True)
class NewFrames:
    """Frames that became rows: for whoever watches."""

    exchange: int
    stream: int
    first_seq: int
    framed: list[Framed]
    """Empty where nobody wanted to see them."""
    offsets: dict[int, int] = field(repr=False)
    """When each read came that one of them ended in, in ns since the recording began."""
    left_out: int = 0
    """How many came before these that nobody is shown, since they were too many."""

    def last(self, most: int) -> NewFrames:
        """At most so many of them."""
        more = len(self.framed) - most
        if more <= 0:
            return self
        return replace(self, first_seq=self.first_seq + more, framed=self.framed[more:], left_out=more)

    @property
    def times(self) -> list[int]:
        """When the last byte of each came, in ns since the recording began."""
        return [self.offsets.get(one.read, 0) for one in self.framed]


class Frames(Protocol):
    """Who makes the frames of one recording: somebody here (`FrameMaker`), or in a process apart (`apart`)."""

    @property
    def behind(self) -> bool:
        """Whether there is something left to do."""

    @property
    def waiting(self) -> int:
        """How many streams have something left to do."""

    def begin(self, exchange: int, stream: int, coding: str | None) -> None:
        """A stream's response has begun."""

    def arrived(self, exchange: int, until: int | None = None) -> None:
        """Some of its bytes are in the file, or will be with the next transaction; those behind `until` may still
        change."""

    def ended(self, exchange: int) -> None:
        """No more of it will come."""

    def move(self, writer: Writer) -> None:
        """Go on in another file, of which nothing is known yet."""

    def make(self, rest: Rest = none, /) -> Iterator[list[NewFrames]]:
        """Make what is to be made here, if anything is."""

    def let_go(self) -> bool:
        """Have nothing more to do with the file; whether that is so by now."""
