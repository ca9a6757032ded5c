"""Checks of single events: events against the contract, out of order, or repeated.

1. Sequence numbers rise within a turn. They start again with each turn; `session.*` events have none. A gap is no
   finding, since the live server skips numbers.
2. The events in `_ONCE` arrive once. The live server repeats `session.status`, `response.elicitation_resolved` and the
   events of a connect snapshot, but not these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ...model import TimedFrame
from ...omnigent import protocol
from ...text import counted
from ...wire.strict_json import as_dict, as_text
from .finding import Event, Group, Handlers, Severity, Sign, said

MAX_KINDS = 50
"""Most kinds of violation that one stream reports apart: hostile events may have any number of types."""
Key = tuple[str, str, str]


class Contract:
    """Violations of the contract in one stream. `excused`: whether the live server sends such a frame too."""

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
    return [
        ("event-type-differs", type_, "") if path == "event" and message.startswith("differs")
        else ("contract-invalid", type_, said(f"{path} {message}".strip(), 100))
        for path, message in event.frame.issues[:5] or (("", "does not fit"),)
    ]  # fmt: skip


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


_ONCE = frozenset(
    {
        protocol.RESPONSE_OUTPUT_ITEM_DONE,
        protocol.RESPONSE_OUTPUT_FILE_DONE,
        protocol.RESPONSE_ERROR,
        protocol.RESPONSE_RETRY,
        protocol.SESSION_INPUT_CONSUMED,
        protocol.SESSION_CREATED,
        *protocol.ENDS,
    }
)


class Order:
    """The order of the events of one stream, and repeated events."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._last_raw: bytes | None = None
        self._top = 0
        """The highest sequence number of the turn before its end."""
        self._ended: str | None = None
        """The id of the response that ended; empty if it has none."""
        self._begun: str | None = None
        self._open: str | None = None
        """The id of the response that began and has not ended."""
        self._seen: set[int] = set()
        self._copies: dict[str, Group] = {}
        self._repeats, self._back, self._late = Group(), Group(), Group()

    def handlers(self) -> Handlers:
        return {**dict.fromkeys(_ONCE, self._once), protocol.SESSION_STATUS: self._rest}

    def _rest(self, event: Event) -> None:
        """A session at rest has no open turn: an interrupted turn ends so."""
        if event.data.get("status") in ("idle", "failed") and self._ended is None:
            self._ended, self._open = "", None

    def _once(self, event: Event) -> None:
        """An event that arrives once. Only its hash is kept, since there may be many."""
        key = hash(event.frame.raw)
        if key in self._seen:
            self._copy(event)
        self._seen.add(key)
        if event.type == protocol.RESPONSE_OUTPUT_ITEM_DONE and event.number is None:
            item = as_dict(event.data.get("item"))
            if self._ended and item.get("response_id") == self._ended and item.get("type") == "message":
                self._late.add(event)

    def numbered(self, event: Event) -> None:
        """An event with a sequence number."""
        number, last = event.number or 0, self._last
        if event.type in protocol.RESPONSE_BEGINS:
            last = self._begin(event, last)
        if self._ended is not None and last is not None and number < last:
            if number > self._top:
                self._late.add(event)
            else:
                self._ended = None  # the start of this turn did not arrive
        elif last is not None and number == last:
            self._same(event)
        elif last is not None and number < last:
            self._back.add(event)
        self._last, self._last_raw = number, event.frame.raw
        if event.type in protocol.ENDS:
            self._ended, self._open = as_text(as_dict(event.data.get("response")).get("id")) or "", None
        elif self._ended is None:
            self._top = number

    def goes_on(self, number: int, last: TimedFrame) -> None:
        """Note events whose numbers rise, of which this is the last one."""
        self._last, self._last_raw = number, last.raw
        if self._ended is None:
            self._top = number

    def _begin(self, event: Event, last: int | None) -> int | None:
        """The last number that the next one has to exceed: None if another turn begins."""
        id_ = as_text(as_dict(event.data.get("response")).get("id"))
        is_over, self._ended = self._ended is not None, None
        is_same = id_ is not None and id_ == self._begun
        is_other = None not in (id_, self._open) and id_ != self._open  # a restarted runner starts the turn again
        self._begun = self._open = id_
        return None if is_other or (is_over and not is_same) else last

    def _same(self, event: Event) -> None:
        if event.frame.raw == self._last_raw:
            if event.type not in _ONCE:
                self._copy(event)
        else:
            self._repeats.add(event)

    def _copy(self, event: Event) -> None:
        self._copies.setdefault(event.type or "", Group()).add(event)

    def signs(self) -> Iterator[Sign]:
        for type_, group in self._copies.items():
            yield group.sign(
                "event-repeated", f"{counted(group.count, said(type_))} arrived a second time, byte for byte"
            )
        for group, code, message in (
            (self._repeats, "sequence-repeats", "with the same number as the one before"),
            (self._back, "sequence-goes-back", "with a number below the one before, within one turn"),
            (self._late, "event-after-end", "of a turn after the turn's end"),
        ):
            if group.count:
                yield group.sign(code, f"{counted(group.count, 'event')} {message}")
