"""Differences, the collector that a comparison adds them to, and their report. Frozen values; no I/O.

The report has the differences by session and turn. None of its lines holds a control character. Two texts are one with
marked changes (`spans`): they are compared by words or lines, and equal parts are shortened.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from itertools import islice
from typing import Any, Literal, NamedTuple, get_args

from ...text import as_json, clip, counted, same_start, visible
from ...wire.normal import Ids, Normal, is_absent, role
from ..apis import summary

Kind = Literal["content", "order", "tools", "usage", "null", "timing", "calls"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Tone = Literal["same", "gone", "new"]
AROUND = 40
"""Characters of equal text that are shown beside a change."""
MAX_PIECES = 200
"""Most words, or lines, of each side that are compared one by one; of longer texts only the ends."""
MAX_SHOWN = 400
"""Most characters that are shown of one change."""
_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_ALIKE = 0.35
"""Share of the shorter text that has to be equal; below it, both texts are shown whole."""
MAX_ROWS = 200
"""Most printed differences of one turn; `--json` has all."""
_SHORT = 60
_MARKS = {"gone": ("[-", "-]"), "new": ("{+", "+}"), "same": ("", "")}
_SIGNS = {"gone": "- ", "new": "+ ", "same": "  "}
_INDENT = " " * 6


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two sessions."""

    kind: Kind
    session_id: str | None
    """The session's id in the first cassette, or else in the second; None for a stream without a session."""
    path: str
    """Such as `turns[2].tools[0].output`. Counts from 0, in the first cassette, or in the second if only that has
    it. The names are those of `show --json`."""
    a: Any
    """The value in the first cassette, as JSON: recorded text, seconds for a time; None for nothing. Of kind
    `null` it is the text `null` or `missing`."""
    b: Any
    """The value in the second cassette."""

    def row(self) -> dict[str, Any]:
        """The object that `diff --json` prints."""
        return asdict(self)


def counts(found: Sequence[Difference]) -> bool:
    """Whether the two differ in anything but timing."""
    return any(difference.kind != "timing" for difference in found)


class Differences:
    """The differences of one pair of sessions. All pairs of a comparison share `ids`."""

    def __init__(self, session_id: str | None, ids: Ids) -> None:
        self.session_id = session_id
        self.ids = ids
        self.found: list[Difference] = []
        self._told: dict[tuple[str, str, str], str] = {}
        self._absent: set[str] = set()

    def add(self, kind: Kind, path: str, a: Any, b: Any, by: str = "") -> None:
        """Add a difference. `by`: the type of the event that has it; empty for a difference between turns."""
        self.found.append(Difference(kind, self.session_id, path, a, b))
        self._told.setdefault(_pair(path, a, b), by)

    def add_once(self, kind: Kind, path: str, a: Any, b: Any, by: str) -> None:
        """Add a difference, unless the turn or an event of another type has the same one.

        A text arrives as deltas, as an item, and in the response.
        """
        if self._told.get(_pair(path, a, b), by) == by:
            self.add(kind, path, a, b, by)

    def explain(self, *about: str | None) -> None:
        """Note ids and texts that a difference has already named as missing on one side."""
        self._absent.update(text for text in about if text)

    def explains(self, about: str | None) -> bool:
        return about in self._absent

    def next_turn(self) -> None:
        """Forget the differences of the previous turn: the next one may have the same."""
        self._told.clear()
        self._absent.clear()

    def same_text(self, a: str | None, b: str | None) -> bool:
        """Whether two texts are equal except for ids."""
        if a is None or b is None:
            return a is b
        left = Normal()
        right = Normal()
        return left.said(a) == right.said(b) and self.ids.bind_all(left.ids, right.ids)

    def same_value(self, a: Any, b: Any, name: str = "") -> bool:
        """Whether two values are equal except for ids and times; a text that holds JSON is compared as JSON."""
        if a is None or b is None:
            return a is b
        left = Normal()
        right = Normal()
        return bool(left.of(a, name) == right.of(b, name)) and self.ids.bind_all(left.ids, right.ids)

    def unlike(self, a: Any, b: Any, path: str = "", name: str = "") -> Iterator[tuple[str, str, Any, Any]]:
        """The leaves that differ in two JSON values: path, field name, both values."""
        if isinstance(a, dict) and isinstance(b, dict):
            for key in sorted(a.keys() | b.keys()):
                one = a.get(key)
                other = b.get(key)
                if not (is_absent(one, key) and is_absent(other, key)):
                    yield from self.unlike(one, other, f"{path}.{key}", key)
        elif isinstance(a, list) and isinstance(b, list):
            for n in range(max(len(a), len(b))):
                one, other = (side[n] if n < len(side) else None for side in (a, b))
                yield from self.unlike(one, other, f"{path}[{n}]", name)
        elif not self.same_value(a, b, name):
            yield path, name, a, b


