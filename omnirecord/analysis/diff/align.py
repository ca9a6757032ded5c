"""The events of a turn as comparable steps, and pairs of equal elements of two sequences.

`Steps` joins deltas and drops noise. Each step has a key that the other side's step shares; `wire.normal` removes ids
and times.

`aligned` pairs elements by equal keys and in order. Equal ends are paired first, then elements that are unique on both
sides (patience diff). In a small gap between those, the longest common subsequence is paired. The result does not
depend on which sequence is the first. Never quadratic.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from typing import Any, TypeVar

from ...model import TimedFrame
from ...omnigent import protocol
from ...text import same_start
from ...wire.normal import Normal
from ...wire.sse import read_fields
from ...wire.strict_json import as_dict, as_text, parsed, payload, text_of

T = TypeVar("T")
Pair = tuple[int | None, int | None]
SMALL = 10_000
"""Most cells of the table for one gap; the elements of a larger gap stay unpaired."""
IGNORED = protocol.HEARTBEATS | {protocol.SESSION_PRESENCE, protocol.SESSION_TERMINAL_ACTIVITY}
"""Event types that are not compared: heartbeats, presence, terminal activity."""
DONE = "DONE"
"""The label of `[DONE]`."""
_TOLD = {protocol.RESPONSE_OUTPUT_TEXT_DELTA: "text", **dict.fromkeys(protocol.REASONING_DELTAS, "reasoning")}
"""Deltas whose text is compared as the turn's messages and thoughts."""
_OF_CHUNKS = ("type", "delta", "sequence_number", "index", "final")
"""Fields of a delta that depend on how the text was divided."""
Data = dict[str, Any]
_BEGIN = "begin"


def aligned(a: Sequence[T], b: Sequence[T], *keys: Callable[[T], str], pair_rest: bool = False) -> list[Pair]:
    """The pairs of indexes, in order; None for an element without a partner.

    `keys`: the strictest first; elements that one key leaves unpaired are tried with the next. `pair_rest`: pair the
    rest of each gap in order.
    """
    open_ = [(range(len(a)), range(len(b)))]
    found: list[tuple[int, int]] = []
    for key in keys:
        gaps = []
        for left, right in open_:
            met = matches([key(a[i]) for i in left], [key(b[j]) for j in right])
            met = [(left.start + i, right.start + j) for i, j in met]
            found += met
            gaps += list(_gaps(met, left, right))
        open_ = gaps
    if pair_rest:
        found += [pair for gap in open_ for pair in zip(*gap, strict=False)]
    return _in_order(found, len(a), len(b))


def elements(pairs: Iterable[Pair], a: Sequence[T], b: Sequence[T]) -> Iterator[tuple[int, T | None, T | None]]:
    """Yield the index and the two elements of each pair. The index counts in `a`, or in `b` if `a` has no element."""
    for i, j in pairs:
        one = None if i is None else a[i]
        other = None if j is None else b[j]
        yield i if i is not None else j or 0, one, other


def _in_order(found: list[tuple[int, int]], a: int, b: int) -> list[Pair]:
    pairs: list[Pair] = []
    done_a = done_b = 0
    for i, j in [*sorted(found), (a, b)]:
        pairs += [(n, None) for n in range(done_a, i)] + [(None, n) for n in range(done_b, j)]
        pairs += [(i, j)] if i < a else []
        done_a = i + 1
        done_b = j + 1
    return pairs


def _gaps(met: list[tuple[int, int]], left: range, right: range) -> Iterator[tuple[range, range]]:
    i = left.start
    j = right.start
    for at, to in [*met, (left.stop, right.stop)]:
        if at > i and to > j:
            yield range(i, at), range(j, to)
        i = at + 1
        j = to + 1


def matches(a: list[str], b: list[str], depth: int = 40) -> list[tuple[int, int]]:
    """Pairs of indexes with equal keys, rising on both sides."""
    if (len(a), a) > (len(b), b):
        return [(i, j) for j, i in matches(b, a, depth)]
    head = same_start(a, b)
    tail = same_start(a[head:][::-1], b[head:][::-1])
    left = a[head : len(a) - tail]
    right = b[head : len(b) - tail]
    found = [(n, n) for n in range(head)]
    found += [(head + i, head + j) for i, j in _inner(left, right, depth)]
    return found + [(len(a) - n, len(b) - n) for n in range(tail, 0, -1)]


