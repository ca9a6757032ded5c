"""The reads of a stream in, judged frames out: parser, content coding and contract put together.

Recorder and reader both make frames with this, so a frame that is derived later is the frame that would have been
stored. No I/O and no clock; linear in its input.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, repeat
from typing import NamedTuple

from .coding import CodingError, Decoder, Identity, decoder
from .contract import Contract, Judgement
from .sse import BLANK_LINE, Frame, Parser


class Framed(NamedTuple):
    """A frame, what the contract says of it, and the read that brought its last byte."""

    frame: Frame
    judgement: Judgement
    read: int


class Run(NamedTuple):
    """Frames that follow each other, all valid and of one type, so that nobody had to look at each: how long they are,
    and which reads brought their last bytes."""

    type: str
    lengths: list[int]
    reads: list[int]


_LEAST = 4
"""Frames that a run has to have: to begin one costs as much as to look at some."""
_new = tuple.__new__


class Framer:
    """One stream's bytes, read by read, from `begun_at` bytes on (where frames were made before).

    `cut`: how many bytes of content are in frames by now. `broken`: why no more frames can be made, once that is so.
    """

    __slots__ = ("_contract", "_decoder", "_fed", "_is_plain", "_parser", "_read", "broken", "cut")

    def __init__(self, content_encoding: str | None, contract: Contract, begun_at: int = 0) -> None:
        self._contract = contract
        self._parser = Parser(at_start=begun_at == 0)
        self.cut = begun_at
        self._fed = begun_at  # bytes of content that the parser was given
        self._read = 0  # the last that brought any
        self.broken: str | None = None
        self._decoder: Decoder | None
        try:
            self._decoder = decoder(content_encoding)
        except CodingError as error:
            self._decoder = None
            self.broken = str(error)
        self._is_plain = isinstance(self._decoder, Identity)

    @property
    def read(self) -> int:
        """The number of the last read that brought any bytes."""
        return self._read

    @property
    def holds(self) -> bool:
        """Whether it has bytes that are in no frame yet."""
        return self.cut < self._fed

    @property
    def decodes(self) -> bool:
        """Whether the content is not what was on the wire."""
        return not self._is_plain

    def feed(self, read: int, data: bytes) -> list[Framed]:
        """Take what read number `read` brought; return the frames that are complete by now."""
        if self._is_plain:
            return self._feed(read, data)
        framed = []
        try:
            for piece in self._decoder.decode(data) if self._decoder else ():
                framed += self._feed(read, piece)
        except CodingError as error:
            self._decoder = None
            self.broken = str(error)
        return framed

    def feed_reads(self, first: int, sizes: Sequence[int], data: bytes) -> list[Framed]:
        """Take what several reads brought, the first of them `first`: the same as one by one, for less work."""
        if len(sizes) == 1 or not data:
            return self.feed(first, data)
        if not self._is_plain:
            starts = accumulate(sizes, initial=0)
            parts = (data[start : start + size] for start, size in zip(starts, sizes, strict=False))
            return [one for read, part in enumerate(parts, first) for one in self.feed(read, part)]
        return self._feed(first, data, list(accumulate(sizes)))

    def feed_runs(self, first: int, sizes: Sequence[int], data: bytes) -> list[Framed | Run]:
        """The same as `feed_reads`, where nobody wants to see each frame: what is alike is not made one by one."""
        if not self._is_plain:
            return [*self.feed_reads(first, sizes, data)]
        found: list[Framed | Run] = []
        ends = list(accumulate(sizes))
        start, stop = 0, 0 if self._parser.is_between else _behind_frame(data, 0)
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
        self._fed += len(part)
        self.cut, self._read = self._fed, reads[-1]
        return Run(type_, lengths, reads)

    def _feed(self, read: int, piece: bytes, ends: Sequence[int] = ()) -> list[Framed]:
        """`ends`: where reads from `read` on end in the piece, if it is of several."""
        frames = self._parser.feed(piece)
        framed = self._framed(frames, self._reads_of(frames, read, ends)) if frames else []
        # One that ended with what was there before was held back for an LF, which did not come.
        if frames and self.cut + frames[0].length <= self._fed:
            framed[0] = framed[0]._replace(read=self._read)
        self._fed += len(piece)
        self.cut = self._fed - self._parser.pending
        if piece:
            self._read = read + bisect_left(ends, len(piece))  # the last that brought any
        return framed

    def _reads_of(self, frames: list[Frame], read: int, ends: Sequence[int]) -> Iterable[int]:
        if not ends:
            return repeat(read)
        return _brought(read, ends, self.cut - self._fed, [frame.length for frame in frames])

    def _framed(self, frames: list[Frame], reads: Iterable[int]) -> list[Framed]:
        # `Framed(…)` of each, without a call in Python for it
        return list(map(_new, repeat(Framed), zip(frames, self._contract.judge_all(frames), reads, strict=False)))

    def skip(self, read: int, size: int) -> list[Framed]:
        """Bytes that were lost: what was begun is cut off there, and a frame without `raw` stands for them."""
        framed = self.close()
        self._parser = Parser(at_start=False)
        lost = Frame(None, size, complete=False)
        self._fed += size
        self.cut = self._fed
        return [*framed, *self._framed([lost], (read,))]

    def close(self) -> list[Framed]:
        """Say that nothing follows; return the rest, its last frame perhaps cut off."""
        framed = self._framed(self._parser.close(), repeat(self._read))
        self.cut = self._fed
        return framed


def _brought(first: int, ends: Sequence[int], start: int, lengths: Sequence[int]) -> list[int]:
    """Which reads, from `first` on, that end there, brought the last bytes of frames that follow each other."""
    places = list(accumulate(lengths, initial=start))[1:]
    at = bisect_right(ends, start)
    if ends[at : at + len(places)] == places:  # one with each read
        return list(range(first + at, first + at + len(places)))
    reads: list[int] = []
    for read, end in enumerate(ends, first):
        reads += [read] * (bisect_right(places, end) - len(reads))
    return reads


def _behind_frame(data: bytes, start: int) -> int:
    """Where what begins there ends with a blank line; or with the data."""
    end = data.find(BLANK_LINE, start)
    return len(data) if end < 0 else end + len(BLANK_LINE)


def is_text(data: bytes) -> bool:
    """Whether bytes are text in UTF-8 without NUL, as any SQLite tool can show it."""
    if b"\0" in data:
        return False
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
