"""The interface between a recorder and its maker of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from ...cassette.framing import Framed
from ...cassette.sqlite import Writer

Rest = Callable[[int], object]
"""Called with the number of streams that wait for frames, while no lock is held that others may wait for."""


def none(_waiting: int) -> None:
    """Take no pause."""


@dataclass(frozen=True, slots=True)
class NewFrames:
    """Frames that became rows, for the watcher of a recording."""

    exchange: int
    stream: int
    first_seq: int
    framed: list[Framed]
    """Empty if no watcher wants them."""
    offsets: dict[int, int] = field(repr=False)
    """The time of each read in which a frame ended, in ns since the recording began."""
    left_out: int = 0
    """Number of earlier frames that are left out because there are too many."""

    def last(self, most: int) -> NewFrames:
        """The last `most` of these frames, at most."""
        more = len(self.framed) - most
        if more <= 0:
            return self
        return replace(self, first_seq=self.first_seq + more, framed=self.framed[more:], left_out=more)

    @property
    def times(self) -> list[int]:
        """Arrival of the last byte of each frame, in ns since the recording began."""
        return [self.offsets.get(one.read, 0) for one in self.framed]


class Frames(Protocol):
    """Maker of the frames of one recording: in this process (`FrameMaker`), or in the second one (`apart`)."""

    @property
    def behind(self) -> bool:
        """Whether any stream waits for frames."""

    @property
    def waiting(self) -> int:
        """Number of streams that wait for frames."""

    def begin(self, exchange: int, stream: int, coding: str | None) -> None:
        """Note that the response of a stream has begun."""

    def arrived(self, exchange: int, until: int | None = None) -> None:
        """Note that bytes of it are in the file, or will be with the next transaction. Bytes behind `until` may still
        change."""

    def ended(self, exchange: int) -> None:
        """Note that no more bytes of it will come."""

    def move(self, writer: Writer) -> None:
        """Continue in another file, of which nothing is known yet."""

    def make(self, rest: Rest = none, /) -> Iterator[list[NewFrames]]:
        """Make the frames that are due in this process."""

    def let_go(self) -> bool:
        """Stop using the file, and return whether that is done."""
