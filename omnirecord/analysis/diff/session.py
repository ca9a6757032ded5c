"""A session as it is compared: its turns as `story` tells them, and beside each turn its events as steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...model import Exchange, TimedFrame
from ..turns import Act, Turn, one_line
from ..turns.draft import Draft
from ..turns.merge import Heard, copied
from ..turns.narrator import Narrator
from .steps import IGNORED, Step, Steps

BY_THE_SERVER = ("done", "eof", "upstream_lost", "upstream_unreachable")
"""Endings of a stream that a server made; the others say what the client or the recorder did."""
_NO_EVENTS = ("comment",)


@dataclass(frozen=True, slots=True)
class HeardTurn:
    """One turn, and its events."""

    turn: Turn
    steps: list[Step]


@dataclass(frozen=True, slots=True)
class Listened:
    """What one of several clients heard otherwise than the others: types of events, and how many."""

    missed: Counter[str]
    """What came while it listened and reached only others."""
    late: Counter[str]
    """What came behind something that others heard later."""


@dataclass(frozen=True, slots=True)
class Telling:
    """One session of one recording."""

    session_id: str | None
    is_child: bool
    turns: list[HeardTurn]
    outside: list[Step]
    """Events before the first turn."""
    endings: list[str]
    """How the server ended its streams, where it did."""
    listened: list[Listened]
    """For each stream, where there are several."""
    refusals: list[tuple[str, str, str]]
    """What clients did and the server did not take: what, its text, why."""
    has_times: bool = True
    """False for an imported raw body."""
    knows_endings: bool = True
    """False where the ending of a stream is unknown."""


class _Listener:
    """Hears a session's frames, and notes which turn each belongs to."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator
        self.steps: dict[Draft | None, Steps] = {None: Steps()}

    def hear(self, heard: Heard) -> None:
        course, before = self._narrator.course, self._narrator.course.open
        self._narrator.hear(heard)
        if heard.is_greeting or heard.frame.verdict in _NO_EVENTS:
            return
        draft = course.open or before or course.latest()
        self.steps.setdefault(draft, Steps()).hear(heard.frame)


def telling_of(
    exchanges: Sequence[Exchange], frames: Iterable[TimedFrame], acts: Iterable[Act], *, is_child: bool = False
) -> Telling:
    """A session as one recording has it. `exchanges`: all of that session and recording, at least one."""
    acts = list(acts)
    narrator = Narrator(acts, is_child=is_child)
    streams = [x for x in exchanges if x.stream is not None]
    frames = list(frames) if len(streams) > 1 else frames
    listener, line = _Listener(narrator), one_line(frames)
    listened = _listened(line, frames) if isinstance(frames, list) else []
    until = max([0, *(x.end_ns or 0 for x in streams), *(heard.at_ns for heard in line[-1:])])
    line.reverse()
    while line:  # what was heard is let go: a hundred thousand frames are much to keep for long
        listener.hear(line.pop())
    drafts = narrator.course.finish(until)
    session_id = exchanges[0].session_id
    turns = [
        HeardTurn(draft.freeze(exchanges[0].recording, session_id, n), listener.steps.pop(draft, Steps()).close())
        for n, draft in enumerate(drafts, 1)
    ]
    outside = [step for steps in listener.steps.values() for step in steps.close()]
    return Telling(
        session_id, is_child, turns, outside, [x.ending for x in streams if x.ending in BY_THE_SERVER],
        listened,
        [(act.kind, act.text or act.action or "", act.refused) for act in acts if act.refused],
        all(x.has_times for x in exchanges), all(x.ending != "unknown" for x in streams),
    )  # fmt: skip


def _listened(line: list[Heard], frames: list[TimedFrame]) -> list[Listened]:
    """For each stream, what it brought beside what the others did."""
    raws = Counter(copied(heard.frame) for heard in line)
    places = {raw: n for n, raw in enumerate(copied(heard.frame) for heard in line) if raws[raw] == 1}
    by_stream: dict[int, list[TimedFrame]] = {}
    for frame in frames:
        by_stream.setdefault(frame.stream, []).append(frame)
    return [Listened(_missed(line, places, own), _late(places, own)) for own in by_stream.values()]


def _missed(line: list[Heard], places: dict[bytes | None, int], own: list[TimedFrame]) -> Counter[str]:
    """Between the first and the last thing that it brought: its ends are a matter of milliseconds."""
    known = [places[raw] for raw in map(copied, own) if raw in places]
    left = Counter(map(copied, own))
    missed: Counter[str] = Counter()
    for heard in line[min(known, default=0) : max(known, default=-1) + 1]:
        frame, raw = heard.frame, copied(heard.frame)
        if left[raw]:
            left[raw] -= 1
        elif not heard.is_greeting and frame.verdict not in _NO_EVENTS and frame.type not in IGNORED:
            missed[frame.type or frame.verdict] += 1
    return missed


def _late(places: dict[bytes | None, int], own: list[TimedFrame]) -> Counter[str]:
    late: Counter[str] = Counter()
    latest = -1
    for frame in own:
        place = places.get(copied(frame), latest)
        if place < latest and frame.type not in IGNORED:
            late[frame.type or frame.verdict] += 1
        latest = max(latest, place)
    return late
