"""Checks of texts and items: does the stream carry what the server stored?

1. An item is missed if a snapshot has it, no earlier snapshot had it, and no stream carried it. It arrived while no
   client was connected, or was lost. Items from before the first stream are the session's history.
2. An item that a stream carried, and that a later list of all items lacks, was never stored.
3. An item that both have should be the same.
4. The deltas of a text should add up to the stored text. After a tool call, the item may hold only the text behind the
   call. Text in flight that the server sends again to a new stream may be longer than the item.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any
from urllib.parse import parse_qs

from ...model import Exchange
from ...omnigent import protocol
from ...omnigent.routes import below_session, query_of
from ...text import counted, same_start
from ...wire.strict_json import as_dict, as_list, as_text, loads, text_of, written
from ..turns.builder import snapshot_in
from ..turns.patience import SECOND
from ..turns.stored import fields_of
from ..turns.values import Ref
from .finding import Event, Handlers, Sign, said, sign_at

_MOST = 20
"""Most differences that are reported for one stream, and most items of one sign."""
Key = tuple[str, str]
"""Kind and id of an item: a message by its id, a tool call and its output by the call id."""


@dataclass(slots=True, unsafe_hash=True)
class StoredState:
    """The server's answer to a read of a session, or of its items."""

    exchange: int
    asked_ns: int
    at_ns: int
    """When the answer arrived, in ns."""
    items: tuple[tuple[Key, str], ...]
    """In stored order, each with its text."""
    is_whole: bool
    """Whether it has every item of the session."""
    is_history: bool = True
    """Whether it shows the session's items: false with `include_items=false`, and for a page of older items."""
    runner_online: bool | None = None
    status: str | None = None
    """Of the session."""
    pending: tuple[str, ...] = ()
    """Ids of the questions without an answer."""


def stored_state_of(x: Exchange, answer: bytes) -> StoredState | None:
    """The stored state in an answer; None if the answer is no JSON."""
    found = loads(answer)
    if found is None and answer.strip() != b"null":
        return None
    data = as_dict(found)
    assert x.response is not None
    at_ns = x.response.at_ns if x.response.end_ns is None else x.response.end_ns
    query = parse_qs(query_of(x.request.target)) if "?" in x.request.target else {}
    if below_session(x.request.target) == "/items":
        is_page = bool(query.keys() & {"after", "before"})
        items = list(_items(data.get("data")))
        if "desc" in query.get("order", []):
            items.reverse()
        is_whole = data.get("has_more") is False and not is_page
        return StoredState(x.exchange, x.request.at_ns, at_ns, tuple(items), is_whole, not is_page)
    has_items = isinstance(data.get("items"), list) and query.get("include_items") not in (["false"], ["0"])
    snapshot = snapshot_in(x, data)
    return StoredState(
        exchange=x.exchange,
        asked_ns=x.request.at_ns,
        at_ns=at_ns,
        items=tuple(_items(data.get("items"))),
        is_whole=False,
        is_history=has_items,
        runner_online=snapshot.runner_online,
        status=snapshot.status,
        pending=snapshot.pending,
    )


def _items(value: Any) -> Iterator[tuple[Key, str]]:
    found = (keyed(fields_of(one)) for one in as_list(value))
    return (one for one in found if one is not None)


def keyed(item: dict[str, Any]) -> tuple[Key, str] | None:
    """The key and text of an item; None for kinds that the stream does not carry as items, such as errors."""
    type_ = item.get("type")
    if type_ == "message":
        id_ = as_text(item.get("id"))
        return None if id_ is None else (("message", id_), text_of(item.get("content")))
    if type_ not in ("function_call", "function_call_output"):
        return None
    call_id = as_text(item.get("call_id"))
    if call_id is None:
        return None
    if type_ == "function_call":
        return ("call", call_id), f"{as_text(item.get('name'))}({written(item.get('arguments'))})"
    return ("output", call_id), written(item.get("output")) or ""


