"""Events out of order, or twice.

1. Sequence numbers rise within a turn. They begin anew with each turn; `session.*` events have none; a gap is no
   finding, since the live server skips numbers.
2. Some events happen once. The live server repeats `session.status`, `response.elicitation_resolved` and what a
   connect snapshot holds; it does not repeat these.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..turns.lenient import as_dict, as_text
from .event import BEGINS, ENDS, Event, Group, Handlers, counted, said
from .finding import Sign

_ONCE = frozenset({
    "response.output_item.done", "response.output_file.done", "response.error", "response.retry",
    "session.input.consumed", "session.created", *ENDS,
})  # fmt: skip


class Order:
    """The order of the events of one stream."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._last_raw: bytes | None = None
        self._top = 0
        """The highest number of the turn before its end."""
        self._ended: str | None = None
        """The id of the response that is over; empty where it has none."""
        self._begun: str | None = None
        self._open: str | None = None
        """The id of the response that began and has not ended."""
        self._seen: set[int] = set()
        self._copies: dict[str, Group] = {}
        self._repeats, self._back, self._late = Group(), Group(), Group()

    def handlers(self) -> Handlers:
        return {**dict.fromkeys(_ONCE, self._once), "session.status": self._rest}

    def _rest(self, event: Event) -> None:
        """At rest a turn is over, said or not: an interrupted one ends so."""
        if event.data.get("status") in ("idle", "failed") and self._ended is None:
            self._ended, self._open = "", None

    def _once(self, event: Event) -> None:
        """An event that should not come a second time; kept by its hash, since there may be many."""
        key = hash(event.frame.raw)
        if key in self._seen:
            self._copy(event)
        self._seen.add(key)
        if event.type == "response.output_item.done" and event.number is None:
            item = as_dict(event.data.get("item"))
            if self._ended and item.get("response_id") == self._ended and item.get("type") == "message":
                self._late.add(event)

    def numbered(self, event: Event) -> None:
        """An event with a sequence number."""
        number, last = event.number or 0, self._last
        if event.type in BEGINS:
            last = self._begin(event, last)
        if self._ended is not None and last is not None and number < last:
            self._after_end(event, number)
        elif last is not None and number == last:
            self._same(event)
        elif last is not None and number < last:
            self._back.add(event)
        self._last, self._last_raw = number, event.frame.raw
        if event.type in ENDS:
            self._ended, self._open = as_text(as_dict(event.data.get("response")).get("id")) or "", None
        elif self._ended is None:
            self._top = number

    def _begin(self, event: Event, last: int | None) -> int | None:
        """Another turn begins to count anew, once the one before is over."""
        id_ = as_text(as_dict(event.data.get("response")).get("id"))
        is_over, self._ended = self._ended is not None, None
        is_same = id_ is not None and id_ == self._begun
        is_other = None not in (id_, self._open) and id_ != self._open  # a restarted runner begins a turn anew
        self._begun = self._open = id_
        return None if is_other or (is_over and not is_same) else last

    def _after_end(self, event: Event, number: int) -> None:
        if number > self._top:
            self._late.add(event)
        else:
            self._ended = None  # a turn whose beginning did not come

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
            yield group.sign("event-repeated", f"{counted(group.count, said(type_))} came a second time, byte for byte")
        for group, code, message in (
            (self._repeats, "sequence-repeats", "with the same number as the one before"),
            (self._back, "sequence-goes-back", "with a number below the one before, within one turn"),
            (self._late, "event-after-end", "of a turn after the turn's end"),
        ):
            if group.count:
                yield group.sign(code, f"{counted(group.count, 'event')} {message}")
