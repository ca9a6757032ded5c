"""Differences between two recorded sessions, by meaning. No socket, no clock.

    for difference in compared("a.db", "b.db").found: ...

Here, sessions of both sides are paired by their questions, then turns, and `turns` compares each pair. `align` makes
comparable steps of the events of a turn, and pairs equal elements. `differences` holds the results and prints them.
Linear in the number of events, except for gaps of a bounded size.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ...cassette.forked import Fork, forks_in
from ...cassette.open import named_part, open_store
from ...errors import UsageError
from ...model import Recording, TimedFrame, starts_of
from ...omnigent.line import MergedFrame, by_stream, copied, merged
from ...providers.grouping import conversation_number
from ...wire.normal import Ids, Normal
from ..gather import Gathered, gathered, model_calls
from ..model_calls.values import Link, ModelCalls, requests_of
from ..turns import SessionBuilder
from ..turns.draft import Draft
from ..turns.values import Turn
from .align import IGNORED, Pair, Step, Steps, aligned, elements, moved
from .differences import Difference, Differences, Kind
from .turns import EventComparison, Told, compare_calls, compare_timing, compare_turn, is_recorded, paired

BY_THE_SERVER = ("done", "eof", "upstream_lost", "upstream_unreachable")
"""Endings of a stream that the server or the network caused, not the client or the recorder."""
TOLERANCE_S = 1.0
"""Difference in seconds up to which times count as equal."""
Watch = Callable[[Iterable[Any], str], Iterable[Any]]
"""Returns the items it is given, and may show progress under the label."""


@dataclass(frozen=True, slots=True)
class DiffTurn:
    turn: Turn
    steps: list[Step]
    calls: list[Link] = field(default_factory=list)
    """Its model calls, without ambiguous ones."""


@dataclass(frozen=True, slots=True)
class DiffSession:
    """One session of one recording."""

    session_id: str | None
    is_child: bool
    turns: list[DiffTurn]
    outside: list[Step]
    """Events before the first turn."""
    endings: list[str]
    """The endings of its streams that are in `BY_THE_SERVER`."""
    deviations: list[dict[str, Counter[str]]]
    """One for each stream, if there are several: counts by event type. `missed`: events that only other streams carried
    while this one was open; `late`: events that this one carried later than others."""
    refusals: list[tuple[str, str, str]]
    """Client actions that the server refused: kind, text, reason."""
    has_times: bool = True
    """False for an imported raw body."""
    knows_endings: bool = True
    """False where the ending of a stream is unknown."""
    has_calls: bool = False
    """Whether its cassette has a model hop."""


Sessions = Sequence[DiffSession]


@dataclass(frozen=True, slots=True)
class Compared:
    """The differences, and how much was compared."""

    found: list[Difference]
    sessions: int
    """The number of sessions on the side that has more; `turns` likewise."""
    turns: int
    uncompared_calls: int = 0
    """The model calls of the side that has more of them, if the other side has no model hop, and there are no turns."""
    calls: int = 0
    """The calls without turns that are compared, of the side that has more of them."""
    fork: str = ""
    """The call or the turn from which on both are compared, if one side is a fork of the other, or both of one
    recording: `call 1 of #2`."""
    names: tuple[Sequence[str], Sequence[str]] = ((), ())
    """The names of the compared calls of both sides, as `show` numbers them."""


def compared(
    a: str | Path,
    b: str | Path,
    *,
    session: str | None = None,
    tolerance_s: float = TOLERANCE_S,
    watch: Watch = lambda items, _: items,
) -> Compared:
    """The differences between two cassettes, or a session of each. Raises `UsageError` or `CassetteError`."""
    if not (math.isfinite(tolerance_s) and tolerance_s >= 0):
        raise UsageError(f"the tolerance is {tolerance_s:g}: give a number of seconds that is not negative")
    calls: list[ModelCalls] = []
    recordings: list[list[Recording]] = []
    sides = (
        list(_sessions_of(a, session, watch, calls, recordings)),
        list(_sessions_of(b, session, watch, calls, recordings)),
    )
    sessions = max(len(side) for side in sides)
    turns = max(sum(len(one.turns) for one in side) for side in sides)
    found = compare(*sides, tolerance_s=tolerance_s)
    most = max(len(one.links) for one in calls)
    fork = _fork(*recordings)
    if turns or not most:
        return Compared(found, sessions, turns, fork="" if fork is None else fork.where)
    if not all(one.is_recorded for one in calls):
        return Compared(found, sessions, turns, uncompared_calls=most)
    out = Differences(None, Ids())
    compare_calls(out, "", calls[0].links, calls[1].links, set())
    live = max(sum(one.call.answered_from is None for one in side.links) for side in calls)
    names = _Names(calls)
    where = "" if fork is None else names.of_fork(fork, recordings)
    of_sides = names.of_side(calls[0]), names.of_side(calls[1])
    return Compared(
        found + out.found, sessions, turns, calls=most if fork is None else live, fork=where, names=of_sides
    )


def _fork(a: Sequence[Recording], b: Sequence[Recording]) -> Fork | None:
    """Return the fork that one side is of the other; the later fork if both are forks of one recording."""
    ids = [{one.recording_id for one in side} for side in (a, b)]
    forks = [forks_in(side).values() for side in (a, b)]
    origins = [{one.recording_id for one in side} for side in forks]
    found = [one for side in (0, 1) for one in forks[side] if one.recording_id in ids[1 - side] | origins[1 - side]]
    return max(found, key=lambda one: (one.turn or 0, one.call or 0), default=None)


class _Names:
    """The names of the calls of two cassettes without turns, as `show` numbers them."""

    def __init__(self, sides: Sequence[ModelCalls]) -> None:
        self._sides = sides
        self._has_several = any(len(side.talks) > 1 for side in sides)

    def of_side(self, side: ModelCalls) -> list[str]:
        """Return the name of each request of a side."""
        places = {link.call.exchange: place for talk in side.talks for link, place in talk.calls}
        found = (places.get(request[0].call.exchange) for request in requests_of(side.links))
        return [
            f"call {number}" if place is None else self._name(place.conversation, place.call)
            for number, place in enumerate(found, 1)
        ]

    def of_fork(self, fork: Fork, recordings: Sequence[Sequence[Recording]]) -> str:
        """Return the name of the call at which a fork begins. Its number counts in a conversation, or in a cassette."""
        call = fork.call or 0
        if "#" in fork.of:
            name = fork.of.rpartition("#")[2]
            return self._name(conversation_number(name) or name, call)
        side = max((0, 1), key=lambda side: len(self._sides[side].links))
        zeros = starts_of(recordings[side])
        calls = [one for talk in self._sides[side].talks for one in talk.calls]
        calls.sort(key=lambda one: (zeros[one[0].call.recording] + one[0].call.started_ns, one[0].call.exchange))
        places = list(dict.fromkeys((place.conversation, place.call) for _, place in calls))
        return self._name(*places[call - 1]) if 0 < call <= len(places) else fork.where

    def _name(self, conversation: int | str, call: int) -> str:
        return f"call {call} of #{conversation}" if self._has_several else f"call {call}"


def _sessions_of(
    source: str | Path, session: str | None, watch: Watch, found: list[ModelCalls], recordings: list[list[Recording]]
) -> Iterator[DiffSession]:
    """The sessions of a cassette. Adds its model calls to `found`, and its recordings to `recordings`."""
    path, named = named_part(source, session)
    with closing(open_store(path)) as store:
        label = f"reading {path.name}"
        sessions = list(gathered(store, named))
        calls = model_calls(store)
        found.append(calls)
        recordings.append(store.recordings())
        is_only = len(sessions) == 1
        for one in sessions if is_only else watch(sessions, label):
            yield diff_session(one, calls, watch(one.frames(), label) if is_only else one.frames())


def compare(a: Sessions, b: Sessions, *, tolerance_s: float = TOLERANCE_S) -> list[Difference]:
    """The differences, by session and turn. Times count if they differ by more than `tolerance_s`."""
    return [one for _, found in by_session(a, b, tolerance_s=tolerance_s) for one in found]


def by_session(a: Sessions, b: Sessions, *, tolerance_s: float = TOLERANCE_S) -> list[tuple[Pair, list[Difference]]]:
    """The differences of each pair of sessions, by their indexes; None for a session without a partner."""
    ids = Ids()
    pairs = _sessions(a, b)
    both = list(elements(pairs, a, b))
    for _, one, other in both:
        if one and other and one.session_id is not None and other.session_id is not None:
            ids.bind(one.session_id, other.session_id)
    return [(pair, _differences(*some, ids, tolerance_s)) for pair, some in zip(pairs, both, strict=True)]


def diff_session(one: Gathered, calls: ModelCalls, frames: Iterable[TimedFrame]) -> DiffSession:
    """A session of one recording, ready to compare. `calls`: those of the cassette. `frames`: those of its streams."""
    exchanges = one.exchanges
    is_child = one.parent_id is not None
    builder = SessionBuilder(one.acts, is_child=is_child)
    streams = [x for x in exchanges if x.stream is not None]
    frames = list(frames) if len(streams) > 1 else frames
    steps: dict[Draft | None, Steps] = {None: Steps()}
    has_turns = one.has_turns
    line = merged(frames, exchanges)
    deviations = _deviations(line, frames) if isinstance(frames, list) else []
    until = max([0, *(x.end_ns or 0 for x in streams), *(heard.at_ns for heard in line[-1:])])
    line.reverse()
    while line:  # frees each frame: a session may have a hundred thousand
        heard = line.pop()
        before = builder.turns.open
        if has_turns:
            builder.add(heard)
        if not heard.in_snapshot and heard.frame.verdict != "comment":
            draft = builder.turns.open or before or builder.turns.latest()
            steps.setdefault(draft, Steps()).add(heard.frame)
    session_id = exchanges[0].session_id
    turns: list[DiffTurn] = []
    for number, draft in enumerate(builder.turns.finish(until), 1):
        turn = draft.freeze(exchanges[0].recording, session_id, number)
        turns.append(DiffTurn(turn, steps.pop(draft, Steps()).close(), calls.of(turn)))
    outside = [step for rest in steps.values() for step in rest.close()]
    return DiffSession(
        session_id=session_id,
        is_child=is_child,
        turns=turns,
        outside=outside,
        endings=[x.ending for x in streams if x.ending in BY_THE_SERVER],
        deviations=deviations,
        refusals=[(act.kind, act.text or act.action or "", act.refused) for act in one.acts if act.refused],
        has_times=all(x.has_times for x in exchanges),
        knows_endings=all(x.ending != "unknown" for x in streams),
        has_calls=calls.is_recorded,
    )


def _deviations(line: list[MergedFrame], frames: list[TimedFrame]) -> list[dict[str, Counter[str]]]:
    """How each stream differs from the merged line of all streams."""
    raws = Counter(copied(heard.frame) for heard in line)
    places = {raw: n for n, raw in enumerate(copied(heard.frame) for heard in line) if raws[raw] == 1}
    return [{"missed": _missed(line, places, own), "late": _late(places, own)} for own in by_stream(frames).values()]


def _missed(line: list[MergedFrame], places: dict[bytes | None, int], own: list[TimedFrame]) -> Counter[str]:
    """Counts between the stream's first and last known event: clients connect and leave milliseconds apart."""
    known = [places[raw] for raw in map(copied, own) if raw in places]
    left = Counter(map(copied, own))
    missed: Counter[str] = Counter()
    for heard in line[min(known, default=0) : max(known, default=-1) + 1]:
        frame = heard.frame
        raw = copied(heard.frame)
        if left[raw]:
            left[raw] -= 1
        elif not heard.in_snapshot and frame.verdict != "comment" and frame.type not in IGNORED:
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


