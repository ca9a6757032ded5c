"""A stream laid out for playing: parts in the order in which they go out. Values only.

A part lies within one frame, and came in one read: a read with two frames makes two parts, a frame that came in two
reads too. Whatever changes a stream on its way out, a fault or an id, takes parts and gives parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of one frame that are due together."""

    offset_ns: int
    """When they came, in recorded time."""
    data: bytes
    in_snapshot: bool = False
    """Belongs to the connect snapshot: never held by a gate."""
    stream: int = 0
    """The recorded stream it is of."""
    seq: int = 0
    """Which of that stream's frames it belongs to, from 1; 0: none that was recorded, or one that cannot be told."""
    read: int = 0
    """Which read it came in: parts of one read are written together."""
    late_ns: int = 0
    """How much later than its time it goes out, in ns on the clock of whoever plays: what a stall before it adds up
    to. Never less than that of the part before."""


def frames_of(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """The parts of each frame, one frame after the other; a part of no recorded frame is alone."""
    frame: list[Part] = []
    for part in parts:
        if frame and not (part.seq and (part.stream, part.seq) == (frame[-1].stream, frame[-1].seq)):
            yield frame
            frame = []
        frame.append(part)
    if frame:
        yield frame
