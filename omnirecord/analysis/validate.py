"""A recording held against a contract: what differs, by type and place, how often, and where first. Pure but for
reading the store.

1. Every event is judged anew, so any contract will do, not only the one it was recorded by.
2. A difference counts once an event, however often the event has it.
3. One pass; what is kept grows with the kinds of difference, not with the events.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from ..cassette.select import the_session
from ..cassette.sqlite import Store
from ..errors import UsageError
from ..model import TimedFrame, Verdict
from ..omnigent.contract import Contract, Issue, Judgement, ProblemKind, load
from ..omnigent.contract.known_fields import Steps
from ..omnigent.events.base import type_name
from ..omnigent.summary import summary
from ..text import clip, one_line
from ..wire.sse import Frame, read_fields

KINDS: tuple[ProblemKind, ...] = get_args(ProblemKind)
MANY_NAMES = 100
"""So many unknown names at one place are told one by one, further ones as `*`: there, names are data."""
LONGEST_NAME = 200
LONGEST_EXAMPLE = 60
_COUNTED: frozenset[Verdict] = frozenset(("truncated", "malformed", "unknown", "invalid", "valid"))

Frames = Iterable[TimedFrame]
Row = dict[str, Any]
_Key = tuple[str | None, str, ProblemKind]


@dataclass(frozen=True, slots=True)
class First:
    """Where something is for the first time: the stream and the frame in it, both counted from 1."""

    stream: int
    seq: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One way in which the events of a type differ from the contract."""

    type: str | None
    """None where they have none that is a string."""
    path: str
    """Where: `viewers[*].user_id`, `usage_by_model.*.total_tokens`, `event`; empty for the event as a whole."""
    problem: ProblemKind
    count: int
    """In how many events."""
    first: First
    said: str
    """What the contract says to the first of them, without a subject: "should be a string"."""
    example: str
    """What the first of them has there, in at most 60 printable characters; empty where it has nothing."""

    @property
    def row(self) -> Row:
        """The object that `validate --json` prints."""
        first = {"stream": self.first.stream, "seq": self.first.seq}
        return {"type": self.type, "path": self.path, "problem": self.problem, "count": self.count, "first": first}


@dataclass(frozen=True, slots=True)
class Validation:
    """What came of holding a recording against a contract."""

    contract: str
    """Its name; where recordings were held against contracts of their own, all names, joined by "and"."""
    events: int
    """How many there are. Comments and `[DONE]` are none."""
    verdicts: Mapping[Verdict, int]
    """How many of them have which verdict, where there are any."""
    problems: tuple[Problem, ...]
    """By type, those without one first; within a type, the gravest first."""
    unseen: tuple[str, ...]
    """The types of the contract of which there is no event. That is no problem."""

    @property
    def ok(self) -> bool:
        """Whether nothing is `invalid` or `malformed`. Unknown types and fields, and a cut-off tail, are no fault."""
        return not self.verdicts.get("invalid") and not self.verdicts.get("malformed")

    @property
    def unknown_types(self) -> tuple[str, ...]:
        """The types that came and are not in the contract."""
        return tuple(p.type for p in self.problems if p.problem == "unknown type" and p.type is not None)


def validation(
    store: Store,
    contract: Contract | None = None,
    session: str | None = None,
    watch: Callable[[Frames], Frames] = lambda frames: frames,
) -> Validation:
    """The events of a cassette, or of one session, against a contract, or each recording against its own.

    `watch` is given the frames and gives them on. Raises `UsageError` where no session, or more than one, has that id,
    and where the contract is that of another service.
    """
    streams = store.streams(None if session is None else the_session(store, session))
    used = {x.stream: contract or store.contract_of(x.recording) for x in streams}
    tally = _Tally()
    for frame in watch(frame for x in streams for frame in store.frames(x)):
        tally.add(frame, used[frame.stream])
    asked = [contract] if contract else [store.contract_of(one.recording) for one in store.recordings()]
    result = tally.result(asked)
    if contract and _is_foreign(contract, result):
        raise UsageError(
            f"{contract.name} is of another service: of its {len(contract.types)} event types Omnigent has none, and"
            " none of them came; docs/validate.md says how to get Omnigent's"
        )
    return result


def _is_foreign(contract: Contract, result: Validation) -> bool:
    none_came = result.events > 0 and len(result.unseen) == len(contract.types)
    return none_came and contract.types.isdisjoint(load("omnigent").types)


