"""The comparison of two turns: messages, tools, approvals, end, usage, timing; then their events and their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ...omnigent.protocol import SESSION_STATUS, USAGE_EVENTS, is_of_tool
from ...wire.normal import Normal, role
from ..turns.values import Tool, Turn
from .align import Pair, aligned, moved
from .differences import Differences, Kind, nulls
from .normalize import Step

T = TypeVar("T")
NS = 1_000_000_000


def compare_turn(out: Differences, path: str, a: Turn, b: Turn) -> None:
    """Add all differences of two turns except timing and events."""
    _texts(out, f"{path}.asked", [one.text for one in a.asked], [one.text for one in b.asked])
    _texts(out, f"{path}.thoughts", [one.text for one in a.thoughts], [one.text for one in b.thoughts])
    _tools(out, f"{path}.tools", a.tools, b.tools)
    _all(out, f"{path}.approvals", a.approvals, b.approvals, lambda one: one.message, lambda one: one.elicitation_id,
         "message", "action")  # fmt: skip
    _all(out, f"{path}.children", a.children, b.children, lambda one: one.title or "", lambda one: one.session_id,
         "title", "status", "last_message")  # fmt: skip
    _texts(out, f"{path}.messages", [one.text for one in a.messages], [one.text for one in b.messages])
    _end(out, path, a, b)
    _usage(out, path, a, b)


def _said(text: str) -> str:
    return Normal().said(text)


def _texts(out: Differences, path: str, a: Sequence[str], b: Sequence[str]) -> None:
    for i, j in aligned(a, b, _said, pair_rest=True):
        one, other = _at(a, i), _at(b, j)
        if not out.same_text(one, other):
            out.add("content", f"{path}[{_place(i, j)}].text", one, other)
            out.explain(one, other)
            if not path.endswith("asked"):
                out.explain("reasoning" if path.endswith("thoughts") else "text")


def _tools(out: Differences, path: str, a: Sequence[Tool], b: Sequence[Tool]) -> None:
    def call(tool: Tool) -> str:
        return f"{tool.name} {Normal().written(tool.arguments)}"

    def whole(tool: Tool) -> str:
        return f"{call(tool)} {Normal().written(tool.output or '')}"

    for i, j in aligned(a, b, whole, call, lambda tool: tool.name, pair_rest=True):
        one, other = _at(a, i), _at(b, j)
        if one is None or other is None:
            only = one or other
            assert only is not None
            out.explain(only.call_id)
            out.add("tools", f"{path}[{_place(i, j)}]", _tool(one), _tool(other))
        else:
            out.ids.bind(one.call_id, other.call_id)
            _fields(out, "tools", f"{path}[{_place(i, j)}]", one, other, "name", "arguments", "output", "status")


def _tool(tool: Tool | None) -> Any:
    if tool is None:
        return None
    return {name: getattr(tool, name) for name in ("name", "arguments", "output", "status")}


def _all(
    out: Differences, path: str, a: Sequence[T], b: Sequence[T], key: Callable[[T], str], about: Callable[[T], str],
    *fields: str,
) -> None:  # fmt: skip
    for i, j in aligned(a, b, lambda one: _said(key(one)), pair_rest=True):
        one, other = _at(a, i), _at(b, j)
        if one is None or other is None:
            only = one or other
            assert only is not None
            out.explain(about(only))
            sides = [None if side is None else {name: getattr(side, name) for name in fields} for side in (one, other)]
            out.add("content", f"{path}[{_place(i, j)}]", sides[0], sides[1])
        else:
            _fields(out, "content", f"{path}[{_place(i, j)}]", one, other, *fields)


def _fields(out: Differences, kind: Kind, path: str, a: Any, b: Any, *names: str) -> None:
    for name in names:
        one, other = getattr(a, name), getattr(b, name)
        if not out.same_value(one, other):
            out.add(kind, f"{path}.{name}", one, other)


def _end(out: Differences, path: str, a: Turn, b: Turn) -> None:
    if a.ended != b.ended:
        out.add("content", f"{path}.ended", a.ended, b.ended)
        out.explain("end")
    if a.error is None or b.error is None:
        if a.error is not b.error:
            one, other = (error and {"code": error.code, "message": error.message} for error in (a.error, b.error))
            out.add("content", f"{path}.error", one, other)
    else:
        _fields(out, "content", f"{path}.error", a.error, b.error, "code", "message")
    _fields(out, "content", path, a, b, "agent")


_USAGE = ("input_tokens", "output_tokens", "reasoning_tokens", "total_tokens", "cost_usd")


def _usage(out: Differences, path: str, a: Turn, b: Turn) -> None:
    _fields(out, "usage", path, a, b, "model")
    if a.usage is not None and b.usage is not None:
        _fields(out, "usage", f"{path}.usage", a.usage, b.usage, *_USAGE)
    elif a.usage is not b.usage:
        one, other = (usage and {name: getattr(usage, name) for name in _USAGE} for usage in (a.usage, b.usage))
        out.add("usage", f"{path}.usage", one, other)
        out.explain("usage")


def compare_timing(out: Differences, path: str, a: Turn, b: Turn, tolerance_s: float) -> None:
    """Add differences above `tolerance_s` in first text, duration and longest silence, in seconds."""
    for name, one, other in zip(("first_text_s", "duration_s", "longest_silence_s"), _times(a), _times(b), strict=True):
        if one is not None and other is not None and abs(one - other) > tolerance_s:
            out.add("timing", f"{path}.{name}", round(one, 3), round(other, 3))


def _times(turn: Turn) -> tuple[float | None, float | None, float | None]:
    first, end = (None if at is None else (at - turn.begin_ns) / NS for at in (turn.first_text_ns, turn.ended_ns))
    return first, end, turn.longest_silence.length_ns / NS if turn.longest_silence else 0.0


def _at(side: Sequence[T], place: int | None) -> T | None:
    return None if place is None else side[place]


def _place(i: int | None, j: int | None) -> int | None:
    return j if i is None else i


_LONGEST = 40
"""Most steps of an order that are listed."""


class EventComparison:
    """The comparison of the events of two turns. Equal events make their ids partners first."""

    def __init__(self, out: Differences, path: str, a: Sequence[Step], b: Sequence[Step]) -> None:
        self._out, self._path, self._a, self._b = out, path, a, b
        pairs = aligned(a, b, lambda step: step.key, lambda step: f"{step.label} {step.family}")
        self._pairs = moved(pairs, lambda i: a[i].key, lambda j: b[j].key)
        self._has_moved = self._pairs != pairs
        self._unlike = [pair for pair in self._pairs if not self._is_alike(*pair)]
        self._seen_nulls: set[tuple[str, str, str, str]] = set()

    def _is_alike(self, i: int | None, j: int | None) -> bool:
        if i is None or j is None or self._a[i].key != self._b[j].key:
            return False
        return self._out.ids.bind_all(self._a[i].ids, self._b[j].ids)

    def run(self) -> None:
        """Add the differences."""
        names = _Names(self._a), _Names(self._b)
        runs = False
        for i, j in self._unlike:
            one, other = None if i is None else self._a[i], None if j is None else self._b[j]
            if one is not None and other is not None:
                self._changed(f"{self._path}{names[0].of(i)}", one, other)
            else:
                only, name = (one, names[0].of(i)) if one is not None else (other, names[1].of(j))
                assert only is not None
                runs |= self._only(f"{self._path}{name}", only, is_a=one is not None)
        for i, j in self._pairs:
            if i is not None and j is not None:
                self._nulls(f"{self._path}{names[0].of(i)}", self._a[i], self._b[j])
        if self._has_moved or runs:
            before, behind = self._orders()
            self._out.add("order", f"{self._path}.order".lstrip("."), before, behind)

    def _changed(self, path: str, a: Step, b: Step) -> None:
        for below, name, one, other in self._out.unlike(a.data, b.data):
            kind: Kind = "timing" if role(name) == "length" else _kind(a, below)
            self._out.add_once(kind, path + below, one, other, a.label)

    def _nulls(self, path: str, a: Step, b: Step) -> None:
        """Add fields that are null on one side and missing on the other: once per event type."""
        if not any(b"null" in (step.raw or b"") for step in (a, b)):
            return
        for below, one, other in nulls(a.data, b.data):
            told = a.label, below, one, other
            if told not in self._seen_nulls:
                self._seen_nulls.add(told)
                self._out.add("null", path + below, one, other)

    def _only(self, path: str, step: Step, *, is_a: bool) -> bool:
        """Add a step that only one side has. True for a run of text, which is a difference in order."""
        if self._out.explains(step.about):
            return False
        if step.label in ("text", "reasoning"):
            return True
        data = step.data if step.data is not None else step.label
        self._out.add(_kind(step, ""), path, data if is_a else None, None if is_a else data)
        return False

    def _orders(self) -> Iterator[list[str]]:
        """The steps of both sides in their order, without equal ends."""
        sides = [step.key for step in self._a], [step.key for step in self._b]
        head = next((n for n, (x, y) in enumerate(zip(*sides, strict=False)) if x != y), 0)
        for side in (self._a, self._b):
            other = sides[1] if side is self._a else sides[0]
            yield _labels(side, head, _tail(side, other, head))


def _tail(side: Sequence[Step], other: list[str], head: int) -> int:
    """The index at which the equal end begins."""
    n = 0
    while n < min(len(side), len(other)) - head and side[-1 - n].key == other[-1 - n]:
        n += 1
    return len(side) - n


def _labels(side: Sequence[Step], start: int, stop: int) -> list[str]:
    told = [_label(step) for step in side[start : min(stop, start + _LONGEST)]]
    return [*told, f"… and {stop - start - _LONGEST} more"] if stop - start > _LONGEST else told


def _label(step: Step) -> str:
    """A short label of a step."""
    data = step.data if step.label not in ("text", "reasoning") else None
    item = data.get("item") if isinstance(data, dict) else None
    if isinstance(item, dict):
        words = [step.label, *(item.get(name) for name in ("type", "name", "status"))]
    else:
        words = [step.label, data.get("status") if isinstance(data, dict) else None]
    return " ".join(word for word in words if isinstance(word, str))


class _Names:
    """Names a step by its type and its index among those: `.events[session.usage][0]`."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._numbers: list[int] = []

    def of(self, place: int | None) -> str:
        assert place is not None
        if not self._numbers:
            seen: Counter[str] = Counter()
            for step in self._steps:
                self._numbers.append(seen[step.label])
                seen[step.label] += 1
        return f".events[{self._steps[place].label}][{self._numbers[place]}]"


def _kind(step: Step, path: str) -> Kind:
    """The kind of difference of an event, or of one of its fields."""
    words = path.replace("]", ".").replace("[", ".").split(".")
    if step.label in USAGE_EVENTS or any(
        word in ("usage", "model") or "token" in word or "cost" in word for word in words
    ):
        return "usage"
    if step.label == SESSION_STATUS and path in ("", ".status"):
        return "order"
    is_tool = step.family.startswith("function_call") or is_of_tool(step.label)
    return "tools" if is_tool else "content"


def paired(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs in an order that does not depend on which side is first."""
    return sorted(pairs, key=lambda pair: (min(n for n in pair if n is not None), pair[0] is None))
