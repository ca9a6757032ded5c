"""The items of a session as the server stores them: they complete turns of which no stream carried an event. Pure.

A client may poll: it posts a message, and reads the session or its items until the answer is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import parse_qs

from ...model import Exchange
from ...omnigent.routes import below_session, query_of
from ...wire.strict_json import as_dict, as_list, as_text, loads, text_of
from .begin_and_end import SILENT, Data
from .draft import Draft
from .events import add_item


class Stored(NamedTuple):
    """The items in the server's answer to a read."""

    at_ns: int
    """The time of the answer."""
    items: list[Data]
    """In stored order."""


def reads_stored_state(x: Exchange) -> bool:
    """Return whether an exchange is a successful read of a session, or of its items."""
    is_read = x.kind == "http" and x.request.method == "GET" and x.response is not None and x.response.status == 200
    return is_read and below_session(x.request.target) in ("", "/items")


def stored_in(x: Exchange, answer: bytes) -> Stored:
    """Return the items in the answer of such an exchange."""
    data = as_dict(loads(answer))
    of_items = below_session(x.request.target) == "/items"
    items = [fields_of(one) for one in as_list(data.get("data" if of_items else "items"))]
    if of_items and "desc" in parse_qs(query_of(x.request.target)).get("order", []):
        items.reverse()
    return Stored(x.end_ns if x.end_ns is not None else x.request.at_ns, items)


def fields_of(item: object) -> Data:
    """Return the fields of a stored item; some servers nest them."""
    fields = as_dict(item)
    nested = fields.get("data")
    return {**nested, **fields} if isinstance(nested, dict) else fields


def complete(drafts: Iterable[Draft], reads: Iterable[Stored], *, is_at_rest: bool) -> None:
    """Complete the turns without an event. `reads`: the reads of the session, the newest first. `is_at_rest`: whether
    the session is idle in the last read."""
    lacking = [draft for draft in drafts if not draft.events and draft.ended == "unfinished" and draft.items]
    for read in reads if lacking else ():
        places = {as_text(item.get("id")): place for place, item in enumerate(read.items)}
        for draft in list(lacking):
            place = next((places[id_] for id_ in draft.items if id_ in places), None)
            if place is not None:
                lacking.remove(draft)
                _complete(draft, read, place, is_at_rest=is_at_rest)
        if not lacking:
            return


def _complete(draft: Draft, read: Stored, place: int, *, is_at_rest: bool) -> None:
    following = list(_until_next(read.items[place + 1 :]))
    said = [item for item in following if item.get("role") == "assistant" and text_of(item.get("content"))]
    for item in following:
        if item.get("type") not in SILENT:
            add_item(draft, read.at_ns, item)
    if following:
        draft.note("no stream carried this turn: its parts are from a later read of the session", read.at_ns)
    is_last = place + len(following) + 1 == len(read.items)
    if said and (is_at_rest or not is_last):
        draft.waiting_for.clear()
        draft.end("completed", read.at_ns)


def _until_next(items: Iterable[Data]) -> Iterator[Data]:
    """Return the items up to the next message to the agent."""
    for item in items:
        if item.get("type") == "message" and item.get("role") == "user":
            return
        yield item