class _Tally:
    """What was found so far."""

    def __init__(self) -> None:
        self._verdicts: Counter[Verdict] = Counter()
        self._first: dict[_Key, Problem] = {}
        self._counts: Counter[_Key] = Counter()
        self._names: Counter[tuple[str, str]] = Counter()
        self._seen: set[str | None] = set()

    def add(self, frame: TimedFrame, contract: Contract) -> None:
        """Take one more frame."""
        fields = read_fields(frame.raw or b"", bom=frame.seq == 1)
        judgement = contract.examine(fields) if frame.verdict != "truncated" else _cut_off(frame, fields)
        if judgement.verdict not in _COUNTED:
            return
        self._verdicts[judgement.verdict] += 1
        self._seen.add(judgement.type)
        type_ = None if judgement.type is None else clip(judgement.type, LONGEST_NAME)
        for (path, kind), issue in self._places(contract, judgement).items():
            key = (type_, path, kind)
            self._counts[key] += 1
            if key not in self._first:
                first, example = First(frame.stream, frame.seq), _example(issue, fields, judgement.data)
                self._first[key] = Problem(type_, path, kind, 1, first, clip(issue.message, LONGEST_NAME), example)

    def _places(self, contract: Contract, judgement: Judgement) -> dict[tuple[str, ProblemKind], Issue]:
        """What is wrong with an event or unheard of in it, each kind once at each place."""
        type_, found = judgement.type, list(judgement.issues)
        if type_ is not None and judgement.verdict in ("valid", "invalid"):
            found += contract.unheard_of(type_, judgement.data)
        places: dict[tuple[str, ProblemKind], Issue] = {}
        for issue in found:
            path = clip(contract.place(type_, issue), LONGEST_NAME)
            if (path, issue.problem) not in places and type_ is not None and issue.problem == "unknown field":
                path = self._told_or_star(contract, type_, issue, path)
            places.setdefault((path, issue.problem), issue)
        return places

    def _told_or_star(self, contract: Contract, type_: str, issue: Issue, path: str) -> str:
        """The path of an unknown field; with `*` for its name where there have been many others."""
        if (type_, path, issue.problem) in self._first:
            return path
        parent = clip(contract.place(type_, Issue.at(issue.steps[:-1], "")), LONGEST_NAME)
        self._names[type_, parent] += 1
        return path if self._names[type_, parent] <= MANY_NAMES else f"{parent}.*".removeprefix(".")

    def result(self, contracts: Iterable[Contract]) -> Validation:
        """What came of it. `contracts`: those that it was held against."""
        held = {contract.name: contract for contract in contracts}
        problems = [replace(first, count=self._counts[key]) for key, first in self._first.items()]
        problems.sort(key=lambda p: (p.type or "", KINDS.index(p.problem), p.path))
        unseen = {type_ for contract in held.values() for type_ in contract.types} - self._seen
        events = self._verdicts.total()
        return Validation(" and ".join(held), events, dict(self._verdicts), tuple(problems), tuple(sorted(unseen)))


def _cut_off(frame: TimedFrame, fields: Frame) -> Judgement:
    """What every contract says of a frame that was kept in part, or not at all."""
    said = "was cut off" if frame.raw is not None else "was too large, or its bytes could not be kept"
    return Judgement("truncated", issues=(Issue("", said, "truncated"),), data=fields.data)


def _example(issue: Issue, fields: Frame, data: Any) -> str:
    """What an event has where something is wrong with it."""
    if issue.problem == "missing field":
        return ""
    if issue.problem == "unknown type":
        return summary(type_name(data), data, LONGEST_EXAMPLE)
    if isinstance(data, str):  # what could not be read as JSON
        return summary(None, data, LONGEST_EXAMPLE)
    return _short(fields.event if issue.problem == "event differs" else _at(issue.steps, data))


def _at(steps: Steps, value: Any) -> Any:
    try:
        for step in steps:
            value = value[step]
    except (LookupError, TypeError):  # a name in which lone surrogates were replaced for the validator
        return None
    return value


def _short(value: Any) -> str:
    """A value as JSON, or as much of it as fits."""
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        text += piece[:LONGEST_EXAMPLE]
        if len(text) > LONGEST_EXAMPLE:
            break
    return clip(one_line(text), LONGEST_EXAMPLE)