def _inner(a: list[str], b: list[str], depth: int) -> list[tuple[int, int]]:
    if not a or not b:
        return []
    anchors = _anchors(a, b) if depth else []
    if not anchors:
        return _longest(a, b) if len(a) * len(b) <= SMALL else []
    found = [*anchors]
    for left, right in _gaps(anchors, range(len(a)), range(len(b))):
        met = matches(a[left.start : left.stop], b[right.start : right.stop], depth - 1)
        found += [(left.start + i, right.start + j) for i, j in met]
    return sorted(found)


def _anchors(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """Keys that are unique on both sides, in one order: the longest rising run of index pairs."""
    once_a = Counter(a)
    once_b = Counter(b)
    where = {key: n for n, key in enumerate(b) if once_b[key] == 1}
    pairs = [(n, where[key]) for n, key in enumerate(a) if once_a[key] == 1 and key in where]
    tops: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for n, (_, j) in enumerate(pairs):
        at = bisect_left(tops, j)
        before.append(ends[at - 1] if at else -1)
        tops[at : at + 1] = [j]
        ends[at : at + 1] = [n]
    run = []
    n = ends[-1] if ends else -1
    while n >= 0:
        run.append(pairs[n])
        n = before[n]
    return run[::-1]


def _longest(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """The longest common subsequence, in O(len(a) * len(b)); difflib's worst case is cubic."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        row = table[i]
        below = table[i + 1]
        for j in range(len(b) - 1, -1, -1):
            row[j] = below[j + 1] + 1 if a[i] == b[j] else max(below[j], row[j + 1])
    found = []
    i = 0
    j = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            found.append((i, j))
            i += 1
            j += 1
        elif table[i + 1][j] >= table[i][j + 1]:
            i += 1
        else:
            j += 1
    return found


def moved(pairs: Sequence[Pair], key_a: Callable[[int], Hashable], key_b: Callable[[int], Hashable]) -> list[Pair]:
    """The pairs, with unpaired elements of equal keys paired too: they moved."""
    waiting: dict[Hashable, deque[int]] = {}
    for i, j in pairs:
        if i is None and j is not None:
            waiting.setdefault(key_b(j), deque()).append(j)
    taken: dict[int, int] = {}
    for i, j in pairs:
        if i is not None and j is None and (others := waiting.get(key_a(i))):
            taken[i] = others.popleft()
    gone = set(taken.values())
    joined = [(i, taken.get(i) if j is None and i is not None else j) for i, j in pairs]
    return [(i, j) for i, j in joined if i is not None or j not in gone]


@dataclass(slots=True)
class Step:
    """One event, or a run of deltas. Complete after `Steps.close`."""

    label: str
    """The event's type; `text` or `reasoning` for such deltas; `malformed` or `not kept` for other frames."""
    key: str
    """Equal for steps with equal meaning, whatever their ids."""
    ids: tuple[str, ...]
    raw: bytes | None
    """The frame's bytes, parsed by `data` on demand; None for a run."""
    about: str | None = None
    """The id or text under which the turn has it, so that it is not reported twice."""
    family: str = ""
    """The type of an output item: a step only changes into one of the same family."""
    group: str | None = None
    """Adjacent steps of one group may have any order."""
    parts: list[str] | None = None
    """The deltas of a run, if the turn does not have its text."""

    @property
    def data(self) -> Any:
        """Its JSON object, or its text if it holds none."""
        if self.parts is not None:
            return {"type": self.label, "delta": "".join(self.parts)}
        return None if self.raw is None else parsed(read_fields(self.raw, bom=True).data or "")


class Steps:
    """Makes the steps of one turn from its frames."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._runs: dict[str, Step] = {}

    def add(self, frame: TimedFrame) -> None:
        """Add the next frame. A frame that the end of the stream cut off is ignored."""
        if frame.raw is None:
            self.steps.append(Step("not kept", "not kept", (), None))
        elif frame.verdict == "sentinel":
            self.steps.append(Step(DONE, DONE, (), None))
        elif frame.verdict == "truncated" or frame.type in IGNORED:
            return
        else:
            data = payload(frame) or parsed(read_fields(frame.raw, bom=frame.seq == 1).data or "")
            delta = data.get("delta") if isinstance(data, dict) else None
            if isinstance(delta, str) and (frame.type or "").endswith(".delta"):
                self._delta(frame.type or "", data, delta)
            else:
                self.steps.append(_step(frame, data))

    def _delta(self, type_: str, data: Data, delta: str) -> None:
        label = _TOLD.get(type_, type_)
        normal = Normal()
        rest = normal.of({name: value for name, value in data.items() if name not in _OF_CHUNKS})
        key = f"{label} {json.dumps(rest)}" if rest else label
        if label != type_:
            last = self.steps[-1] if self.steps else None
            if delta and (last is None or (last.key, last.ids) != (key, tuple(normal.ids))):
                self.steps.append(Step(label, key, tuple(normal.ids), None, about=label))
            return
        name = key + "".join(normal.ids)
        if (run := self._runs.get(name)) is None:
            run = Step(type_, key, tuple(normal.ids), None, as_text(data.get("call_id")), parts=[])
            self._runs[name] = run
            self.steps.append(run)
        assert run.parts is not None
        run.parts.append(delta)

    def close(self) -> list[Step]:
        """The steps. The keys of runs are computed here."""
        for run in self._runs.values():
            normal = Normal()
            run.key = _digest(f"{run.key} {normal.written(''.join(run.parts or ()))}")
            run.ids += tuple(normal.ids)
        made: list[Step] = []  # adjacent steps of one group are in a fixed order
        for _, group in groupby(self.steps, lambda step: step.group or id(step)):
            made += sorted(group, key=lambda step: step.label if step.group == _BEGIN else step.key)
        return made


def _step(frame: TimedFrame, data: Any) -> Step:
    normal = Normal()
    if not isinstance(data, dict):
        text = data if isinstance(data, str) else json.dumps(data)
        return Step("malformed", _digest("malformed " + normal.said(text)), tuple(normal.ids), frame.raw)
    label = frame.type or "malformed"
    try:
        key = _digest(json.dumps(normal.of(data)))
    except RecursionError:
        key = _digest(repr(frame.raw))
    family = as_text(as_dict(data.get("item")).get("type")) or ""
    return Step(label, key, tuple(normal.ids), frame.raw, _about(label, data), family, _group(label, data))


def _group(type_: str, data: Data) -> str | None:
    """The group of an event whose order means nothing: the two events that begin a turn, and the partial summaries of a
    child's status."""
    is_running = type_ == protocol.SESSION_STATUS and data.get("status") == "running"
    if is_running or type_ == protocol.SESSION_INPUT_CONSUMED:
        return _BEGIN
    if type_ == protocol.SESSION_CHILD_SESSION_UPDATED:
        return f"{data.get('child_session_id')} {as_dict(data.get('child')).get('current_task_status')}"
    return None


def _about(type_: str, data: Data) -> str | None:
    """The part of the turn that an event is about, as in `Step.about`."""
    if type_ == protocol.RESPONSE_OUTPUT_ITEM_DONE:
        item = as_dict(data.get("item"))
        return as_text(item.get("call_id")) or text_of(item.get("content")) or None
    if type_ == protocol.SESSION_INPUT_CONSUMED:
        return text_of(as_dict(as_dict(data.get("data")).get("data")).get("content")) or None
    if type_ in protocol.ELICITATIONS:
        return as_text(data.get("elicitation_id"))
    if type_ in protocol.CHILD_EVENTS:
        return as_text(data.get("child_session_id"))
    if type_ in protocol.USAGE_EVENTS:
        return "usage"
    return "end" if type_ in protocol.ENDS else None


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
