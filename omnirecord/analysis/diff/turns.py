"""The comparison of two turns: messages, tools, approvals, end, usage, timing; their events; their model calls.

Of each request to a model: the model, attempts, endings, tokens, and the first difference of its conversation.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count, zip_longest
from typing import Any, TypeVar

from ...omnigent.protocol import SESSION_STATUS, USAGE_EVENTS, is_of_tool
from ...providers.call import ModelCall
from ...providers.conversation import Conversation, Difference, differences
from ...providers.parts import canonical
from ...text import same_start
from ...wire.normal import Normal, role
from ...wire.strict_json import loads
from ..model_calls.values import Link, requests_of
from ..turns.values import Tool, Turn
from .align import Pair, Step, aligned, elements, moved
from .differences import Differences, Kind, nulls

T = TypeVar("T")
_OF_TOOL = ("name", "arguments", "output", "status")
_USAGE = ("input_tokens", "output_tokens", "reasoning_tokens", "total_tokens", "cost_usd")


def compare_turn(out: Differences, path: str, a: Turn, b: Turn) -> None:
    """Add all differences of two turns except timing and events."""
    _texts(out, f"{path}.asked", [one.text for one in a.asked], [one.text for one in b.asked])
    _texts(out, f"{path}.thoughts", [one.text for one in a.thoughts], [one.text for one in b.thoughts])
    _tools(out, f"{path}.tools", a.tools, b.tools)
    for n, one, other in elements(_by_text(a.approvals, b.approvals, "message"), a.approvals, b.approvals):
        if only := _fields(out, "content", f"{path}.approvals[{n}]", one, other, "message", "action"):
            out.explain(only.elicitation_id)
    for n, child, counterpart in elements(_by_text(a.children, b.children, "title"), a.children, b.children):
        if only_child := _fields(
            out, "content", f"{path}.children[{n}]", child, counterpart, "title", "status", "last_message"
        ):
            out.explain(only_child.session_id)
    _texts(out, f"{path}.messages", [one.text for one in a.messages], [one.text for one in b.messages])
    if a.ended != b.ended:
        out.add("content", f"{path}.ended", a.ended, b.ended)
        out.explain("end")
    _fields(out, "content", f"{path}.error", a.error, b.error, "code", "message")
    _fields(out, "content", path, a, b, "agent")
    _fields(out, "usage", path, a, b, "model")
    if _fields(out, "usage", f"{path}.usage", a.usage, b.usage, *_USAGE):
        out.explain("usage")


def _said(text: str) -> str:
    return Normal().said(text)


def _texts(out: Differences, path: str, a: Sequence[str], b: Sequence[str]) -> None:
    for n, one, other in elements(aligned(a, b, _said, pair_rest=True), a, b):
        if not out.same_text(one, other):
            out.add("content", f"{path}[{n}].text", one, other)
            out.explain(one, other)
            if not path.endswith("asked"):
                out.explain("reasoning" if path.endswith("thoughts") else "text")


def _tools(out: Differences, path: str, a: Sequence[Tool], b: Sequence[Tool]) -> None:
    def call(tool: Tool) -> str:
        return f"{tool.name} {Normal().written(tool.arguments)}"

    def whole(tool: Tool) -> str:
        return f"{call(tool)} {Normal().written(tool.output or '')}"

    for n, one, other in elements(aligned(a, b, whole, call, lambda tool: tool.name, pair_rest=True), a, b):
        if one is not None and other is not None:
            out.ids.bind(one.call_id, other.call_id)
        if only := _fields(out, "tools", f"{path}[{n}]", one, other, *_OF_TOOL):
            out.explain(only.call_id)


def _by_text(a: Sequence[T], b: Sequence[T], name: str) -> list[Pair]:
    """Pair values by the text in this field."""
    return aligned(a, b, lambda value: _said(getattr(value, name) or ""), pair_rest=True)


def _fields(out: Differences, kind: Kind, path: str, a: T | None, b: T | None, *names: str) -> T | None:
    """Add the differences of two values in these fields. If only one side has a value, add and return that."""
    if a is None or b is None:
        if a is not b:
            out.add(kind, path, _said_fields(a, *names), _said_fields(b, *names))
        return a or b
    for name in names:
        one = getattr(a, name)
        other = getattr(b, name)
        if not out.same_value(one, other):
            out.add(kind, f"{path}.{name}", one, other)
    return None


def _said_fields(value: Any, *names: str) -> dict[str, Any] | None:
    return None if value is None else {name: getattr(value, name) for name in names}


def compare_timing(out: Differences, path: str, a: Turn, b: Turn, tolerance_s: float) -> None:
    """Add differences above `tolerance_s` in first text, duration and longest silence, in seconds."""
    for name, one, other in zip(("first_text_s", "duration_s", "longest_silence_s"), _times(a), _times(b), strict=True):
        if one is not None and other is not None and abs(one - other) > tolerance_s:
            out.add("timing", f"{path}.{name}", round(one, 3), round(other, 3))


def _times(turn: Turn) -> tuple[float | None, float | None, float | None]:
    def after(at_ns: int | None) -> float | None:
        return None if at_ns is None else (at_ns - turn.begin_ns) / 1e9

    silence = turn.longest_silence
    return after(turn.first_text_ns), after(turn.ended_ns), silence.length_ns / 1e9 if silence else 0.0


_LONGEST = 40
"""Most steps of an order that are listed."""


class EventComparison:
    """The comparison of the events of two turns. Equal events make their ids partners first."""

    def __init__(self, out: Differences, path: str, a: Sequence[Step], b: Sequence[Step]) -> None:
        self._out = out
        self._path = path
        self._a = a
        self._b = b
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
        names = _names(self._a)
        others = _names(self._b)
        runs = False
        for n, one, other in elements(self._unlike, self._a, self._b):
            at = f"{self._path}{others[n] if one is None else names[n]}"
            if one is not None and other is not None:
                for below, name, mine, theirs in self._out.unlike(one.data, other.data):
                    kind: Kind = "timing" if role(name) == "length" else _kind(one, below)
                    self._out.add_once(kind, f"{at}{below}", mine, theirs, one.label)
            elif (step := one or other) is not None:
                runs |= self._only(at, step, is_a=one is not None)
        for i, j in self._pairs:
            if i is not None and j is not None:
                self._nulls(f"{self._path}{names[i]}", self._a[i], self._b[j])
        if self._has_moved or runs:
            before, behind = self._orders()
            self._out.add("order", f"{self._path}.order".lstrip("."), before, behind)

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
        tail = same_start(sides[0][head:][::-1], sides[1][head:][::-1])
        for side in (self._a, self._b):
            steps = side[head : len(side) - tail]
            rest = len(steps) - _LONGEST
            yield [*map(_label, steps[:_LONGEST]), *([f"… and {rest} more"] if rest > 0 else [])]


def _label(step: Step) -> str:
    data = step.data if step.label not in ("text", "reasoning") else None
    item = data.get("item") if isinstance(data, dict) else None
    if isinstance(item, dict):
        words = [step.label, *(item.get(name) for name in ("type", "name", "status"))]
    else:
        words = [step.label, data.get("status") if isinstance(data, dict) else None]
    return " ".join(word for word in words if isinstance(word, str))


def _names(steps: Sequence[Step]) -> list[str]:
    """Return the name of each step: its type, and its index among those, as `.events[session.usage][0]`."""
    seen: defaultdict[str, count[int]] = defaultdict(count)
    return [f".events[{step.label}][{next(seen[step.label])}]" for step in steps]


def _kind(step: Step, path: str) -> Kind:
    """The kind of difference of an event, or of one of its fields."""
    words = re.split(r"[].[]", path)
    is_usage = any(word in ("usage", "model") or "token" in word or "cost" in word for word in words)
    if is_usage or step.label in USAGE_EVENTS:
        return "usage"
    if step.label == SESSION_STATUS and path in ("", ".status"):
        return "order"
    return "tools" if step.family.startswith("function_call") or is_of_tool(step.label) else "content"


def paired(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs in an order that does not depend on which side is first."""
    return sorted(pairs, key=lambda pair: (min(n for n in pair if n is not None), pair[0] is None))


