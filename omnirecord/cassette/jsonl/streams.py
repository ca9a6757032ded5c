"""Makes the rows of a stream from the lines of the text form, with the framing of the recorder."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from ...contract.judge import Contract, Judgement
from ...errors import BrokenCassette
from ...wire.sse import Frame
from ..framing import PORTION, Framed, Framer, cut
from ..sqlite import rows, stream_rows
from ..sqlite.rows import Row
from .models import ExchangeLine, FrameLine, ResponseLine


@dataclass(slots=True)
class Begun:
    """An exchange whose lines are being read."""

    exchange: ExchangeLine
    frames: list[FrameLine] = field(default_factory=list)
    reads: list[tuple[int, int | None, int]] = field(default_factory=list)
    sent: int = 0
    """Bytes of its request, or of a WebSocket's messages up."""
    received: int = 0
    """Bytes of its response as on the wire, or of a WebSocket's messages down."""


class Expected(Contract):
    """A contract that refuses the first frame that differs from the next line of the file.

    So a small body that decodes to a huge one does not become frames.
    """

    def __init__(self, contract: Contract, lines: list[FrameLine], differs: BrokenCassette) -> None:
        super().__init__(contract.name, contract.types, lambda _type, _payload: ())
        self._judges, self._differs = contract.judge, differs
        self._next = iter(lines)

    def judge(self, frame: Frame) -> Judgement:
        line = next(self._next, None)
        if line is None or line.raw != frame.raw:
            raise self._differs
        return self._judges(frame)


@dataclass(frozen=True, slots=True)
class _Part:
    """The bytes on the wire of one read; `data` is None if they are lost."""

    read: int
    size: int
    data: bytes | None


def length(frame: FrameLine) -> int:
    return frame.length if frame.raw is None else len(frame.raw)


def lost_bytes(part: _Part) -> int:
    return part.size if part.data is None else 0


def whole(begun: Begun, exchange: int, stream: int, contract: Contract, differs: BrokenCassette) -> Iterator[Row]:
    """Yield the rows of a stream without a coding and without lost bytes. Many frames are made at a time.

    Raises `differs` if its bytes make other frames.
    """
    sizes = [size for *_, size in begun.reads]
    data = list(cut(((length(frame), frame.raw) for frame in begun.frames), sizes))
    yield from read_blocks(exchange, begun, data)
    columns, framer, first, held = stream_rows.FrameColumns(), Framer(None, contract), 0, 0
    for last, size in enumerate(sizes, 1):
        held += size
        if held >= PORTION or last == len(sizes):
            some = b"".join(data[first:last])  # type: ignore[arg-type]  # nothing is lost
            for portion in framer.portions(first, sizes[first:last], some, runs=True):
                columns.add(portion)
            first, held = last, 0
    columns.add(framer.close())
    if columns.lengths != list(map(length, begun.frames)):
        raise differs
    yield from stream_rows.frame_blocks(stream, columns, lambda read: begun.reads[read][0])


def made_of(framer: Framer, wire: Iterable[_Part]) -> Iterator[Framed]:
    """Yield the frames of the bytes, made as the recorder made them."""
    for part in wire:
        if part.data is None:
            yield from framer.skip(part.read, part.size)
            continue
        for some in framer.portions(part.read, [part.size], part.data, runs=False):
            yield from some  # type: ignore[misc]  # without runs
    yield from framer.close()


def coded(begun: Begun, response: ResponseLine) -> Iterator[_Part]:
    """Yield a coded body read by read."""
    body, at = response.body or b"", 0
    for n, (_, _, size) in enumerate(begun.reads):
        if n in response.lost:
            yield _Part(n, size, None)
        else:
            yield _Part(n, size, body[at : at + size])
            at += size


def plain(begun: Begun) -> Iterator[_Part]:
    """Yield the bytes of frames, split by reads. A frame with lost bytes is whole and belongs to its last read."""
    ends = list(accumulate(size for *_, size in begun.reads))
    start = 0
    for frame in begun.frames:
        end = start + length(frame)
        read = bisect_left(ends, end)
        if frame.raw is None or read == 0 or ends[read - 1] <= start:
            yield _Part(read, end - start, frame.raw)
        else:
            yield from _cut(frame.raw, start, ends)
        start = end


def _cut(raw: bytes, start: int, ends: list[int]) -> Iterator[_Part]:
    at = 0
    while at < len(raw):
        read = bisect_right(ends, start + at)
        step = ends[read] - start - at if read < len(ends) else len(raw)
        yield _Part(read, min(step, len(raw) - at), raw[at : at + step])
        at += step


def read_blocks(exchange: int, begun: Begun, data: Iterable[bytes | None]) -> Iterator[Row]:
    blocks = stream_rows.ReadBlocks(exchange)
    made: list[Row] = []
    for (offset, sent, size), one in zip(begun.reads, data, strict=True):
        blocks.add(offset, sent, size, one, made)
        yield from made
        made.clear()
    yield from blocks.close()


def content(exchange: int, frames: list[FrameLine]) -> Iterator[Row]:
    """Yield the rows with the decoded bytes of a coded body."""
    start = 0
    for frame in frames:
        if frame.raw:
            yield from rows.chunks(exchange, "content", start, frame.raw)
        start += length(frame)


class Counted:
    """An iterator of frames that counts them."""

    def __init__(self, framed: Iterator[Framed]) -> None:
        self._framed = framed
        self.count = 0

    def __iter__(self) -> Iterator[Framed]:
        for one in self._framed:
            self.count += 1
            yield one
