"""The reads of a stream in, judged frames out: parser, content coding and contract put together.

Recorder and reader both make frames with this, so a frame that is derived later is the frame that would have been
stored. No I/O and no clock; linear in its input.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from .coding import CodingError, Decoder, Identity, decoder
from .contract import Contract, Judgement
from .sse import Frame, Parser


@dataclass(frozen=True, slots=True)
class Framed:
    """A frame, what the contract says of it, and the read that brought its last byte."""

    frame: Frame
    judgement: Judgement
    read: int


class Framer:
    """One stream's bytes, read by read, from `begun_at` bytes on (where frames were made before).

    `cut`: how many bytes of content are in frames by now. `broken`: why no more frames can be made, once that is so.
    """

    def __init__(self, content_encoding: str | None, contract: Contract, begun_at: int = 0) -> None:
        self._contract = contract
        self._parser = Parser(at_start=begun_at == 0)
        self.cut = begun_at
        self._fed = begun_at  # bytes of content that the parser was given
        self._ends: deque[tuple[int, int]] = deque()  # where each read's content ends, for those not in frames
        self._read = 0
        self.broken: str | None = None
        self._decoder: Decoder | None
        try:
            self._decoder = decoder(content_encoding)
        except CodingError as error:
            self._decoder = None
            self.broken = str(error)

    @property
    def decodes(self) -> bool:
        """Whether the content is not what was on the wire."""
        return not isinstance(self._decoder, Identity)

    def feed(self, read: int, data: bytes) -> list[Framed]:
        """Take what read number `read` brought; return the frames that are complete by now."""
        self._read = read
        framed = []
        try:
            for piece in self._decoder.decode(data) if self._decoder else ():
                self._fed += len(piece)
                self._ends.append((self._fed, read))
                framed += self._judge(self._parser.feed(piece))
        except CodingError as error:
            self._decoder = None
            self.broken = str(error)
        return framed

    def feed_reads(self, first: int, sizes: list[int], data: bytes) -> list[Framed]:
        """Take what several reads brought, of which `first` is the number of the first: the same as one by one, but for
        less work."""
        if self.decodes:
            at, framed = 0, []  # type: tuple[int, list[Framed]]
            for read, size in enumerate(sizes, first):
                framed += self.feed(read, data[at : at + size])
                at += size
            return framed
        for read, size in enumerate(sizes, first):
            self._fed += size
            self._ends.append((self._fed, read))
        self._read = first + len(sizes) - 1
        return self._judge(self._parser.feed(data))

    def skip(self, read: int, size: int) -> list[Framed]:
        """Bytes that were lost: what was begun is cut off there, and a frame without `raw` stands for them."""
        framed = self.close()
        self._read = read
        self._parser = Parser(at_start=False)
        lost = Frame(None, size, complete=False)
        self.cut += size
        self._fed += size
        return [*framed, Framed(lost, self._contract.judge(lost), read)]

    def close(self) -> list[Framed]:
        """Say that nothing follows; return the rest, its last frame perhaps cut off."""
        return self._judge(self._parser.close())

    def _judge(self, frames: list[Frame]) -> list[Framed]:
        return [Framed(frame, self._contract.judge(frame), self._read_of(frame)) for frame in frames]

    def _read_of(self, frame: Frame) -> int:
        self.cut += frame.length
        while self._ends and self._ends[0][0] < self.cut:
            self._ends.popleft()
        return self._ends[0][1] if self._ends else self._read