class Items:
    """The items that the streams of one session carried."""

    def __init__(self) -> None:
        self.by_key: dict[Key, tuple[Ref, int, str]] = {}
        """Its first event, the hash of its text, and the start of its text."""

    def handlers(self) -> Handlers:
        return {protocol.RESPONSE_OUTPUT_ITEM_DONE: self._item, protocol.SESSION_INPUT_CONSUMED: self._input}

    def _item(self, event: Event) -> None:
        found = keyed(event.item)
        if found is None:
            return
        key, text = found
        known = self.by_key.get(key)
        # A call arrives twice, the second time in its stored form: the server may have replaced its arguments.
        if known is None or key[0] == "call":
            self.by_key[key] = (known[0] if known else event.ref, hash(text), said(text))

    def _input(self, event: Event) -> None:
        """A user message, which the stream carries as `session.input.consumed`."""
        item = as_dict(event.data.get("data"))
        id_ = as_text(item.get("item_id"))
        if id_ is not None:
            text = text_of(as_dict(item.get("data")).get("content"))
            self.by_key.setdefault(("message", id_), (event.ref, hash(text), said(text)))

    def carried(self, text: str, since_ns: int) -> bool:
        """Whether a stream carried a message of this text at `since_ns` or later."""
        found = hash(text)
        messages = (one for key, one in self.by_key.items() if key[0] == "message")
        return any(one[1] == found and one[0].at_ns >= since_ns for one in messages)

    def signs(self, snapshots: Sequence[StoredState], begun_ns: int | None, posted: Collection[str]) -> Iterator[Sign]:
        """The signs. `begun_ns`: when the first stream began. `posted`: ids of the items that clients posted."""
        if begun_ns is not None:
            yield from self._missed(snapshots, begun_ns, posted)
        yield from self._never_stored(snapshots)
        yield from self._differing(snapshots)

    def _missed(self, snapshots: Sequence[StoredState], begun_ns: int, posted: Collection[str]) -> Iterator[Sign]:
        known: set[Key] = {("message", id_) for id_ in posted}
        has_history = False

        def is_new(item: tuple[Key, str]) -> bool:
            return item[0] not in known and item[0] not in self.by_key

        for snapshot in snapshots:
            is_history = snapshot.at_ns < begun_ns
            items = iter(snapshot.items)
            if not is_history and not (has_history and snapshot.is_history):
                items = dropwhile(is_new, items)  # only those after an item that a stream carried
            new = list(filter(is_new, items))
            if new and not is_history:
                yield self._missing(new, snapshot)
            known |= {key for key, _ in snapshot.items}
            has_history = has_history or (is_history and snapshot.is_history) or snapshot.is_whole

    def _missing(self, new: list[tuple[Key, str]], snapshot: StoredState) -> Sign:
        before = [ref for ref, _, _ in self.by_key.values() if ref.at_ns < snapshot.asked_ns]
        last = max(before, key=lambda ref: ref.at_ns, default=None)
        what = ", ".join(f"{key[0]} {said(text, 40)!r}" for key, text in new[:3])
        more = f" and {len(new) - 3} more" if len(new) > 3 else ""
        items = counted(len(new), "item")
        message = f"the answer of exchange {snapshot.exchange} holds {items} that no stream carried: {what}{more}"
        since = last.at_ns if last else 0
        stream, seqs = (last.stream, (last.seq,)) if last else (None, ())
        return Sign("items-missed", message, since, snapshot.at_ns, stream, seqs)

    def _never_stored(self, snapshots: Sequence[StoredState]) -> Iterator[Sign]:
        whole = [snapshot for snapshot in snapshots if snapshot.is_whole]
        if not whole:
            return
        last = whole[-1]
        ever = {key for snapshot in snapshots for key, _ in snapshot.items}
        # A call is stored together with its output, which may have come after the read.
        returned = {
            key[1] for key, (ref, _, _) in self.by_key.items() if key[0] == "output" and ref.at_ns < last.asked_ns
        }
        under_way = {key for key in self.by_key if key[0] == "call" and key[1] not in returned}
        lost = [
            (key, ref, text)
            for key, (ref, _, text) in self.by_key.items()
            if key not in ever and key not in under_way and ref.at_ns < last.asked_ns
        ]
        if lost:
            what = ", ".join(f"{key[0]} {text!r}" for key, _, text in lost[:3])
            items = counted(len(lost), "item")
            message = f"{items} came that the answer of exchange {last.exchange} does not have: {what}"
            yield sign_at("items-never-stored", message, [ref for _, ref, _ in lost[:_MOST]])

    def _differing(self, snapshots: Sequence[StoredState]) -> Iterator[Sign]:
        reported: set[Key] = set()
        for snapshot in snapshots:
            for key, text in snapshot.items:
                carried = self.by_key.get(key)
                if carried is None or key in reported or carried[1] == hash(text) or len(reported) >= _MOST:
                    continue
                reported.add(key)
                message = (
                    f"the {key[0]} {said(key[1])} arrived as {carried[2]!r}, but exchange {snapshot.exchange} has it as"
                    f" {said(text)!r}"
                )
                yield sign_at("item-differs-from-stored", message, [carried[0]], until_ns=carried[0].at_ns + SECOND)