_ITEM = re.compile(r"item \d+(?: \(.*?\))?(, its call)?\Z", re.DOTALL)
_HEADS = ("API", "model", "stream", "instructions")
_OF_CALL = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
Told = set[tuple[object, object]]
"""Pairs of texts that are reported."""


def compare_calls(out: Differences, path: str, a: Sequence[Link], b: Sequence[Link], told: Told) -> None:
    """Add the differences of the model calls of two turns, or without a path, of two cassettes. `told`: of the session;
    a later request repeats the messages of earlier ones. A call that the recording of a fork answered is equal to that
    of its origin, and is left out."""
    for found in out.found:
        if isinstance(found.a, str) and isinstance(found.b, str):
            told.update(zip(_forms(found.a), _forms(found.b), strict=True))
    sides = requests_of(a), requests_of(b)
    kept = _compared(*sides), _compared(*reversed(sides))
    ours, theirs = ([side[n] for n in some] for side, some in zip(sides, kept, strict=True))
    pairs = aligned(ours, theirs, _key, lambda one: _key(one).partition("\0")[0], pair_rest=True)
    for place, one, other in elements(pairs, ours, theirs):
        n = kept[one is None][place]
        at = f"{path}.model_calls[{n}]".lstrip(".")
        if one is None or other is None:
            out.add("calls", at, one and _summary(one), other and _summary(other))
            continue
        mine = _summary(one)
        its = _summary(other)
        for name in ("model", "attempts", "endings"):
            if mine[name] != its[name]:
                out.add("calls", f"{at}.{name}", mine[name], its[name])
        _fields(out, "calls", f"{at}.usage", one[-1].call.usage, other[-1].call.usage, *_OF_CALL)
        if not path:  # a turn has these
            _answers(out, at, one[-1].call, other[-1].call)
        conversations = one[-1].call.conversation, other[-1].call.conversation
        if conversations[0] is not None and conversations[1] is not None:
            _conversations(out, f"{at}.request", conversations[0], conversations[1], told)


