"""Deltas that follow each other, as one text that grows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...text import one_line, seconds
from .line import Kind, Told

_KEPT = 300
"""Characters that are kept of each end of a text."""
_SHORTEST = 250_000_000
"""Nanoseconds from which on a rate says something."""
_LABELS: dict[str, tuple[str, Kind]] = {
    "response.output_text.delta": ("assistant", "said"),
    "response.reasoning_text.delta": ("thinking", "thought"),
    "response.reasoning_summary_text.delta": ("thinking", "thought"),
    "response.function_call_output.delta": ("tool", "tool"),
}


def is_delta(type_: str | None) -> bool:
    return type_ in _LABELS


@dataclass(slots=True)
class Fold:
    """The deltas of one text: `count` of them, without those that were left out."""

    type: str
    first_ns: int
    last_ns: int
    stream: int
    first: int
    session: str
    count: int = 0
    is_partial: bool = False
    _head: str = field(default="")
    _tail: str = field(default="")
    _length: int = 0

    def takes(self, row: dict[str, Any]) -> bool:
        """Whether a delta goes on with this text."""
        return _LABELS[self.type] == _LABELS[row["type"]]

    def add(self, row: dict[str, Any]) -> None:
        data = row["data"]
        delta = data.get("delta") if isinstance(data, dict) else None
        text = delta if isinstance(delta, str) else ""
        self.count += 1
        self.last_ns = row["offset_ns"]
        self._length += len(text)
        if len(self._head) < _KEPT:
            self._head = (self._head + text)[:_KEPT]
        self._tail = (self._tail + text)[-_KEPT:]

    @property
    def _amount(self) -> str:
        """What is counted is deltas: how many tokens each one has is not in the stream."""
        lasted = self.last_ns - self.first_ns
        amount = f"{'more than ' if self.is_partial else ''}{self.count:,} delta{'' if self.count == 1 else 's'}"
        return f"{amount}, {(self.count - 1) / lasted * 1e9:.0f}/s" if lasted >= _SHORTEST else amount

    def growing(self, place: str) -> Told:
        """The line while more may follow: the last words."""
        label, kind = _LABELS[self.type]
        text = one_line(self._tail)
        if self._length > len(self._tail):
            text = f"…{text}"
        return Told(self.first_ns, label, kind, f"{self._amount}:", text, place=place, keeps="end")

    def finished(self, place: str) -> Told:
        """The line when it is over: the first words, and how long it took."""
        label, kind = _LABELS[self.type]
        text = one_line(self._head) + ("…" if self._length > len(self._head) else "")
        lasted = self.last_ns - self.first_ns
        end = f"({self._amount}{f', {seconds(lasted)}' if lasted >= _SHORTEST else ''})"
        return Told(self.first_ns, label, kind, "", f'"{text}"', end, place)
