"""Differences as lines of text, by session and turn. No line holds a control character."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...omnigent.summary import summary
from ...text import clip, counted, visible
from .differences import KINDS, Difference
from .text import MAX_SHOWN, Span, middle_out, spans

Paint = Callable[[Span], str]
"""Span to printed text. The span holds no control character."""
MAX_ROWS = 200
"""Most printed differences of one turn; `--json` has all."""
_SHORT = 60
_MARKS = {"gone": ("[-", "-]"), "new": ("{+", "+}"), "same": ("", "")}
_SIGNS = {"gone": "- ", "new": "+ ", "same": "  "}
_INDENT = " " * 6


def plain(span: Span) -> str:
    """A span for a pipe: with the marks of `git diff --word-diff`."""
    before, behind = _MARKS[span.tone]
    return f"{before}{span.text}{behind}"


def report(found: Sequence[Difference], paint: Paint = plain) -> Iterator[str]:
    """The lines of the report after the first one, which is `headline`. `paint`: formats a change inside a text."""
    session: object = ()
    turn: str | None = None
    told = 0
    for one in found:
        at, where = _place(one.path)
        if one.session_id != session:
            session, turn = one.session_id, None
            yield f"session {visible(one.session_id)}" if one.session_id else "a stream without a session"
        if at != turn:
            turn, told = at, 0
            yield f"  {at}"
        told += 1
        if told <= MAX_ROWS:
            yield from _lines(one, where, paint)
        elif told == MAX_ROWS + 1:
            yield "    … and more: --json has them all"


def _place(path: str) -> tuple[str, str]:
    """The heading of a difference, and the rest of its path."""
    head, _, where = path.partition("]")
    what, _, number = head.partition("[")
    if what == "turns":
        return f"turn {int(number) + 1}", where.lstrip(".") or "the turn"
    return ("the session", "the session") if what == "sessions" else ("around the turns", path)


def _lines(one: Difference, where: str, paint: Paint) -> Iterator[str]:
    head = f"    {one.kind:<8}{visible(where)}"
    if one.a is None or one.b is None:
        tone, value, side = ("gone", one.a, "A") if one.b is None else ("new", one.b, "B")
        yield f"{head}, only in {side}:"
        for text in _told(value):
            yield from _whole(Span(tone, text), paint)  # type: ignore[arg-type]
    elif isinstance(one.a, str) and isinstance(one.b, str) and max(len(one.a), len(one.b)) > _SHORT // 3:
        yield f"{head}:"
        yield from _changed(spans(one.a, one.b), paint)
    elif isinstance(one.a, list) and isinstance(one.b, list):
        yield f"{head}:"
        for side, value in (("A", one.a), ("B", one.b)):
            yield _INDENT + visible(f"{side}: {', '.join(map(_json, value))}")
    else:
        unit = " s" if where.endswith("_s") else ""
        yield f"{head}: {_brief(one.a)}{unit} -> {_brief(one.b)}{unit}"


def _told(value: Any) -> Iterator[str]:
    """A value that only one side has: a text, an event in one line, or a turn or tool by its fields."""
    if not isinstance(value, dict):
        yield value if isinstance(value, str) else _json(value)
    elif isinstance(value.get("type"), str):
        yield f"{value['type']} {summary(value['type'], value)}".rstrip()
    else:
        yield from (f"{key}: {_json(one)}" for key, one in value.items() if one not in (None, [], ""))


def _changed(found: list[Span], paint: Paint) -> Iterator[str]:
    """The lines of a text with its changes; two texts with little in common, one after the other."""
    if [span.tone for span in found] == ["gone", "new"]:
        for span in found:
            yield from _whole(span, paint)
        return
    line = _INDENT
    for span in found:
        first, *rest = span.text.split("\n")
        line += _paint(span, first, paint)
        for text in rest:
            yield line.rstrip()
            line = _INDENT + _paint(span, text, paint)
    yield line.rstrip()


def _paint(span: Span, text: str, paint: Paint) -> str:
    return paint(Span(span.tone, visible(text))) if text else ""


def _whole(span: Span, paint: Paint) -> Iterator[str]:
    """The lines of a span, each with its sign."""
    for line in middle_out(span.text, MAX_SHOWN).split("\n"):
        text = _SIGNS[span.tone] + visible(line)
        yield _INDENT + (text if paint is plain else paint(Span(span.tone, text)))


def _brief(value: Any) -> str:
    return visible(clip(_json(value), _SHORT))


def _json(value: Any) -> str:
    """A text unchanged, any other value as JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "…"


def headline(found: Sequence[Difference], *, sessions: int, turns: int) -> str:
    """The first line: the differences by kind; without any, the sessions and turns that were compared."""
    number = Counter(one.kind for one in found)
    told = [f"{number[kind]} in {kind}" for kind in KINDS if number[kind] and kind != "timing"]
    timing = f"{number['timing']} in timing, which does not count" if number["timing"] else ""
    if not told:
        among = f" in {counted(sessions, 'session')} with {counted(turns, 'turn')}"
        return f"no difference{among}{f', but for {timing}' if timing else ''}"
    total = sum(number[kind] for kind in KINDS if kind != "timing")
    return f"{counted(total, 'difference')}: {', '.join(told)}" + (f"; {timing}" if timing else "")
