"""Converts the reads of a stream to judged frames: joins parser, content coding and contract. Pure, in linear time.

The recorder and the reader use the same code, so a derived frame equals the frame that the recorder would have stored.
`cut` splits the bytes of a stream at other positions.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise, repeat
from typing import NamedTuple

from ..contract.judge import Contract, Judgement
from ..wire.content_coding import CodingError, Decoder, Identity, decoder
from ..wire.limits import AN_EVENT, max_decoded, shown_size
from ..wire.sse import BLANK_LINE, Frame, Parser, is_utf8

PORTION = 64 * 1024
"""Bytes of decoded content per step."""
_LARGE = 1 << 20
"""Bytes of content without a coding per step; a read has less."""
_LEAST = 4
"""Fewest frames in a run: the start of a run costs as much as some frames."""
_new = tuple.__new__
LONGEST = 1 << 28
"""Most bytes of a piece, as of any value in a cassette."""
Span = tuple[int, bytes | None]
"""Number of bytes, and the bytes; None if they were lost."""


class Framed(NamedTuple):
    """A frame, its judgement by the contract, and the read that brought its last byte."""

    frame: Frame
    judgement: Judgement
    read: int


class Run(NamedTuple):
    """Consecutive valid frames of one type: their lengths in bytes, and the reads that brought their last bytes."""

    type: str
    lengths: list[int]
    reads: list[int]


class Framer:
    """Makes the frames of one stream, from byte `begun_at` on.

    `limit` is the memory limit for the frames of a coded stream in bytes, by default `max_decoded()`; a stream without
    a coding has no limit. `decodes`: the stream has a content coding. `taken` is the number of content bytes that the
    parser has, `cut` that of those in frames, `read` the last read with bytes. `broken` says why no more frames can be
    made. `stopped_at` is the limit, once it is reached.
    """

    __slots__ = (
        "_contract",
        "_decoder",
        "_left",
        "_limit",
        "_parser",
        "broken",
        "cut",
        "decodes",
        "read",
        "stopped_at",
        "taken",
    )

    def __init__(
        self, content_encoding: str | None, contract: Contract, begun_at: int = 0, limit: int | None = None
    ) -> None:
        self._contract = contract
        self._parser = Parser(at_start=begun_at == 0)
        self.cut = self.taken = begun_at
        self.read = 0
        self.broken: str | None = None
        self.stopped_at: int | None = None
        self._limit = self._left = max_decoded() if limit is None else limit
        self._decoder: Decoder | None
        try:
            self._decoder = decoder(content_encoding)
        except CodingError as error:
            self._decoder = None
            self.broken = str(error)
        self.decodes = not isinstance(self._decoder, Identity)

    @property
    def holds(self) -> bool:
        """Whether some bytes are in no frame yet."""
        return self.cut < self.taken

    @property
    def is_between(self) -> bool:
        """Whether the next byte begins a frame that is not the first one."""
        return self._parser.is_between

    def leave_out(self, frames: bytes) -> int:
        """Count complete frames without making them. The content has no coding, the bytes are usual, and the next byte
        begins a frame."""
        self.taken += len(frames)
        self.cut = self.taken
        return frames.count(BLANK_LINE)

    @property
    def cost(self) -> int:
        """Memory cost of the frames of a coded stream so far, in bytes."""
        return self._limit - self._left

    def feed(self, read: int, data: bytes) -> list[Framed]:
        """Take the bytes of read number `read`; return the frames that they complete. These may be many for a coded
        stream: `portions` limits memory."""
        if not self.decodes:
            return self._feed(read, data)
        return [one for some in self._decoded(read, data) for one in some]

    def portions(
        self, first: int, sizes: Sequence[int], data: bytes, *, runs: bool
    ) -> Iterator[Sequence[Framed | Run]]:
        """Take the bytes of several reads from number `first` on; yield the frames that they complete, in portions, so
        that memory is bounded. `runs`: similar frames are one `Run`. Take all portions before the next call."""
        ends = list(accumulate(sizes))
        if self.decodes:
            for read, (start, end) in enumerate(pairwise([0, *ends]), first):
                yield from self._decoded(read, data[start:end])
            return
        if len(data) <= _LARGE:
            yield self._feed_runs(first, ends, data) if runs else self._feed(first, data, ends)
        else:
            for at in range(0, len(data), PORTION):
                yield self._feed(first, data[at : at + PORTION], [end - at for end in ends])

    def _decoded(self, read: int, data: bytes) -> Iterator[list[Framed]]:
        try:
            for piece in self._decoder.decode(data) if self._decoder else ():
                for at in range(0, len(piece), PORTION):
                    yield self._feed(read, piece[at : at + PORTION])
                    if self._decoder is None:
                        return
        except CodingError as error:
            self._decoder = None
            self.broken = str(error)

    def _within_limit(self, frames: list[Frame]) -> list[Frame]:
        """Return the frames within the limit. The result does not depend on how the stream was split."""
        cost = sum([frame.length for frame in frames]) + AN_EVENT * len(frames)
        if cost + self._parser.pending + AN_EVENT <= self._left:
            self._left -= cost
            return frames
        kept = 0
        left = self._left
        for frame in frames:
            if (left := left - frame.length - AN_EVENT) < 0:
                break
            kept = kept + 1
            self._left = left
        if kept < len(frames) or self._parser.pending + AN_EVENT > self._left:
            self._parser = Parser(at_start=False)
            self._decoder = None
            self.stopped_at = self._limit
            self.broken = (
                f"decoded up to {shown_size(self._limit)} of events, the limit (--max-decoded): the rest has no events,"
                " and its bytes are stored as received"
            )
        return frames[:kept]

    def _feed_runs(self, first: int, ends: Sequence[int], data: bytes) -> list[Framed | Run]:
        found: list[Framed | Run] = []
        start = 0
        stop = 0 if self._parser.is_between else _behind_frame(data, 0)
        while True:
            if stop > start:
                found += self._feed(first, data[start:stop], [end - start for end in ends])
            run = self._run(first, ends, data, stop)
            if run is None:
                break
            found.append(run)
            start = stop + sum(run.lengths)
            stop = _behind_frame(data, start)
        if stop < len(data):
            found += self._feed(first, data[stop:], [end - stop for end in ends])
        return found

    def _run(self, first: int, ends: Sequence[int], data: bytes, start: int) -> Run | None:
        if start == len(data) or not self._parser.is_between:
            return None
        lengths, type_ = self._contract.run(data, start)
        part = data[start : start + sum(lengths)]
        if len(lengths) < _LEAST or not is_text(part):
            return None
        reads = _brought(first, ends, start, lengths)
        self.taken += len(part)
        self.cut = self.taken
        self.read = reads[-1]
        return Run(type_, lengths, reads)

    def _feed(self, read: int, piece: bytes, ends: Sequence[int] = ()) -> list[Framed]:
        """`ends`: the offsets in the piece at which the reads from `read` on end, if there are several."""
        frames = self._parser.feed(piece)
        before = self.cut
        if self.decodes:
            frames = self._within_limit(frames)
        framed: list[Framed] = []
        if frames:
            reads: Iterable[int] = repeat(read)
            if ends:
                reads = _brought(read, ends, before - self.taken, [frame.length for frame in frames])
            framed = self._framed(frames, reads)
            # A frame that ended with the bytes before was held back for an LF, which did not arrive.
            if before + frames[0].length <= self.taken:
                framed[0] = framed[0]._replace(read=self.read)
        self.taken += len(piece)
        self.cut = self.taken - self._parser.pending
        if self.stopped_at is not None:  # drop the bytes that are in no frame
            self.cut = self.taken = before + sum(frame.length for frame in frames)
        if piece:
            self.read = read + bisect_left(ends, len(piece))  # the last read with bytes
        return framed

    def _framed(self, frames: list[Frame], reads: Iterable[int]) -> list[Framed]:
        # `Framed(…)` of each, without a call in Python for it
        return list(map(_new, repeat(Framed), zip(frames, self._contract.judge_all(frames), reads, strict=False)))

    def skip(self, read: int, size: int) -> list[Framed]:
        """Skip lost bytes: the open frame is cut off, and a frame without `raw` stands for the lost bytes."""
        if self.stopped_at is not None:
            return []
        framed = self.close()
        self._parser = Parser(at_start=False)
        lost = Frame(None, size, complete=False)
        self.taken += size
        self.cut = self.taken
        return [*framed, *self._framed([lost], (read,))]

    def close(self) -> list[Framed]:
        """End the stream; return the remaining frames, the last one possibly cut off."""
        framed = self._framed(self._parser.close(), repeat(self.read))
        self.cut = self.taken
        return framed


def _brought(first: int, ends: Sequence[int], start: int, lengths: Sequence[int]) -> list[int]:
    """Return the reads that brought the last bytes of consecutive frames. `ends`: the ends of reads from `first` on."""
    places = list(accumulate(lengths, initial=start))[1:]
    at = bisect_right(ends, start)
    if ends[at : at + len(places)] == places:  # one frame per read
        return list(range(first + at, first + at + len(places)))
    reads: list[int] = []
    for read, end in enumerate(ends, first):
        reads += [read] * (bisect_right(places, end) - len(reads))
    return reads


def _behind_frame(data: bytes, start: int) -> int:
    """Return the end of the frame at `start`: after its blank line, or at the end of the data."""
    end = data.find(BLANK_LINE, start)
    return len(data) if end < 0 else end + len(BLANK_LINE)


def is_usual(data: bytes) -> bool:
    """Whether all lines end in LF, and no two blank lines are adjacent, so that frames may be counted by them."""
    return BLANK_LINE in data and b"\r" not in data and b"\n\n\n" not in data


def storable_type(type_: str | None) -> str | None:
    """Return an event type for storage: a lone surrogate, which has no UTF-8, becomes an escape."""
    return type_ and type_.encode("utf-8", "backslashreplace").decode()


def is_text(data: bytes) -> bool:
    """Whether bytes are UTF-8 without NUL, so that any SQLite tool shows them."""
    return b"\0" not in data and is_utf8(data)


def cut(spans: Iterable[Span], sizes: Iterable[int]) -> Iterator[bytes | None]:
    """Yield the same bytes in pieces of these sizes. Raises `ValueError` if a piece exceeds `LONGEST`. A piece whose
    bytes are all lost is None. Other lost bytes are zeros, which no stored frame covers."""
    source = iter(spans)
    left = 0
    data: bytes | None = None
    for size in sizes:
        parts: list[Span] = []
        while size > 0:
            if left == 0:
                left, data = next(source, (size, None))
            step = min(size, left)
            if step:
                parts.append((step, None if data is None else data[len(data) - left : len(data) - left + step]))
            left = left - step
            size = size - step
        yield _joined(parts)


def _joined(parts: list[Span]) -> bytes | None:
    if parts and all(part is None for _, part in parts):
        return None
    if len(parts) == 1:
        return parts[0][1]
    if sum(length for length, _ in parts) > LONGEST:
        raise ValueError("a read has more bytes than there can be")
    return b"".join(bytes(length) if part is None else part for length, part in parts)