def nulls(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """The fields that are null in one JSON value and missing in the other: path, and `null` or `missing` per side."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            at = f"{path}.{key}"
            if key in a and key in b:
                yield from nulls(a[key], b[key], at)
            elif a.get(key, b.get(key)) is None and role(key) != "noise":
                yield at, *(("null", "missing") if key in a else ("missing", "null"))
    elif isinstance(a, list) and isinstance(b, list):
        for n, (one, other) in enumerate(zip(a, b, strict=False)):
            yield from nulls(one, other, f"{path}[{n}]")


def _pair(path: str, a: Any, b: Any) -> tuple[str, str, str]:
    """The key of a change: a text alone, any other value with the name of its field."""
    is_text = any(isinstance(value, str) for value in (a, b))
    return "" if is_text else path.rpartition(".")[2], repr(a), repr(b)


class Span(NamedTuple):
    """A part of a text: `same` in both, `gone` from the first, or `new` in the second."""

    tone: Tone
    text: str


def spans(a: str, b: str) -> list[Span]:
    """Both texts as spans, `same` ones shortened; as one `gone` and one `new` if little of them is equal."""
    head, tail = _ends(a, b)
    left = a[head : len(a) - tail]
    right = b[head : len(b) - tail]
    made = [Span("same", a[:head]), *_changes(left, right), Span("same", a[len(a) - tail :])]
    same = sum(len(span.text) for span in made if span.tone == "same")
    if same < _ALIKE * min(len(a), len(b)):
        made = [Span("gone", a), Span("new", b)]
    return list(_shortened([span for span in made if span.text]))


def _changes(a: str, b: str) -> Iterator[Span]:
    left, right = (_units(text) for text in (a, b))
    if left is None or right is None:
        yield from (Span("gone", a), Span("new", b))
        return
    for kind, i, to_i, j, to_j in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Span("same", "".join(left[i:to_i]))
        else:
            yield from (Span("gone", "".join(left[i:to_i])), Span("new", "".join(right[j:to_j])))


def _units(text: str) -> list[str] | None:
    """The words of a text; its lines, if there are too many words; None, if there are too many lines."""
    words = [word[0] for word in islice(_WORD.finditer(text), MAX_PIECES + 1)]
    for pieces in (words, text.splitlines(keepends=True)):
        if len(pieces) <= MAX_PIECES:
            return pieces
    return None


def _ends(a: str, b: str) -> tuple[int, int]:
    """The number of equal characters at the start and, of the rest, at the end; whole words only."""
    head = same_start(a, b)
    while head and head < max(len(a), len(b)) and _in_word(a, head) | _in_word(b, head):
        head -= 1
    left = a[head:]
    right = b[head:]
    tail = same_start(left[::-1], right[::-1])
    while tail and (_in_word(left, len(left) - tail) or _in_word(right, len(right) - tail)):
        tail -= 1
    return head, tail


def _in_word(text: str, place: int) -> bool:
    return 0 < place < len(text) and text[place - 1].isalnum() and text[place].isalnum()


def _shortened(found: list[Span]) -> Iterator[Span]:
    for n, span in enumerate(found):
        if span.tone != "same":
            yield Span(span.tone, middle_out(span.text))
        elif len(span.text) <= 2 * AROUND + 3:
            yield span
        elif n == 0:
            yield Span("same", "…" + span.text[-AROUND:])
        elif n == len(found) - 1:
            yield Span("same", span.text[:AROUND] + "…")
        else:
            yield Span("same", f"{span.text[:AROUND]} … {span.text[-AROUND:]}")


def middle_out(text: str) -> str:
    """The start and end of a text, with the length of the middle that is left out."""
    rest = len(text) - MAX_SHOWN
    half = MAX_SHOWN // 2
    return text if rest <= 0 else f"{text[:half]}… ({rest:,} more characters) …{text[-half:]}"


Paint = Callable[[Span], str]
"""Span to printed text. The span holds no control character."""


def plain(span: Span) -> str:
    """A span for a pipe: with the marks of `git diff --word-diff`."""
    before, behind = _MARKS[span.tone]
    return f"{before}{span.text}{behind}"


_CALL = "call "
"""Beginning of the heading of a model call without a turn."""


def report(
    found: Sequence[Difference], paint: Paint = plain, names: tuple[Sequence[str], Sequence[str]] = ((), ())
) -> Iterator[str]:
    """The lines of the report after the first one, which is `headline`. `paint`: formats a change inside a text.
    `names`: those of the calls of both sides that have no turn."""
    session: object = ()
    turn: str | None = None
    told = 0
    for one in found:
        at, where = _place(one, names)
        if one.session_id is None and at == "the session":
            at = where = "the stream"
        group = one.session_id or ("model calls" if at.startswith(_CALL) else "a stream without a session")
        if group != session:
            session = group
            turn = None
            told = 0
            yield f"session {visible(one.session_id)}" if one.session_id else group
        if at != turn:
            turn = at
            if not at.startswith(_CALL):
                told = 0
            if told < MAX_ROWS:
                yield f"  {at}"
        told += 1
        if told <= MAX_ROWS:
            yield from _lines(one, where, paint)
        elif told == MAX_ROWS + 1:
            yield "    … and more: --json has them all"


def _place(one: Difference, names: tuple[Sequence[str], Sequence[str]]) -> tuple[str, str]:
    """The heading of a difference, and the rest of its path."""
    head, _, where = one.path.partition("]")
    what, _, number = head.partition("[")
    if what == "turns":
        return f"turn {int(number) + 1}", where.lstrip(".") or "the turn"
    if what == "model_calls":
        return names[one.a is None and not where][int(number)], where.lstrip(".") or "the call"
    return ("the session", "the session") if what == "sessions" else ("around the turns", one.path)


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
            yield _INDENT + visible(f"{side}: {', '.join(map(as_json, value))}")
    else:
        unit = " s" if where.endswith("_s") else ""
        yield f"{head}: {_brief(one.a)}{unit} -> {_brief(one.b)}{unit}"


def _told(value: Any) -> Iterator[str]:
    """A value that only one side has: a text, an event in one line, or a turn or tool by its fields."""
    if not isinstance(value, dict):
        yield value if isinstance(value, str) else as_json(value)
    elif isinstance(value.get("type"), str):
        yield f"{value['type']} {summary(value['type'], value)}".rstrip()
    else:
        yield from (f"{key}: {as_json(one)}" for key, one in value.items() if one not in (None, [], ""))


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
    for line in middle_out(span.text).split("\n"):
        text = _SIGNS[span.tone] + visible(line)
        yield _INDENT + (text if paint is plain else paint(Span(span.tone, text)))


def _brief(value: Any) -> str:
    return visible(clip(as_json(value), _SHORT))


def headline(found: Sequence[Difference], *, sessions: int, turns: int, calls: int = 0) -> str:
    """The first line: the differences by kind; without any, how many sessions and turns, or `calls`, were compared."""
    number = Counter(one.kind for one in found)
    told = [f"{number[kind]} in {kind}" for kind in KINDS if number[kind] and kind != "timing"]
    timing = f"{number['timing']} in timing, which does not count" if number["timing"] else ""
    if not told:
        among = f" in {counted(sessions, 'session')} with {counted(turns, 'turn')}"
        among = f" in {counted(calls, 'model call')}" if calls and not sessions else among
        return f"no difference{among}{f', but for {timing}' if timing else ''}"
    total = sum(number[kind] for kind in KINDS if kind != "timing")
    return f"{counted(total, 'difference')}: {', '.join(told)}" + (f"; {timing}" if timing else "")
