"""An event of a recording, as somebody names it, and which frames that means. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ...errors import UsageError
from .nearest import why_not
from .pick import Pick, Stream


@dataclass(frozen=True, slots=True)
class Address:
    """`2nd session.status with status=idle after response.created in stream 1`, read.

    `place`: a stream's number; `every` one; or None: `every` event is looked for in every stream, one event in the
    first stream that has it.
    """

    pick: Pick
    after: Pick | None = None
    before: Pick | None = None
    place: int | Literal["every"] | None = None

    def __str__(self) -> str:
        words = [str(self.pick)]
        words += [f"after {self.after}"] if self.after else []
        words += [f"before {self.before}"] if self.before else []
        words += [f"in stream {self.place}"] if isinstance(self.place, int) else []
        words += ["in every stream"] if self.place == "every" else []
        return " ".join(words)

    @property
    def is_one(self) -> bool:
        """Whether it means one event of a stream."""
        return self.pick.ordinal != "every"

    def resolve(self, streams: Iterable[Stream]) -> list[tuple[int, int]]:
        """The number of the stream and of the frame of each event that is meant, in recorded order.

        Raises `UsageError` where there is none, with what there is instead.
        """
        streams = list(streams)
        places = [stream for stream in streams if self.place in (None, "every", stream.number)]
        found: list[tuple[int, int]] = []
        for stream in places:
            found += [(stream.number, seq) for seq in self.within(stream)]
            if found and self.place is None and self.is_one:
                break
        if not found:
            what = str(self).removeprefix("every ")
            raise UsageError(f"there is no {what}: {why_not(self.picks, streams, places)}")
        return found

    @property
    def picks(self) -> list[Pick]:
        """What has to be there for it."""
        return [pick for pick in (self.pick, self.after, self.before) if pick is not None]

    def within(self, stream: Stream) -> list[int]:
        """The numbers of the frames of one stream that it means."""
        frames = stream.frames
        begin, end = 0, len(frames)
        if self.after is not None:
            at = self.after.first_among(frames)
            begin = end if at is None else at + 1
        if self.before is not None:
            counted_behind = begin if self.before.ordinal == "nearest" else 0
            at = self.before.first_among(frames, counted_behind)
            end = 0 if at is None else at
        backwards = self.before is not None and self.after is None
        return [frames[n].seq for n in self.pick.among(frames, begin, end, backwards=backwards)]
