"""A recorded stream as parts, laid down once for all who it is played to: its bytes in pieces, and where they are cut.

A part is made when it is asked for. A million events take a little more than their bytes, however many listen; and
where nothing holds it up, a stream goes out piece by piece, without anybody looking at its parts.

How much of a stream goes out in one write, so that a client's parser can be tried on every cut. Pure.

`recorded`: as it was read from upstream; `frame`: a frame a write; `byte`: a byte a write; `random:SEED`: from one
byte to a few dozen, the same for the same seed and stream.

How a recorded stream is cut into parts: by its reads, its frames, and its connect snapshot. Pure.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from random import Random
from typing import overload

from ...errors import UsageError
from ...model import StreamColumns, TimedFrame
from ...omnigent.connect_snapshot import Greeting, greeting_length
from ..parts import Part, frames_of

PIECE = 256 * 1024
"""Bytes after which a piece ends. What is done for a piece costs as much as writing 16 KiB of it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Parts that follow each other, as one write. `upto`: the number of the part behind the last of them."""

    data: bytes
    upto: int
    last_ns: int
    """The latest recorded offset of what a gate may hold; -1: of the connect snapshot alone."""
    frame: Part | None
    """The last frame that ends in it: the place of its last part, without the bytes."""


class Strip(Sequence[Part]):
    """The parts of one recorded stream, in order. `pieces`: by the number of the part with which they begin; none where
    offsets go back, so that a piece's last one is not its latest."""

    def __init__(self, parts: Iterable[tuple[int, int, int, bytes]], stream: int, greeting: int) -> None:
        """`parts`: offset in ns, frame, read and bytes of each; `greeting`: the last frame of the connect snapshot."""
        self._stream = stream
        self._greeting = greeting
        self._offsets, self._seqs, self._reads = array("q"), array("q"), array("q")
        self._ends = array("q")  # of each part, in its piece
        self._firsts = array("q")  # of each piece
        self._data: list[bytes] = []
        self._lay_down(parts)
        self._cut_to_pieces()

    def _cut_to_pieces(self) -> None:
        in_order = all(map(int.__le__, self._offsets, self._offsets[1:]))
        self.pieces = {piece: self._piece(n) for n, piece in enumerate(self._firsts)} if in_order else {}

    @classmethod
    def of(cls, content: StreamColumns, stream: int, greeting: int, zero: int = 0) -> Strip:
        """The same of a stream of which all was kept, by the list instead of part by part. `zero`: what is added to its
        times."""
        strip = cls((), stream, greeting)
        cuts = sorted({*content.frame_ends, *content.read_ends} - {0})
        strip._seqs.extend(1 + bisect_left(content.frame_ends, cut) for cut in cuts)
        strip._reads.extend(bisect_left(content.read_ends, cut) for cut in cuts)
        strip._offsets.extend(content.times[read] + zero for read in strip._reads)
        first = start = 0
        while first < len(cuts):
            upto = min(len(cuts), bisect_left(cuts, start + PIECE, first) + 1)
            strip._firsts.append(first)
            strip._ends.extend(cut - start for cut in cuts[first:upto])
            strip._data.append(content.body[start : cuts[upto - 1]])
            first, start = upto, cuts[upto - 1]
        strip._cut_to_pieces()
        return strip

    def _lay_down(self, parts: Iterable[tuple[int, int, int, bytes]]) -> None:
        datas: list[bytes] = []
        size = 0
        for offset_ns, seq, read, data in parts:
            if not datas:
                self._firsts.append(len(self._ends))
            size += len(data)
            datas.append(data)
            self._offsets.append(offset_ns)
            self._seqs.append(seq)
            self._reads.append(read)
            self._ends.append(size)
            if size >= PIECE:
                self._data.append(b"".join(datas))
                datas, size = [], 0
        if datas:
            self._data.append(b"".join(datas))

    def _piece(self, number: int) -> Piece:
        first = self._firsts[number]
        upto = self._firsts[number + 1] if number + 1 < len(self._firsts) else len(self)
        last_ns = -1 if self._seqs[upto - 1] <= self._greeting else self._offsets[upto - 1]
        ends = (n for n in range(upto - 1, first - 1, -1) if self.ends_a_frame(n))
        end = next(ends, None)
        return Piece(self._data[number], upto, last_ns, None if end is None else self._part(end, b""))

    def ends_a_frame(self, number: int) -> bool:
        """Whether this part is the last of its frame."""
        return number + 1 == len(self) or self._seqs[number] != self._seqs[number + 1]

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, number: int) -> Part: ...
    @overload
    def __getitem__(self, number: slice) -> list[Part]: ...
    def __getitem__(self, number: int | slice) -> Part | list[Part]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        piece = bisect_right(self._firsts, number) - 1
        start = 0 if number == self._firsts[piece] else self._ends[number - 1]
        return self._part(number, self._data[piece][start : self._ends[number]])

    def _part(self, number: int, data: bytes) -> Part:
        seq = self._seqs[number]
        return Part(self._offsets[number], data, seq <= self._greeting, self._stream, seq, self._reads[number])


LONGEST = 48
"""The most bytes in one write of `random`: less than the shortest frame that Omnigent sends."""

Cut = Callable[[bytes], Iterator[bytes]]
"""Takes what is due, gives what is written, one by one."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """`joined`: what is due at once may go out at once, whatever it was recorded in."""

    kind: str = "recorded"
    seed: int = 0
    joined: bool = False

    @property
    def alone(self) -> bool:
        """Whether a part goes out alone, even if what follows came with it."""
        return self.kind == "frame"

    def of(self, parts: Sequence[Part]) -> Sequence[Part]:
        """The parts as this plays them: in whole frames, where it writes frames."""
        return list(_whole(parts)) if self.kind == "frame" else parts

    def cut(self, stream: int) -> Cut:
        """What makes writes out of what is due of one stream. It remembers how far its random numbers are."""
        if self.kind == "byte":
            return _bytes
        if self.kind == "random":
            return _random(Random(f"{self.seed}/{stream}"))
        return _as_it_is


def chunks_of(spec: str | None = None) -> Chunks:
    """The way of `--chunks`. None: as recorded, but joined where there are no gaps. Raises `UsageError`."""
    if spec is None:
        return Chunks(joined=True)
    kind, colon, seed = spec.partition(":")
    if kind in ("recorded", "frame", "byte") and not colon:
        return Chunks(kind)
    if kind == "random" and (not colon or (seed.isascii() and seed.isdecimal())) and len(seed) < 20:
        return Chunks(kind, int(seed or 0))
    raise UsageError(f"chunks {spec!r} is none of recorded, frame, byte, random:SEED (for instance random:7)")


def _whole(parts: Iterable[Part]) -> Iterator[Part]:
    for frame in frames_of(parts):
        yield replace(frame[-1], data=b"".join(part.data for part in frame))


def _as_it_is(data: bytes) -> Iterator[bytes]:
    if data:
        yield data


def _bytes(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1] for at in range(len(data)))


def _random(random: Random) -> Cut:
    def cut(data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            size = random.randint(1, LONGEST)
            yield data[at : at + size]
            at += size

    return cut


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
    return list(_whole_frames(frames))


def _whole_frames(frames: list[TimedFrame]) -> Iterator[Part]:
    greeting = greeting_length(frames)
    for frame in frames:
        if frame.raw:
            yield Part(frame.offset_ns, frame.raw, frame.seq <= greeting, frame.stream, frame.seq, frame.seq)
