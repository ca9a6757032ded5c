"""How a recorded stream is cut into parts: by its reads, its frames, and its connect snapshot. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..cassette import TimedFrame
from ..greeting import greeting_length
from ..parts import Part

Reads = Iterable[tuple[int, int]]
"""When, in recorded ns, how many bytes of the wire came."""


def parts_of(reads: Reads, frames: list[TimedFrame]) -> list[Part]:
    """A part for each read and frame that have bytes in common, in order. Of an oversized frame nothing was kept."""
    greeting = greeting_length(frames)
    return [
        Part(offset_ns, frame.raw[start:end], frame.seq <= greeting, frame.stream, frame.seq, number)
        for number, offset_ns, frame, start, end in _overlaps(reads, frames)
        if frame.raw
    ]


def _overlaps(reads: Reads, frames: Iterable[TimedFrame]) -> Iterator[tuple[int, int, TimedFrame, int, int]]:
    """Read, its offset, frame, and from where to where in the frame's bytes they overlap."""
    rest = iter(frames)
    frame, at = next(rest, None), 0
    for number, (offset_ns, size) in enumerate(reads):
        while size and frame is not None:
            end = min(frame.length, at + size)
            yield number, offset_ns, frame, at, end
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
