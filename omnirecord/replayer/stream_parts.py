"""A recorded stream as parts in the order in which they go out; and how parts are cut into writes (`--chunks`). Pure.

A part lies within one frame and one read: a read with two frames makes two parts, and so does a frame in two reads.
Faults and ids take parts and return parts. `StreamParts` is prepared once for all clients. A part is made when it is
requested, so a million events take little more memory than their bytes. A stream that nothing holds goes out in bursts,
without a look at its parts.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise
from random import Random
from typing import overload

from ..cassette.sqlite.stream_reads import FrameTable
from ..errors import UsageError
from ..model import TimedFrame
from ..omnigent.line import connect_snapshot_length


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
    for _, frame in groupby(parts, lambda part: (part.stream, part.seq) if part.seq else object()):
        yield list(frame)


BURST = 256 * 1024
"""Bytes after which a burst ends. The work for a burst costs as much as writing 16 KiB."""


@dataclass(frozen=True, slots=True)
class Burst:
    """Consecutive parts that go out in one write. `upto`: the number of the part behind the last of them."""

    data: bytes
    upto: int
    last_ns: int
    """Latest recorded offset of a part that a gate may hold, in ns; -1 if all are of the connect snapshot."""
    frame: Part | None
    """The last part of the last frame that ends in the burst, without its bytes."""


class StreamParts(Sequence[Part]):
    """The parts of one recorded stream, in order. `bursts`: by the number of their first part; none if offsets go back,
    since the last part of a burst has to be its latest."""

    def __init__(self, table: FrameTable, stream: int, snapshot_end: int, zero: int = 0) -> None:
        """`snapshot_end`: the last frame of the connect snapshot. `zero`: ns to add to the times of the table."""
        self._stream = stream
        self._snapshot_end = snapshot_end
        frame_ends = table.ends
        read_ends = list(accumulate(table.sizes))
        cuts = sorted({*frame_ends, *read_ends} - {0})
        self._seqs = array("q", (1 + bisect_left(frame_ends, cut) for cut in cuts))
        self._reads = array("q", (bisect_left(read_ends, cut) for cut in cuts))
        self._offsets = array("q", (table.came[read] + zero for read in self._reads))
        self._ends = array("q")  # of each part, within its burst
        self._firsts = array("q")  # of each burst
        self._data: list[bytes] = []
        first = start = 0
        while first < len(cuts):
            upto = min(len(cuts), bisect_left(cuts, start + BURST, first) + 1)
            self._firsts.append(first)
            self._ends.extend(cut - start for cut in cuts[first:upto])
            self._data.append(table.body[start : cuts[upto - 1]])
            first = upto
            start = cuts[upto - 1]
        in_order = all(map(int.__le__, self._offsets, self._offsets[1:]))
        self.bursts = {burst: self._burst(n) for n, burst in enumerate(self._firsts)} if in_order else {}

    def _burst(self, number: int) -> Burst:
        first = self._firsts[number]
        upto = self._firsts[number + 1] if number + 1 < len(self._firsts) else len(self)
        last_ns = -1 if self._seqs[upto - 1] <= self._snapshot_end else self._offsets[upto - 1]
        ends = (n for n in range(upto - 1, first - 1, -1) if self.ends_a_frame(n))
        end = next(ends, None)
        return Burst(self._data[number], upto, last_ns, None if end is None else self._part(end, b""))

    def ends_a_frame(self, number: int) -> bool:
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
        burst = bisect_right(self._firsts, number) - 1
        start = 0 if number == self._firsts[burst] else self._ends[number - 1]
        return self._part(number, self._data[burst][start : self._ends[number]])

    def _part(self, number: int, data: bytes) -> Part:
        seq = self._seqs[number]
        return Part(self._offsets[number], data, seq <= self._snapshot_end, self._stream, seq, self._reads[number])


LONGEST = 48
"""Longest write of `random`, in bytes: less than the shortest frame that Omnigent sends."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """How a stream is cut into writes. `recorded`: as read from upstream; `frame`: a frame a write; `byte`: a byte a
    write; `random`: 1 to 48 bytes, the same for the same seed and stream. `joined`: parts that are due together go out
    together."""

    kind: str = "recorded"
    seed: int = 0
    joined: bool = False

    def of(self, parts: Sequence[Part]) -> Sequence[Part]:
        """Return the parts to play: whole frames if it writes frames."""
        if self.kind != "frame":
            return parts
        return [replace(frame[-1], data=b"".join(part.data for part in frame)) for frame in frames_of(parts)]

    def cut(self, stream: int) -> Callable[[bytes], Iterable[bytes]]:
        """Return the function that cuts the due bytes of one stream into writes. It keeps its random numbers."""
        if self.kind not in ("byte", "random"):
            return lambda data: [data] if data else []
        random = Random(f"{self.seed}/{stream}")
        longest = 1 if self.kind == "byte" else LONGEST

        def cut(data: bytes) -> Iterator[bytes]:
            at = 0
            while at < len(data):
                size = random.randint(1, longest)
                yield data[at : at + size]
                at += size

        return cut


def chunks_of(spec: str | None = None) -> Chunks:
    """Return the chunks of `--chunks`. None: as recorded, but joined if there are no gaps. Raises `UsageError`."""
    if spec is None:
        return Chunks(joined=True)
    kind, colon, seed = spec.partition(":")
    if kind in ("recorded", "frame", "byte") and not colon:
        return Chunks(kind)
    if kind == "random" and (not colon or (seed.isascii() and seed.isdecimal())) and len(seed) < 20:
        return Chunks(kind, int(seed or 0))
    raise UsageError(f"chunks {spec!r} is none of recorded, frame, byte, random:SEED (for instance random:7)")


Reads = Iterable[tuple[int, int]]
"""Offset in recorded ns, and number of bytes, of each read from upstream."""


def parts_of(reads: Reads, frames: Iterable[TimedFrame]) -> StreamParts:
    """Return a part for each read and frame that share bytes, in order. An oversized frame has no bytes."""
    frames = list(frames)
    bounds = list(accumulate((frame.length for frame in frames), initial=0))
    kept = list(accumulate((len(frame.raw or b"") for frame in frames), initial=0))

    def kept_before(byte: int) -> int:
        """Return the number of kept bytes before an offset in the stream."""
        last = bisect_right(bounds, byte) - 1
        return min(kept[last] + byte - bounds[last], kept[min(last + 1, len(frames))])

    reads = list(reads)
    came = [offset_ns for offset_ns, _ in reads]
    sizes = [size for _, size in reads]
    ends = [kept_before(end) for end in accumulate(sizes, initial=0)]
    body = b"".join(frame.raw or b"" for frame in frames)
    table = FrameTable(body, kept[1:], came=came, sizes=[end - start for start, end in pairwise(ends)])
    return StreamParts(table, frames[0].stream if frames else 0, connect_snapshot_length(frames))


def coded_parts(stream: int, reads: Reads, wire: bytes, frames: list[TimedFrame]) -> list[Part]:
    """Return the reads of a body with a content coding: its frames cannot be told apart."""
    count = connect_snapshot_length(frames)
    ends_ns = frames[count].offset_ns if count < len(frames) else float("inf")
    parts = []
    start = 0
    for number, (offset_ns, size) in enumerate(reads):
        data = wire[start : start + size]
        start += size
        if data:
            parts.append(Part(offset_ns, data, bool(count) and offset_ns < ends_ns, stream, 0, number))
    return parts


def decoded_parts(frames: list[TimedFrame]) -> list[Part]:
    """Return a part for each frame, at the time of its last byte."""
    end = connect_snapshot_length(frames)
    return [part_of(frame, frame.seq <= end) for frame in frames if frame.raw]


def part_of(frame: TimedFrame, in_snapshot: bool) -> Part:
    """Return a whole frame as a part, at the time of its last byte."""
    return Part(frame.offset_ns, frame.raw or b"", in_snapshot, frame.stream, frame.seq, frame.seq)
