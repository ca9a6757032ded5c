"""A session as it is compared: its turns as `story` tells them, and beside each turn its events as steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..cassette import Exchange, TimedFrame
from ..story import Act, Turn, one_line
from ..story.draft import Draft
from ..story.line import Heard, copied
from ..story.narrator import Narrator
from .steps import IGNORED, Step, Steps

BY_THE_SERVER = ("done", "eof", "upstream_lost", "upstream_unreachable")
"""Endings of a stream that a server made; the others say what the client or the recorder did."""
_NO_EVENTS = ("comment", "sentinel")


@dataclass(frozen=True, slots=True)
class HeardTurn:
    """One turn, and its events."""

    turn: Turn
    steps: list[Step]


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
    missed: list[Counter[str]]
    """For each stream, what came while it was listened to and reached only others: types, and how many."""
    refusals: list[tuple[str, str, str]]
    """What clients did and the server did not take: what, its text, why."""
    events: int


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
    for heard in line:
        listener.hear(heard)
    until = max([0, *(x.end_ns or 0 for x in streams), *(heard.at_ns for heard in line[-1:])])
    drafts = narrator.course.finish(until)
    session_id = exchanges[0].session_id
    turns = [
        HeardTurn(draft.freeze(exchanges[0].recording, session_id, n), listener.steps.pop(draft, Steps()).close())
        for n, draft in enumerate(drafts, 1)
    ]
    outside = [step for steps in listener.steps.values() for step in steps.close()]
    return Telling(
        session_id, is_child, turns, outside, [x.ending for x in streams if x.ending in BY_THE_SERVER],
        _missed(line, frames) if isinstance(frames, list) else [],
        [(act.kind, act.text or act.action or "", act.refused) for act in acts if act.refused],
        sum(heard.frame.verdict != "comment" for heard in line),
    )  # fmt: skip


def _missed(line: list[Heard], frames: list[TimedFrame]) -> list[Counter[str]]:
    """For each stream: between the first and the last thing that it brought, what the others alone brought."""
    raws = Counter(copied(heard.frame) for heard in line)
    places = {copied(heard.frame): n for n, heard in enumerate(line) if raws[copied(heard.frame)] == 1}
    by_stream: dict[int, list[TimedFrame]] = {}
    for frame in frames:
        by_stream.setdefault(frame.stream, []).append(frame)
    return [_missed_by(line, places, own) for own in by_stream.values()]


def _missed_by(line: list[Heard], places: dict[bytes | None, int], own: list[TimedFrame]) -> Counter[str]:
    known = [places[raw] for raw in map(copied, own) if raw in places]
    left = Counter(map(copied, own))
    missed: Counter[str] = Counter()
    for heard in line[min(known, default=0) : max(known, default=-1) + 1]:
        frame = heard.frame
        if left[copied(frame)]:
            left[copied(frame)] -= 1
        elif not heard.is_greeting and frame.verdict not in _NO_EVENTS and frame.type not in IGNORED:
            missed[frame.type or frame.verdict] += 1
    return missed
