"""What the contract objects to, by type; what could not be read at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ...model import TimedFrame
from .event import Event, Group, counted, said
from .finding import Severity, Sign

MAX_KINDS = 50
"""The most kinds of violation that are told apart in one stream; hostile events have any number of types."""
Key = tuple[str, str, str]


class Contract:
    """Violations in one stream. `excused`: whether a frame is none by what the live server does."""

    def __init__(self, excused: Callable[[TimedFrame], bool] = lambda _: False) -> None:
        self._excused = excused
        self._groups: dict[tuple[Key, bool], Group] = {}

    def odd(self, event: Event) -> None:
        """An event whose verdict is not `valid`."""
        excused = event.verdict in ("invalid", "unknown") and self._excused(event.frame)
        for key in _keys(event):
            if (key, excused) not in self._groups and len(self._groups) >= MAX_KINDS:
                key = (key[0], "", "and other things")
            self._groups.setdefault((key, excused), Group()).add(event)

    def signs(self) -> Iterator[Sign]:
        for ((code, type_, problem), excused), group in self._groups.items():
            severity: Severity | None = "note" if excused else None
            yield group.sign(code, _sentence(code, type_, problem, group.count), severity=severity)


def _keys(event: Event) -> Iterable[Key]:
    type_ = said(event.type)
    if event.verdict in ("malformed", "truncated"):
        kind = "too large" if event.frame.raw is None else ""
        return [(event.verdict, type_, kind or next((m for _, m in event.frame.issues), ""))]
    if event.verdict == "unknown":
        return [("contract-unknown", type_, "")]
    if event.verdict != "invalid":
        return []
    issues = event.frame.issues[:5] or (("", "does not fit"),)
    return [_invalid(type_, path, message) for path, message in issues]


def _invalid(type_: str, path: str, message: str) -> Key:
    if path == "event" and message.startswith("differs"):
        return ("event-type-differs", type_, "")
    return ("contract-invalid", type_, said(f"{path} {message}".strip(), 100))


def _sentence(code: str, type_: str, problem: str, count: int) -> str:
    events = counted(count, "event")
    if code == "malformed":
        return f"{events} could not be read: {said(problem, 100) or 'the data is no JSON object with a type'}"
    if code == "truncated":
        return f"{events} {'too large to be recorded' if problem else 'cut in the middle'}"
    if code == "contract-unknown":
        return f"{events} of a type that the contract does not have: {type_}"
    if code == "event-type-differs":
        return f"{events} whose event: line differs from the type, {type_}"
    return f"{events} of type {type_} against the contract: {problem}"
