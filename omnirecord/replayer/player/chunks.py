"""How much of a stream goes out in one write, so that a client's parser can be tried on every cut. Pure.

`recorded`: as it was read from upstream; `frame`: a frame a write; `byte`: a byte a write; `random:SEED`: from one
byte to a few dozen, the same for the same seed and stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from ...errors import UsageError
from ..parts import Part, frames_of

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
