"""What a recording was forked from: labels of the recording, which every form of a cassette and the lake keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..model import FORK_OF, Recording
from ..text import clip, one_line
from .labels import LONGEST_VALUE

_RECORDING = "fork.recording"
_CALL = "fork.call"
_TURN = "fork.turn"
_CHANGE = "fork.change"


@dataclass(frozen=True, slots=True)
class Fork:
    """The origin of a recording. `of`: the file and the session, as the user named them. `recording_id`: that of the
    origin. `call`, `turn`: where the fork begins, from 1. `change`: in the words of the command line; empty if nothing
    was changed."""

    of: str
    recording_id: str
    call: int | None = None
    turn: int | None = None
    change: str = ""

    @property
    def where(self) -> str:
        """The place in words, such as `call 3`."""
        return f"call {self.call}" if self.turn is None else f"turn {self.turn}"

    def told(self) -> str:
        """Return the origin and the change in one line."""
        return f"forked from {self.of} at {self.where}" + (f", with {self.change}" if self.change else "")

    def labels(self) -> dict[str, str]:
        found = {
            FORK_OF: self.of,
            _RECORDING: self.recording_id,
            _CALL: "" if self.call is None else str(self.call),
            _TURN: "" if self.turn is None else str(self.turn),
            _CHANGE: self.change,
        }
        return {key: clip(one_line(value), LONGEST_VALUE) for key, value in found.items() if value}


def fork_of(recording: Recording) -> Fork | None:
    """Return what a recording was forked from; None if it is no fork."""
    labels = recording.labels
    if not (labels.get(FORK_OF) and labels.get(_RECORDING)):
        return None
    call, turn = (int(text) if (text := labels.get(key, "")).isdecimal() else None for key in (_CALL, _TURN))
    if call is None and turn is None:
        return None
    return Fork(labels[FORK_OF], labels[_RECORDING], call, turn, labels.get(_CHANGE, ""))


def forks_in(recordings: Iterable[Recording]) -> dict[int, Fork]:
    """Return the forks among recordings, by the number of the recording."""
    found = ((one.recording, fork_of(one)) for one in recordings)
    return {number: fork for number, fork in found if fork is not None}


NO_FORKS: Mapping[int, Fork] = {}
