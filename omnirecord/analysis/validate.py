"""Checks a recording against a contract: the differences by type and path, each with a count and its first place.

1. Every event is judged again, so any contract can be used, not only that of the recording.
2. A difference counts once for each event.
3. One pass; memory grows with the kinds of differences, not with the events.

Pure, apart from reading the store.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import getitem
from typing import Any, get_args

from ..cassette.contracts import judge_with, load
from ..cassette.select import Source, the_session
from ..contract import Issue, ProblemKind
from ..contract.judge import Contract, Judgement
from ..contract.known import Steps, type_name
from ..errors import UsageError
from ..model import TimedFrame, Verdict
from ..text import clip, counted, one_line
from ..wire.sse import Frame, read_fields
from .apis import summary

KINDS: tuple[ProblemKind, ...] = get_args(ProblemKind)
MANY_NAMES = 100
"""Number of unknown names at one path that are listed; further ones are `*`, since names are data there."""
LONGEST_NAME = 200
LONGEST_EXAMPLE = 60

Frames = Iterable[TimedFrame]
Row = dict[str, Any]
_Key = tuple[str | None, str, ProblemKind]


@dataclass(frozen=True, slots=True)
class First:
    """The first place of a problem: stream and frame, both from 1."""

    stream: int
    seq: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One way in which the events of a type differ from the contract."""

    type: str | None
    """None for events without a `type` that is a string."""
    path: str
    """`viewers[*].user_id`, `usage_by_model.*.total_tokens`, `event`; empty for the event as a whole."""
    problem: ProblemKind
    count: int
    """The number of events that have it."""
    first: First
    said: str
    """The contract's message for the first of them, without a subject: "should be a string"."""
    example: str
    """The value in the first of them, in at most 60 printable characters; empty without a value."""

    @property
    def row(self) -> Row:
        """The object of `validate --json`."""
        first = {"stream": self.first.stream, "seq": self.first.seq}
        return {"type": self.type, "path": self.path, "problem": self.problem, "count": self.count, "first": first}


@dataclass(frozen=True, slots=True)
class Validation:
    """The result of checking a recording against a contract."""

    contract: str
    """The name of the contract; of several, all names joined by "and"."""
    events: int
    """The number of events, without comments and `[DONE]`."""
    verdicts: Mapping[Verdict, int]
    """The number of events by verdict, for the verdicts that occur."""
    problems: tuple[Problem, ...]
    """By type, those without a type first; within a type, the worst first."""
    unseen: tuple[str, ...]
    """The types of the contract without an event, which is no problem."""

    @property
    def ok(self) -> bool:
        """Whether no event is `invalid` or `malformed`. Unknown types and fields, and a truncated end, are allowed."""
        return not self.verdicts.get("invalid") and not self.verdicts.get("malformed")

    @property
    def unknown_types(self) -> tuple[str, ...]:
        """The types of events that are not in the contract."""
        return tuple(p.type for p in self.problems if p.problem == "unknown type" and p.type is not None)


def validation(
    store: Source,
    contract: Contract | None = None,
    session: str | None = None,
    watch: Callable[[Frames], Frames] = lambda frames: frames,
    recording: int | None = None,
) -> Validation:
    """Return the check of a cassette, or of one session, against a contract, by default each recording's own.

    `recording`: only of that one. `watch` is called with the frames and returns them. Raises `UsageError` if no
    session, or more than one, has that id, or if the contract is for another API.
    """
    session_id = None if session is None else the_session(store, session)
    streams = store.exchanges(kind="sse", session_id=session_id, recording=recording)
    used = {x.stream: judge_with(contract, x) if contract else store.judge_of(x) for x in streams}
    tally = Tally()
    for frame in watch(frame for x in streams for frame in store.frames(x)):
        tally.add(frame, used[frame.stream])
    asked = [contract] if contract else [store.contract_of(one.recording) for one in store.recordings()]
    result = tally.result(list(used.values()) or asked)
    none_came = contract and result.events > 0 and len(result.unseen) == len(contract.types) > 0
    if contract and none_came and contract.types.isdisjoint(load("omnigent").types):
        raise UsageError(
            f"{contract.name} is of another API: none of {counted(result.events, 'event')} has one of its"
            f" {len(contract.types):,} types; docs/model-apis.md lists the contracts, docs/other-apis.md says how"
            " the schema of an event is chosen"
        )
    return result


class Tally:
    def __init__(self) -> None:
        self._verdicts: Counter[Verdict] = Counter()
        self._first: dict[_Key, Problem] = {}
        self._counts: Counter[_Key] = Counter()
        self._names: Counter[tuple[str, str]] = Counter()
        self._seen: set[str | None] = set()
        self._of_shape: dict[int, tuple[_Key, ...]] = {}
        """The problems of each event of a shape."""

    def add(self, frame: TimedFrame, contract: Contract) -> None:
        shape = contract.shape_of(frame.raw) if frame.raw is not None and frame.verdict == "valid" else None
        if shape is not None and (keys := self._of_shape.get(id(shape))) is not None:  # shapes stay
            self._verdicts["valid"] += 1
            self._seen.add(shape.type)
            for key in keys:
                self._counts[key] += 1
            return
        fields = read_fields(frame.raw or b"", bom=frame.seq == 1)
        if frame.verdict != "truncated":
            judgement = contract.examine(fields)
        else:
            cut = "was cut off" if frame.raw is not None else "was too large, or its bytes could not be kept"
            judgement = Judgement("truncated", issues=(Issue("", cut, "truncated"),), data=fields.data)
        if judgement.verdict in ("comment", "sentinel"):
            return
        self._verdicts[judgement.verdict] += 1
        self._seen.add(judgement.type)
        type_ = None if judgement.type is None else clip(judgement.type, LONGEST_NAME)
        places = self._places(contract, judgement)
        if shape is not None:
            self._of_shape[id(shape)] = tuple((type_, *place) for place in places)
        for (path, kind), issue in places.items():
            key = (type_, path, kind)
            self._counts[key] += 1
            if key not in self._first:
                first = First(frame.stream, frame.seq)
                example = _example(issue, fields, judgement.data)
                self._first[key] = Problem(type_, path, kind, 1, first, clip(issue.message, LONGEST_NAME), example)

    def _places(self, contract: Contract, judgement: Judgement) -> dict[tuple[str, ProblemKind], Issue]:
        """What is wrong with an event or unheard of in it, each kind once at each place."""
        type_ = judgement.type
        found = list(judgement.issues)
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
        """Return the result. `contracts`: the contracts that judged the events."""
        held = {contract.name: contract for contract in contracts}
        problems = [replace(first, count=self._counts[key]) for key, first in self._first.items()]
        problems.sort(key=lambda p: (p.type or "", KINDS.index(p.problem), p.path))
        unseen = {type_ for contract in held.values() for type_ in contract.types} - self._seen
        events = self._verdicts.total()
        *first, last = held or ("",)
        names = f"{', '.join(first)} and {last}" if first else last
        return Validation(names, events, dict(self._verdicts), tuple(problems), tuple(sorted(unseen)))


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
        return reduce(getitem, steps, value)
    except (LookupError, TypeError):  # a name in which lone surrogates were replaced for the validator
        return None


def _short(value: Any) -> str:
    """A value as JSON, or as much of it as fits."""
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        text += piece[:LONGEST_EXAMPLE]
        if len(text) > LONGEST_EXAMPLE:
            break
    return clip(one_line(text), LONGEST_EXAMPLE)