def _differences(
    n: int, one: DiffSession | None, other: DiffSession | None, ids: Ids, tolerance_s: float
) -> list[Difference]:
    if one is not None and other is not None:
        return _compare_sessions(Differences(one.session_id or other.session_id, ids), one, other, tolerance_s)
    only = one or other
    assert only is not None
    return [Difference("content", only.session_id, f"sessions[{n}]", one and _summary(one), other and _summary(other))]


def _sessions(a: Sessions, b: Sessions) -> list[Pair]:
    """Sessions are paired by their questions; the rest in order."""
    pairs = aligned(a, b, _asked_at_all, lambda one: f"{one.is_child} " + "".join(map(_asked, one.turns[:1])))
    pairs = moved(pairs, lambda i: _asked_at_all(a[i]), lambda j: _asked_at_all(b[j]))
    left = [i for i, j in pairs if j is None], [j for i, j in pairs if i is None]
    return paired([pair for pair in pairs if None not in pair] + list(zip_longest(*left)))


def _asked_at_all(one: DiffSession) -> str:
    return f"{one.is_child} " + "\0\0".join(_asked(turn) for turn in one.turns)


def _asked(one: DiffTurn) -> str:
    return "\0".join(Normal().said(asked.text) for asked in one.turn.asked)


def _answered(one: DiffTurn) -> str:
    tools = [(tool.name, Normal().written(tool.arguments)) for tool in one.turn.tools]
    return f"{_asked(one)}\0{Normal().said(one.turn.text)}\0{tools}"