class StreamedText:
    """The text of one stream's deltas, and the items that store it."""

    def __init__(self) -> None:
        self._found: list[Sign] = []
        self._parts: list[str] = []
        self._calls: list[int] = []
        """The number of parts at each tool call."""
        self._refs: list[Ref] = []
        """The first delta, and the last one."""
        self._resent = False
        self._message: str | None = None
        self._stored: dict[str, str] = {}
        self._interrupted = False

    def handlers(self) -> Handlers:
        return {
            protocol.RESPONSE_OUTPUT_TEXT_DELTA: self.add,
            protocol.RESPONSE_OUTPUT_ITEM_DONE: self._item,
            protocol.SESSION_INTERRUPTED: self._interrupt,
            **dict.fromkeys(protocol.ENDS, self._end),
            **dict.fromkeys(protocol.RESPONSE_BEGINS, self._begin),
        }

    def add(self, event: Event) -> None:
        delta = as_text(event.data.get("delta"))
        message = as_text(event.data.get("message_id"))
        if message != self._message and self._parts:
            self._clear()
        self._message = message
        if event.in_snapshot:
            self._clear()
            self._resent = True
        if delta:
            self._parts.append(delta)
            self._refs[1:] = [event.ref]

    def goes_on(self, texts: Sequence[Any], ids: Sequence[Any]) -> bool:
        """Whether these are deltas with a text, and of the message of the last delta. `ids`: their message ids."""
        is_of_message = ids.count(self._message) == len(ids)
        return is_of_message and all(texts) and set(map(type, texts)) == {str}

    def add_all(self, texts: Sequence[Any], first: Ref, last: Ref) -> None:
        """Add deltas that `goes_on`. `first`, `last`: the events of the first and of the last one."""
        if not self._refs:
            self._refs = [first]
        self._parts += texts
        self._refs[1:] = [last]

    def _begin(self, _event: Event) -> None:
        self._clear()
        self._interrupted = False

    def _interrupt(self, _event: Event) -> None:
        self._clear()
        self._interrupted = True

    def _item(self, event: Event) -> None:
        item = event.item
        if item.get("type") == "function_call":
            self._calls.append(len(self._parts))
        elif item.get("type") == "message" and item.get("role") not in ("user", "system"):
            stored = text_of(item.get("content"))
            id_ = as_text(item.get("id"))
            if self._parts and not self._interrupted and not self._is(stored):
                text = "".join(self._parts)
                have = f"the deltas have {_length(text)}, the stored item has {_length(stored)}"
                message = f"{have}: {_difference(text, stored)}"
                self._found.append(sign_at("text-differs-from-item", message, [*self._refs, event.ref]))
            if id_ is not None:
                self._stored[id_] = stored
            self._clear()

    def _is(self, stored: str) -> bool:
        """Whether the deltas add up to `stored`, from the start or from a tool call on."""
        text = "".join(self._parts)
        if text == stored or (self._resent and text.endswith(stored)):
            return True
        return any("".join(self._parts[begin:]) == stored for begin in self._calls[-_MOST:])

    def _end(self, event: Event) -> None:
        """The end of a response, which may hold the whole output."""
        output = as_dict(event.data.get("response")).get("output")
        messages = [item for item in map(as_dict, as_list(output)) if item.get("type") == "message"]
        for item in messages:
            self._output(event, item)
        is_over = self._parts and protocol.ENDS[event.type or ""] == "completed" and not self._interrupted
        if is_over and not any(self._is(text_of(item.get("content"))) for item in messages):
            text = "".join(self._parts)
            streamed = f"a text of {_length(text)} was streamed"
            message = f"{streamed}, but the turn ended without an item that has it: {said(text)!r}"
            self._found.append(sign_at("text-never-stored", message, [*self._refs, event.ref]))
        self._clear()
        self._stored.clear()

    def _output(self, event: Event, item: dict[str, Any]) -> None:
        """Compare a message in a response's output with its item."""
        id_ = as_text(item.get("id"))
        text = text_of(item.get("content"))
        if id_ is None:
            return
        if id_ not in self._stored:
            message = f"the response's output has a message that no item has: {said(text)!r}"
            self._found.append(sign_at("items-missed", message, [event.ref]))
        elif self._stored[id_] != text:
            message = f"the response's output differs from its item: {_difference(text, self._stored[id_])}"
            self._found.append(sign_at("text-differs-from-item", message, [event.ref]))

    def _clear(self) -> None:
        self._parts = []
        self._calls = []
        self._refs = []
        self._resent = False

    def signs(self) -> Iterator[Sign]:
        yield from self._found[:_MOST]


def _length(text: str) -> str:
    return f"{len(text):,} characters"


def _difference(text: str, stored: str) -> str:
    """The position of the first difference, with both texts from there on."""
    same = same_start(text, stored)
    begin = max(same - 10, 0)
    streamed = said(text[begin:], 40)
    item = said(stored[begin:], 40)
    return f"from character {same + 1:,} on, the stream has {streamed!r}, the item {item!r}"
