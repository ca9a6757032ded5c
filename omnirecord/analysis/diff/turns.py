"""Two turns, as their user lived them: what was asked and said, the tools, the approvals, the end, usage, timing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..turns import Tool, Turn
from .align import aligned
from .collect import Finding
from .normalize import Normal
from .values import Kind

T = TypeVar("T")
NS = 1_000_000_000


def compare_story(find: Finding, path: str, a: Turn, b: Turn) -> None:
    """All but timing, in the order in which a person would ask."""
    _texts(find, f"{path}.asked", [one.text for one in a.asked], [one.text for one in b.asked])
    _texts(find, f"{path}.thoughts", [one.text for one in a.thoughts], [one.text for one in b.thoughts])
    _tools(find, f"{path}.tools", a.tools, b.tools)
    _all(find, f"{path}.approvals", a.approvals, b.approvals, lambda one: one.message, lambda one: one.elicitation_id,
         "message", "action")  # fmt: skip
    _all(find, f"{path}.children", a.children, b.children, lambda one: one.title or "", lambda one: one.session_id,
         "title", "status", "last_message")  # fmt: skip
    _texts(find, f"{path}.messages", [one.text for one in a.messages], [one.text for one in b.messages])
    _end(find, path, a, b)
    _usage(find, path, a, b)


def _said(text: str) -> str:
    return Normal().said(text)


def _texts(find: Finding, path: str, a: Sequence[str], b: Sequence[str]) -> None:
    for i, j in aligned(a, b, _said, pair_rest=True):
        one, other = _at(a, i), _at(b, j)
        if not find.says_the_same(one, other):
            find.add("content", f"{path}[{_place(i, j)}].text", one, other)
            find.explain(one, other)
            if not path.endswith("asked"):
                find.explain("reasoning" if path.endswith("thoughts") else "text")


def _tools(find: Finding, path: str, a: Sequence[Tool], b: Sequence[Tool]) -> None:
    def call(tool: Tool) -> str:
        return f"{tool.name} {Normal().written(tool.arguments)}"

    def whole(tool: Tool) -> str:
        return f"{call(tool)} {Normal().written(tool.output or '')}"

    for i, j in aligned(a, b, whole, call, lambda tool: tool.name, pair_rest=True):
        one, other = _at(a, i), _at(b, j)
        if one is None or other is None:
            only = one or other
            assert only is not None
            find.explain(only.call_id)
            find.add("tools", f"{path}[{_place(i, j)}]", _tool(one), _tool(other))
        else:
            find.ids.bind(one.call_id, other.call_id)
            _fields(find, "tools", f"{path}[{_place(i, j)}]", one, other, "name", "arguments", "output", "status")


def _tool(tool: Tool | None) -> Any:
    if tool is None:
        return None
    return {name: getattr(tool, name) for name in ("name", "arguments", "output", "status")}


def _all(
    find: Finding, path: str, a: Sequence[T], b: Sequence[T], key: Callable[[T], str], about: Callable[[T], str],
    *fields: str,
) -> None:  # fmt: skip
    for i, j in aligned(a, b, lambda one: _said(key(one)), pair_rest=True):
        one, other = _at(a, i), _at(b, j)
        if one is None or other is None:
            only = one or other
            assert only is not None
            find.explain(about(only))
            sides = [None if side is None else {name: getattr(side, name) for name in fields} for side in (one, other)]
            find.add("content", f"{path}[{_place(i, j)}]", sides[0], sides[1])
        else:
            _fields(find, "content", f"{path}[{_place(i, j)}]", one, other, *fields)


def _fields(find: Finding, kind: Kind, path: str, a: Any, b: Any, *names: str) -> None:
    for name in names:
        one, other = getattr(a, name), getattr(b, name)
        if not find.means_the_same(one, other):
            find.add(kind, f"{path}.{name}", one, other)


def _end(find: Finding, path: str, a: Turn, b: Turn) -> None:
    if a.ended != b.ended:
        find.add("content", f"{path}.ended", a.ended, b.ended)
        find.explain("end")
    if a.error is None or b.error is None:
        if a.error is not b.error:
            one, other = (error and {"code": error.code, "message": error.message} for error in (a.error, b.error))
            find.add("content", f"{path}.error", one, other)
    else:
        _fields(find, "content", f"{path}.error", a.error, b.error, "code", "message")
    _fields(find, "content", path, a, b, "agent")


_USAGE = ("input_tokens", "output_tokens", "reasoning_tokens", "total_tokens", "cost_usd")


def _usage(find: Finding, path: str, a: Turn, b: Turn) -> None:
    _fields(find, "usage", path, a, b, "model")
    if a.usage is not None and b.usage is not None:
        _fields(find, "usage", f"{path}.usage", a.usage, b.usage, *_USAGE)
    elif a.usage is not b.usage:
        one, other = (usage and {name: getattr(usage, name) for name in _USAGE} for usage in (a.usage, b.usage))
        find.add("usage", f"{path}.usage", one, other)
        find.explain("usage")


def compare_timing(find: Finding, path: str, a: Turn, b: Turn, tolerance_s: float) -> None:
    """When the first text came, how long it took, its longest silence: seconds, where they differ by more than that."""
    for name, one, other in zip(("first_text_s", "duration_s", "longest_silence_s"), _times(a), _times(b), strict=True):
        if one is not None and other is not None and abs(one - other) > tolerance_s:
            find.add("timing", f"{path}.{name}", round(one, 3), round(other, 3))


def _times(turn: Turn) -> tuple[float | None, float | None, float | None]:
    begin = turn.started_ns if turn.asked_ns is None else min(turn.started_ns, turn.asked_ns)
    silence = turn.longest_silence.length_ns / NS if turn.longest_silence else 0.0
    return _since(begin, turn.first_text_ns), _since(begin, turn.ended_ns), silence


def _since(begin_ns: int, at_ns: int | None) -> float | None:
    return None if at_ns is None else (at_ns - begin_ns) / NS


def _at(side: Sequence[T], place: int | None) -> T | None:
    return None if place is None else side[place]


def _place(i: int | None, j: int | None) -> int | None:
    return j if i is None else i