def _compared(own: Sequence[Sequence[Link]], others: Sequence[Sequence[Link]]) -> list[int]:
    """Return the indexes of the requests that are compared: not those that the recording of a fork answered, nor those
    with which it did so."""
    answers = {link.call.answered_from for request in others if is_recorded(request) for link in request}
    return [
        number
        for number, request in enumerate(own)
        if not is_recorded(request) and answers.isdisjoint(link.call.exchange for link in request)
    ]


def is_recorded(calls: Sequence[Link]) -> bool:
    """Return whether the recording of a fork answered all of these calls."""
    return bool(calls) and all(one.call.answered_from is not None for one in calls)


def _forms(text: str) -> Iterator[str]:
    """A text as it is, and as JSON with sorted keys."""
    yield text
    value = loads(text)
    yield canonical(value) if isinstance(value, (dict, list)) else text


def _key(attempts: Sequence[Link]) -> str:
    call = attempts[-1].call
    asked = "" if call.conversation is None else call.conversation.asked
    return f"{asked}\0{call.text}\0{[one.name for one in call.tool_calls]}"


def _summary(attempts: Sequence[Link]) -> dict[str, Any]:
    """The facts of a request that are compared."""
    call = attempts[-1].call
    usage = attempts[-1].call.usage
    return {
        "model": call.model,
        "attempts": max(call.attempt, len(attempts)),
        "endings": ", ".join(_ending(link) for link in attempts),
        "usage": None if usage is None else {name: getattr(usage, name) for name in _OF_CALL},
    }


def _ending(link: Link) -> str:
    call = link.call
    return call.ending if call.ending == "completed" or not call.reason else f"{call.ending} ({call.reason})"


def _answers(out: Differences, path: str, a: ModelCall, b: ModelCall) -> None:
    for n, (text, got) in enumerate(zip_longest(a.texts, b.texts)):
        if not out.same_text(text, got):
            out.add("calls", f"{path}.texts[{n}]", text, got)
    for n, (mine, theirs) in enumerate(zip_longest(a.tool_calls, b.tool_calls)):
        one = _said_fields(mine, "name", "arguments")
        other = _said_fields(theirs, "name", "arguments")
        if not out.same_value(one, other):
            out.add("calls", f"{path}.tool_calls[{n}]", one, other)


def _conversations(out: Differences, path: str, a: Conversation, b: Conversation, told: Told) -> None:
    """Add the first difference that is not reported yet. Models are compared by the names of the provider.

    If one side has more messages, only the first message that differs counts: after it, others stand at each place.
    """
    is_shifted = len(a.items) != len(b.items)
    for one in differences(a, b):
        if one.where == "model":
            continue
        if (one.recorded, one.got) not in told:
            told.add((one.recorded, one.got))
            out.add("calls", f"{path}.{_name(one)}", one.recorded, one.got)
            return
        if is_shifted and _ITEM.match(one.where):
            return


def _name(one: Difference) -> str:
    """The place of a difference as a path. The index of a message is that in the body of the request."""
    where = one.where
    item = _ITEM.match(where)
    if item is not None:
        return f"messages[{one.place}]" + (".call" if item[1] else "")
    if where.startswith("tool "):
        return f"tools[{where.removeprefix('tool ')}]"
    return where if where in _HEADS else f"settings.{where}"
