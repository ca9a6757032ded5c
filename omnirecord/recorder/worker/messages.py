"""What the two processes say to each other, pickled: both are of the same code."""

from __future__ import annotations

from dataclasses import dataclass

from ..rows.exchanges import NewFrames


@dataclass(slots=True)
class Stream:
    """What is to be known of a stream: the arguments of `recorder.Frames`. `begins`: it is new to whoever is told."""

    exchange: int
    stream: int
    coding: str | None
    until: int | None = None
    ended: bool = False
    begins: bool = True


@dataclass(slots=True)
class File:
    """Streams of which something is in that cassette."""

    key: int
    path: str
    recording: int
    streams: list[Stream]


@dataclass(slots=True)
class Told:
    """What there is to do. `let_go`: files that are done with; `hurry`: make everything now, the recording stops;
    `hold`: make nothing until you are told something else, since the recording needs the processor."""

    number: int
    files: list[File]
    let_go: list[int]
    hurry: bool
    hold: bool


@dataclass(slots=True)
class Heard:
    """It was read, and the next one may come. Number 0: all is loaded, and the first one may."""

    number: int


@dataclass(slots=True)
class Made:
    """How far it is, with all that was told up to `number`: of how many streams of a file there is more to make, which
    exchanges it has finished with, and whether there are new frames."""

    number: int
    waiting: dict[int, int]
    finished: list[tuple[int, int]]
    is_new: bool


@dataclass(slots=True)
class Trouble:
    """Why it cannot go on just now; None: it can again."""

    message: str | None


@dataclass(slots=True)
class Logged:
    level: int
    message: str


Answer = Heard | Made | Trouble | Logged | NewFrames
