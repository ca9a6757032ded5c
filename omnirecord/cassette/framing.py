"""The reads of a stream in, judged frames out: parser, content coding and contract put together.

Recorder and reader both make frames with this, so a frame that is derived later is the frame that would have been
stored. No I/O and no clock; linear in its input.

A stream's bytes, cut at other places than those at which they are at hand. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, repeat
from typing import NamedTuple

from ..omnigent.contract import Contract, Judgement
from ..wire.content_coding import CodingError, Decoder, Identity, decoder
from ..wire.limits import AN_EVENT, max_decoded, shown_size
from ..wire.sse import BLANK_LINE, Frame, Parser


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


PORTION = 64 * 1024
"""Bytes of decoded content that are made into frames at a time."""
_LARGE = 1 << 20
"""The same of content without a coding: a read has less."""
_LEAST = 4
"""Frames that a run has to have: to begin one costs as much as to look at some."""
_new = tuple.__new__


class Framer:
    """One stream's bytes, read by read, from `begun_at` bytes on (where frames were made before).

    `cut`: how many bytes of content are in frames by now. `broken`: why no more frames can be made, once that is so.
    `limit`: how much a coded stream's frames may cost, by default `limits.max_decoded()`; a stream without a coding has
    no limit. `stopped_at`: that limit, once it is reached.
    """

    __slots__ = (
        "_contract", "_decoder", "_fed", "_is_plain", "_left", "_limit", "_parser", "_read", "broken", "cut",
        "stopped_at",
    )  # fmt: skip

    def __init__(
        self, content_encoding: str | None, contract: Contract, begun_at: int = 0, limit: int | None = None
    ) -> None:
        self._contract = contract
        self._parser = Parser(at_start=begun_at == 0)
        self.cut = begun_at
        self._fed = begun_at  # bytes of content that the parser was given
        self._read = 0  # the last that brought any
        self.broken: str | None = None
        self.stopped_at: int | None = None
        self._limit = self._left = max_decoded() if limit is None else limit
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
    def taken(self) -> int:
        """How many bytes of content the parser was given."""
        return self._fed

    @property
    def cost(self) -> int:
        """What the frames of a coded stream have cost by now."""
        return self._limit - self._left

    @property
    def decodes(self) -> bool:
        """Whether the content is not what was on the wire."""
        return not self._is_plain

    def feed(self, read: int, data: bytes) -> list[Framed]:
        """Take what read number `read` brought; return the frames that are complete by now. Of a coded stream these may
        be many: `portions` has them a few at a time."""
        if self._is_plain:
            return self._feed(read, data)
        return [one for some in self._decoded(read, data) for one in some]

    def portions(
        self, first: int, sizes: Sequence[int], data: bytes, *, runs: bool
    ) -> Iterator[Sequence[Framed | Run]]:
        """The same as `feed_runs` or `feed_reads`, in portions, so that memory is bounded whatever the content decodes
        to. Take all portions before anything else is fed."""
        if not self._is_plain:
            for read, part in enumerate(_parts(sizes, data), first):
                yield from self._decoded(read, part)
        elif len(data) <= _LARGE:
            yield self.feed_runs(first, sizes, data) if runs else self.feed_reads(first, sizes, data)
        else:
            ends = list(accumulate(sizes))
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
        """Those that the limit leaves. How the stream was cut changes nothing about which these are."""
        cost = sum([frame.length for frame in frames]) + AN_EVENT * len(frames)
        if cost + self._parser.pending + AN_EVENT <= self._left:
            self._left -= cost
            return frames
        kept, left = 0, self._left
        for frame in frames:
            if (left := left - frame.length - AN_EVENT) < 0:
                break
            kept, self._left = kept + 1, left
        if kept < len(frames) or self._parser.pending + AN_EVENT > self._left:
            self._stop()
        return frames[:kept]

    def _stop(self) -> None:
        """Make no more frames."""
        self._parser = Parser(at_start=False)
        self._decoder, self.stopped_at = None, self._limit
        self.broken = (
            f"decoded up to {shown_size(self._limit)} of events, the limit (--max-decoded): no events are made of the"
            " rest, its bytes are kept as they came"
        )

    def feed_reads(self, first: int, sizes: Sequence[int], data: bytes) -> list[Framed]:
        """Take what several reads brought, the first of them `first`: the same as one by one, for less work."""
        if len(sizes) == 1 or not data:
            return self.feed(first, data)
        if not self._is_plain:
            return [one for read, part in enumerate(_parts(sizes, data), first) for one in self.feed(read, part)]
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
        frames, before = self._parser.feed(piece), self.cut
        if not self._is_plain:
            frames = self._within_limit(frames)
        framed = self._framed(frames, self._reads_of(frames, read, ends)) if frames else []
        # One that ended with what was there before was held back for an LF, which did not come.
        if frames and self.cut + frames[0].length <= self._fed:
            framed[0] = framed[0]._replace(read=self._read)
        self._fed += len(piece)
        self.cut = self._fed - self._parser.pending
        if self.stopped_at is not None:  # what is in no frame is forgotten
            self.cut = self._fed = before + sum(frame.length for frame in frames)
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
        if self.stopped_at is not None:
            return []
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


def _parts(sizes: Sequence[int], data: bytes) -> Iterator[bytes]:
    """What each read brought."""
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size


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


Span = tuple[int, bytes | None]
"""How many bytes, and these; None where they were lost."""


def cut(spans: Iterable[Span], sizes: Iterable[int]) -> Iterator[bytes | None]:
    """The same bytes in pieces of these sizes. One of which all bytes were lost is None; what a piece lacks else is
    zeros, which nobody looks at: no frame that was kept is there."""
    source = iter(spans)
    left, data = 0, None  # type: tuple[int, bytes | None]
    for size in sizes:
        parts: list[bytes | None] = []
        lengths: list[int] = []
        while size > 0:
            if left == 0:
                found = next(source, None)
                if found is None:
                    parts.append(None)
                    lengths.append(size)
                    break
                left, data = found
            step = min(size, left)
            if step:
                parts.append(None if data is None else data[len(data) - left : len(data) - left + step])
                lengths.append(step)
            left, size = left - step, size - step
        yield _joined(parts, lengths)


LONGEST = 1 << 28
"""The most bytes of a piece, as of any value that is read."""


def _joined(parts: list[bytes | None], lengths: list[int]) -> bytes | None:
    if parts and all(part is None for part in parts):
        return None
    if len(parts) == 1:
        return parts[0]
    if sum(lengths) > LONGEST:
        raise ValueError("a read has more bytes than there can be")
    return b"".join(bytes(length) if part is None else part for part, length in zip(parts, lengths, strict=True))
