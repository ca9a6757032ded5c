"""How a recorded stream is cut into parts: by its reads, its frames, and its connect snapshot. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from ...model import TimedFrame
from ...omnigent.connect_snapshot import Greeting, greeting_length
from ..parts import Part
from .stream_parts import Strip

Reads = Iterable[tuple[int, int]]
"""When, in recorded ns, how many bytes of the wire came."""


def parts_of(reads: Reads, frames: Iterable[TimedFrame]) -> Strip:
    """A part for each read and frame that have bytes in common, in order. Of an oversized frame nothing was kept."""
    rest = iter(frames)
    greeting = Greeting()
    first = list(_up_to_the_first_that_is_none(greeting, rest))
    count = sum(takes for _, takes in first)
    every = chain((frame for frame, _ in first), rest)
    stream = first[0][0].stream if first else 0
    return Strip(_overlaps(reads, every), stream, first[0][0].seq + count - 1 if first else 0)


def greeting_end(frames: Iterator[TimedFrame]) -> int:
    """The number of the last frame of the connect snapshot; 0 where there is none."""
    taken = [frame.seq for frame, takes in _up_to_the_first_that_is_none(Greeting(), frames) if takes]
    return max(taken, default=0)


def _up_to_the_first_that_is_none(
    greeting: Greeting, frames: Iterator[TimedFrame]
) -> Iterator[tuple[TimedFrame, bool]]:
    """The frames of the connect snapshot, and the one behind it; with whether they are of it."""
    for frame in frames:
        takes = greeting.takes(frame)
        yield frame, takes
        if not takes:
            return


def _overlaps(reads: Reads, frames: Iterable[TimedFrame]) -> Iterator[tuple[int, int, int, bytes]]:
    """The offset, frame, read and bytes of what each read has of each frame."""
    rest = iter(frames)
    frame, at = next(rest, None), 0
    for number, (offset_ns, size) in enumerate(reads):
        while size and frame is not None:
            end = min(frame.length, at + size)
            if frame.raw:
                yield offset_ns, frame.seq, number, frame.raw[at:end]
            size, at = size - (end - at), end
            if at == frame.length:
                frame, at = next(rest, None), 0


def coded_parts(stream: int, reads: Reads, wire: bytes, frames: list[TimedFrame]) -> list[Part]:
    """The reads of a body with a content coding, whose frames cannot be told apart in it."""
    count = greeting_length(frames)
    ends_ns = frames[count].offset_ns if count < len(frames) else float("inf")
    parts, start = [], 0
    for number, (offset_ns, size) in enumerate(reads):
        data = wire[start : start + size]
        start += size
        if data:
            parts.append(Part(offset_ns, data, bool(count) and offset_ns < ends_ns, stream, 0, number))
    return parts


def decoded_parts(frames: list[TimedFrame]) -> list[Part]:
    """A part for each frame, which comes when its last byte did."""
    return list(_whole(frames))


def _whole(frames: list[TimedFrame]) -> Iterator[Part]:
    greeting = greeting_length(frames)
    for frame in frames:
        if frame.raw:
            yield Part(frame.offset_ns, frame.raw, frame.seq <= greeting, frame.stream, frame.seq, frame.seq)
