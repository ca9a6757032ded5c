"""Differences, and the collector that a comparison adds them to. Frozen values; no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from .normalize import Ids, Normal, is_absent, role

Kind = Literal["content", "order", "tools", "usage", "null", "timing"]
KINDS: tuple[Kind, ...] = get_args(Kind)


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
        left, right = Normal(), Normal()
        return left.said(a) == right.said(b) and self.ids.bind_all(left.ids, right.ids)

    def same_value(self, a: Any, b: Any, name: str = "") -> bool:
        """Whether two values are equal except for ids and times; a text that holds JSON is compared as JSON."""
        if a is None or b is None:
            return a is b
        left, right = Normal(), Normal()
        return bool(left.of(a, name) == right.of(b, name)) and self.ids.bind_all(left.ids, right.ids)

    def unlike(self, a: Any, b: Any, path: str = "", name: str = "") -> Iterator[tuple[str, str, Any, Any]]:
        """The leaves that differ in two JSON values: path, field name, both values."""
        if isinstance(a, dict) and isinstance(b, dict):
            for key in sorted(a.keys() | b.keys()):
                one, other = a.get(key), b.get(key)
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


def is_length(name: str) -> bool:
    """Whether a field holds a duration."""
    return role(name) == "length"
