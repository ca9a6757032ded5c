"""Finds the events of a fault in a recording, and checks that the fault can change them. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice

from ...errors import UsageError
from ...model import TimedFrame
from ...omnigent.protocol import SESSION_HEARTBEAT
from ..event_address import Address, Stream, is_event, listed
from .apply import BoundFault, Key, Silence
from .edits import UnfitError, edited, inside_a_character
from .verbs import (
    Change,
    Edit,
    Ends,
    StopHeartbeats,
    Swap,
)


class FaultBinder:
    """Finds the events of faults in `streams`. All methods raise `UsageError` if there are none."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = list(streams)
        self._frames = {stream.number: stream.frames for stream in self._streams}

    def of(self, fault: Change | Ends) -> BoundFault:
        """Return the fault with its events."""
        try:
            return BoundFault(str(fault), fault, tuple(self._keys(fault)))
        except UsageError as error:
            raise _refusal(fault, str(error)) from None

    def silences(self, fault: StopHeartbeats) -> list[Silence]:
        """Return where heartbeats stop, for each stream in which they do."""
        first: dict[int, int] = {}
        for stream, seq in fault.event.resolve(self._streams):
            first.setdefault(stream, seq)
        return [
            Silence(str(fault), stream, seq + fault.after, self._frame((stream, seq)).offset_ns)
            for stream, seq in first.items()
        ]

    def check(self, aims: Sequence[BoundFault]) -> None:
        """Try all edits of each event in their order, and whether the outcome has a character to cut in two."""
        todo: dict[Key, list[Edit]] = defaultdict(list)
        cut: dict[Key, Ends] = {}
        for aim in aims:
            if isinstance(aim.fault, Edit):
                for key in aim.keys:
                    todo[key].append(aim.fault)
            elif isinstance(aim.fault, Ends) and aim.fault.where == "inside a character of":
                cut |= dict.fromkeys(aim.keys, aim.fault)
        for key in {**todo, **cut}:
            data = self._edited(key, todo.get(key, []))
            if key in cut and inside_a_character(data) is None:
                raise _refusal(cut[key], f"{self._named(key)} has {self._no_character(cut[key])}")

    def _no_character(self, fault: Ends) -> str:
        """Return a sentence that the event has no such character, and which similar events have."""
        matcher = fault.event.pick.matcher
        alike = (
            (stream.number, frame) for stream in self._streams for frame in stream.frames if matcher.matches(frame)
        )
        having = ((number, frame.seq) for number, frame in alike if inside_a_character(frame.raw or b"") is not None)
        near = listed(f"#{seq} of stream {number}" for number, seq in islice(having, 3))
        return "no character of more than one byte, " + (f"others have: {near}" if near else "nor has another like it")

    def _edited(self, key: Key, edits: list[Edit]) -> bytes:
        data = self._frame(key).raw or b""
        for edit in edits:
            try:
                data = edited(data, edit, bom=key[1] == 1)
            except UnfitError as error:
                raise _refusal(edit, f"{self._named(key)} {error}") from None
        return data

    def _keys(self, fault: Change | Ends) -> list[Key]:
        if isinstance(fault, Swap):
            return self._pairs(fault)
        if isinstance(fault, StopHeartbeats):
            return [key for silence in self.silences(fault) for key in self._heartbeats(silence)]
        return fault.event.resolve(self._streams)

    def _heartbeats(self, silence: Silence) -> list[Key]:
        frames = self._frames[silence.stream]
        return [
            (silence.stream, frame.seq)
            for frame in frames
            if frame.seq >= silence.seq and frame.type == SESSION_HEARTBEAT
        ]

    def _pairs(self, fault: Swap) -> list[Key]:
        pairs: list[Key] = []
        for one in fault.event.resolve(self._streams):
            other = self._next(one) if fault.other is None else self._beside(one, fault.other)
            if other == one:
                raise UsageError(f"{self._named(one)} cannot change places with itself")
            pairs += [one, other]
        return pairs

    def _next(self, key: Key) -> Key:
        frames = self._frames[key[0]]
        behind = (frame for frame in frames[self._place(key) + 1 :] if is_event(frame))
        if (frame := next(behind, None)) is None:
            raise UsageError(f"{self._named(key)} is the last event of its stream")
        return key[0], frame.seq

    def _beside(self, key: Key, other: Address) -> Key:
        """Return the other event of a swap, in the same stream unless its address names a stream."""
        streams = self._streams if isinstance(other.place, int) else [Stream(key[0], self._frames[key[0]])]
        found = other.resolve(streams)[0]
        if found[0] != key[0]:
            raise UsageError(f"{self._named(key)} and {self._named(found)} are not of one stream")
        return found

    def _place(self, key: Key) -> int:
        return bisect_left(self._frames[key[0]], key[1], key=lambda frame: frame.seq)

    def _frame(self, key: Key) -> TimedFrame:
        return self._frames[key[0]][self._place(key)]

    def _named(self, key: Key) -> str:
        frame = self._frame(key)
        return f"{frame.type or 'frame'} (#{key[1]} of stream {key[0]})"


def _refusal(fault: Change | Ends, why: str) -> UsageError:
    return UsageError(f"the fault {str(fault)!r} cannot happen: {why}")