def turn_pairs(a: DiffSession, b: DiffSession) -> list[Pair]:
    """The pairs of turns that are compared, by index, in reading order; None for a turn without a partner."""
    return _turns(a.turns, b.turns)[0]


def _turns(a: Sequence[DiffTurn], b: Sequence[DiffTurn]) -> tuple[list[Pair], list[Pair]]:
    """All pairs of turns, and the pairs that are in another order."""
    pairs = aligned(a, b, _answered, _asked, lambda one: one.turn.text or "\0")
    together = moved(pairs, lambda i: _asked(a[i]), lambda j: _asked(b[j]))
    return _rest(together), list(set(together) - set(pairs))


def _summary(one: DiffSession) -> dict[str, Any]:
    """The value of a difference for a session that only one side has."""
    asked = [asked.text for side in one.turns for asked in side.turn.asked]
    events = {} if one.turns else {"events": len(one.outside)}
    return {"session_id": one.session_id, "turns": len(one.turns), "asked": asked, **events}


def _turn_summary(one: DiffTurn) -> dict[str, Any]:
    turn = one.turn
    return {
        "asked": [asked.text for asked in turn.asked],
        "text": turn.text,
        "tools": [tool.name for tool in turn.tools],
        "ended": turn.ended,
    }


def _compare_sessions(out: Differences, a: DiffSession, b: DiffSession, tolerance_s: float) -> list[Difference]:
    told: Told = set()
    EventComparison(out, "", a.outside, b.outside).run()
    pairs, strays = _turns(a.turns, b.turns)
    for i, j in paired(strays):
        out.add("order", f"turns[{i}]", i, j)
    for n, one, other in elements(paired(pairs), a.turns, b.turns):
        out.next_turn()
        path = f"turns[{n}]"
        if one is None or other is None:
            out.add("content", path, one and _turn_summary(one), other and _turn_summary(other))
            continue
        if is_recorded(one.calls) or is_recorded(other.calls):
            continue
        events = EventComparison(out, path, one.steps, other.steps)
        compare_turn(out, path, one.turn, other.turn)
        events.run()
        if a.has_calls and b.has_calls:
            compare_calls(out, path, one.calls, other.calls, told)
        if a.has_times and b.has_times:
            compare_timing(out, path, one.turn, other.turn, tolerance_s)
    out.next_turn()
    _compare_around(out, a, b)
    return out.found


