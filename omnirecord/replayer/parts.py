"""A stream for playing: parts in the order in which they go out. Values only.

A part lies within one frame and one read: a read with two frames makes two parts, and so does a frame in two reads.
Faults and ids take parts and return parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of one frame and one read."""

    offset_ns: int
    """When they came, in recorded ns."""
    data: bytes
    in_snapshot: bool = False
    """Whether it belongs to the connect snapshot, which no gate holds."""
    stream: int = 0
    """Number of the recorded stream."""
    seq: int = 0
    """Number of its frame in the stream, from 1; 0 if it was not recorded, or the stream is compressed."""
    read: int = 0
    """Number of its read: parts of one read are written together."""
    late_ns: int = 0
    """Sum of the stalls before it, in ns on the replay's clock. Never less than that of the part before."""


def frames_of(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Yield the parts of each frame, in order; a part of no recorded frame is alone."""
    frame: list[Part] = []
    for part in parts:
        if frame and not (part.seq and (part.stream, part.seq) == (frame[-1].stream, frame[-1].seq)):
            yield frame
            frame = []
        frame.append(part)
    if frame:
        yield frame
