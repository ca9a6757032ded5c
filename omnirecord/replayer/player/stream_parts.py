"""A recorded stream as parts, laid down once for all who it is played to: its bytes in pieces, and where they are cut.

A part is made when it is asked for. A million events take a little more than their bytes, however many listen; and
where nothing holds it up, a stream goes out piece by piece, without anybody looking at its parts.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload

from ...model import Columns
from ..parts import Part

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
    def of(cls, content: Columns, stream: int, greeting: int, zero: int = 0) -> Strip:
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
