"""Events out of order, or twice.

1. Sequence numbers rise within a turn. They begin anew with each turn; `session.*` events have none; a gap is no
   finding, since the live server skips numbers.
2. Some events happen once. The live server repeats `session.status`, `response.elicitation_resolved` and what a
   connect snapshot holds; it does not repeat these.

What the server said it holds: the answers to reads of a session and of its items. Reading never fails. Pure.

The way that a session's status goes.

Known ways are those of Omnigent's page (idle, running, waiting, failed), `launching`, and what the live server was seen
to do in healthy sessions: say a status twice, or run on from one turn to the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from ...model import Exchange
from ...omnigent import protocol
from ...omnigent.routes import below_session, query_of
from ..turns.items import snapshot_in
from ..turns.lenient import as_dict, as_text, text_of, written
from .finding import (
    SECOND,
    WORKING,
    Event,
    Group,
    Handlers,
    Place,
    Severity,
    Sign,
    counted,
    said,
    sign_at,
)

_ONCE = frozenset({
    protocol.RESPONSE_OUTPUT_ITEM_DONE, protocol.RESPONSE_OUTPUT_FILE_DONE, protocol.RESPONSE_ERROR,
    protocol.RESPONSE_RETRY, protocol.SESSION_INPUT_CONSUMED, protocol.SESSION_CREATED, *protocol.ENDS,
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
        return {**dict.fromkeys(_ONCE, self._once), protocol.SESSION_STATUS: self._rest}

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
            self._after_end(event, number)
        elif last is not None and number == last:
            self._same(event)
        elif last is not None and number < last:
            self._back.add(event)
        self._last, self._last_raw = number, event.frame.raw
        if event.type in protocol.ENDS:
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


Key = tuple[str, str]
"""What an item is known by on both sides: the id of a message, the call id of a tool call and of its output."""


@dataclass(frozen=True, slots=True)
class ItemList:
    exchange: int
    asked_ns: int
    at_ns: int
    """When the answer came."""
    items: tuple[tuple[Key, str], ...]
    """In the order in which they were stored, each with its text."""
    is_whole: bool
    """Whether the list has every item of the session."""
    is_history: bool = True
    """Whether it tells what the session held: false without items (`include_items=false`), and for an older page."""
    runner_online: bool | None = None
    pending: tuple[str, ...] = ()
    """The elicitations that wait for an answer."""


def reads_items(x: Exchange) -> bool:
    """Whether the answer to an exchange is one."""
    is_read = x.kind == "http" and x.request.method == "GET" and x.response is not None and x.response.status == 200
    return is_read and below_session(x.request.target) in ("", "/items")


def item_list_of(x: Exchange, answer: bytes) -> ItemList | None:
    """The snapshot that an exchange brought; None where its answer is none."""
    try:
        data = as_dict(json.loads(answer))
    except (ValueError, RecursionError):
        return None
    assert x.response is not None
    at_ns = x.response.at_ns if x.response.end_ns is None else x.response.end_ns
    query = parse_qs(query_of(x.request.target))
    if below_session(x.request.target) == "/items":
        is_page = bool(query.keys() & {"after", "before"})
        return ItemList(
            x.exchange, x.request.at_ns, at_ns, _ordered(data.get("data"), x), _is_whole(data, x), not is_page
        )
    has_items = isinstance(data.get("items"), list) and query.get("include_items") not in (["false"], ["0"])
    state = snapshot_in(x, data)
    return ItemList(
        x.exchange, x.request.at_ns, at_ns, tuple(_items(data.get("items"))), False, has_items,
        state.runner_online, state.pending,
    )  # fmt: skip


def _is_whole(data: dict[str, Any], x: Exchange) -> bool:
    query = parse_qs(query_of(x.request.target))
    return data.get("has_more") is False and not query.keys() & {"after", "before"}


def _ordered(value: Any, x: Exchange) -> tuple[tuple[Key, str], ...]:
    items = list(_items(value))
    return tuple(reversed(items) if "desc" in parse_qs(query_of(x.request.target)).get("order", []) else items)


def _items(value: Any) -> Iterator[tuple[Key, str]]:
    for one in value if isinstance(value, list) else []:
        item = as_dict(one)
        yield from keyed({**as_dict(item.get("data")), **item})


def keyed(item: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    """What an item is known by, and its text; nothing for those that the stream tells otherwise, as errors."""
    type_, id_, call_id = item.get("type"), as_text(item.get("id")), as_text(item.get("call_id"))
    if type_ == "message" and id_ is not None:
        yield ("message", id_), text_of(item.get("content"))
    elif type_ == "function_call" and call_id is not None:
        yield ("call", call_id), f"{as_text(item.get('name'))}({written(item.get('arguments'))})"
    elif type_ == "function_call_output" and call_id is not None:
        yield ("output", call_id), written(item.get("output")) or ""


_KNOWN = frozenset({
    ("idle", "launching"), ("idle", "running"), ("failed", "launching"), ("failed", "running"), ("failed", "idle"),
    ("launching", "running"), ("launching", "idle"), ("launching", "failed"), ("running", "waiting"),
    ("running", "idle"), ("running", "failed"), ("waiting", "running"), ("waiting", "idle"), ("waiting", "failed"),
    ("running", "launching"), ("waiting", "launching"), ("idle", "failed"),
})  # fmt: skip
_SOON = 2 * SECOND
"""How long after a turn its last status may take."""


class Statuses:
    """The statuses of one stream."""

    def __init__(self) -> None:
        self.last: str | None = None
        self.place: Place | None = None
        self._ended: Place | None = None
        """The end of a turn, while no status has come since."""
        self._heard_input = False
        self.heard_post = False
        """Whether a client posted a message while this stream was open: then the turn's status came on it too. A
        client that joins a sub-agent behind its `running` hears the message, and then the response."""
        self._odd: dict[tuple[str, str], Group] = {}

    def handlers(self) -> Handlers:
        return {
            protocol.SESSION_STATUS: self._status, protocol.SESSION_INPUT_CONSUMED: self._input,
            **dict.fromkeys(protocol.RESPONSE_BEGINS, self._begin), **dict.fromkeys(protocol.ENDS, self._end),
        }  # fmt: skip

    def _status(self, event: Event) -> None:
        status = as_text(event.data.get("status"))
        if status is None:
            return
        if self.last not in (None, status) and (self.last, status) not in _KNOWN:
            self._add(event, self.last or "", status)
        self.last, self.place, self._ended = status, event.place, None

    def _input(self, _event: Event) -> None:
        self._heard_input = True

    def _begin(self, event: Event) -> None:
        """A response is worked on: so the session runs, and should have said so."""
        is_heard_from_start = self.last is not None or (self._heard_input and self.heard_post)
        if not event.in_snapshot and is_heard_from_start and self.last not in WORKING:
            self._add(event, self.last or "no status", "a response under way")
            self.last, self.place = "running", event.place
        self._heard_input = False

    def _end(self, event: Event) -> None:
        id_ = as_text(as_dict(event.data.get("response")).get("id")) or ""
        if not protocol.is_denial(id_):
            self._ended = event.place

    def _add(self, event: Event, before: str, after: str) -> None:
        key = (said(before, 30), said(after, 30))
        if key in self._odd or len(self._odd) < len(_KNOWN):
            self._odd.setdefault(key, Group()).add(event)

    def signs(self, end_ns: int | None) -> Iterator[Sign]:
        for (before, after), group in self._odd.items():
            yield group.sign("status-unknown-transition", f"the status went from {before} to {after}")
        if self._ended and self.place and self.last in WORKING:
            yield self._left(self._ended, self.place, end_ns)

    def _left(self, ended: Place, place: Place, end_ns: int | None) -> Sign:
        """A client that leaves right behind the end of a turn does not wait for the status."""
        soon = end_ns is None or end_ns - ended.at_ns < _SOON
        severity: Severity = "note" if soon else "warning"
        message = f"the turn ended, and the last status is still {said(self.last)}"
        return sign_at("status-left-running", message, [place, ended], since_ns=ended.at_ns, severity=severity)