def _compare_around(out: Differences, a: DiffSession, b: DiffSession) -> None:
    """Compare endings, stream deviations and refusals, which belong to no turn."""
    for n, (one, other) in enumerate(zip_longest(a.endings, b.endings)):
        if one != other and a.knows_endings and b.knows_endings:
            out.add("content", f"endings[{n}]", one, other)
    kinds: dict[str, Kind] = {"missed": "content", "late": "order"}
    for n, deviations in enumerate(zip_longest(a.deviations, b.deviations)):
        for name, kind in kinds.items():
            mine, theirs = (dict(side[name]) if side else {} for side in deviations)
            if mine != theirs:
                out.add(kind, f"streams[{n}].{name}", mine or None, theirs or None)
    refused = aligned(a.refusals, b.refusals, lambda one: repr((one[0], Normal().said(one[1]), one[2])))
    for n, *sides in elements(refused, a.refusals, b.refusals):
        if None in sides:
            left, right = (side and dict(zip(("what", "text", "why"), side, strict=True)) for side in sides)
            out.add("content", f"refusals[{n}]", left, right)


def _rest(pairs: list[Pair]) -> list[Pair]:
    """Turns that are left between two pairs are paired in order."""
    made: list[Pair] = []
    waiting: tuple[list[int], list[int]] = ([], [])
    for i, j in [*pairs, (-1, -1)]:
        if i is not None and j is not None:
            made += list(zip_longest(*waiting))
            waiting = ([], [])
            made += [(i, j)] if i >= 0 else []
        else:
            waiting[0].extend([] if i is None else [i])
            waiting[1].extend([] if j is None else [j])
    return made
