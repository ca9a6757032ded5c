"""What the server said it holds: the answers to reads of a session and of its items. Reading never fails. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from ...model import Exchange
from ...omnigent.routes import below_session, query_of
from ..turns.lenient import as_dict, as_text, text_of, written

Key = tuple[str, str]
"""What an item is known by on both sides: the id of a message, the call id of a tool call and of its output."""


@dataclass(frozen=True, slots=True)
class Snapshot:
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
    status: str | None = None
    runner_online: bool | None = None
    pending: tuple[str, ...] = ()
    """The elicitations that wait for an answer."""


def reads_a_snapshot(x: Exchange) -> bool:
    """Whether the answer to an exchange is one."""
    is_read = x.kind == "http" and x.request.method == "GET" and x.response is not None and x.response.status == 200
    return is_read and below_session(x.request.target) in ("", "/items")


def snapshot_of(x: Exchange, answer: bytes) -> Snapshot | None:
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
        return Snapshot(
            x.exchange, x.request.at_ns, at_ns, _ordered(data.get("data"), x), _is_whole(data, x), not is_page
        )
    has_items = isinstance(data.get("items"), list) and query.get("include_items") not in (["false"], ["0"])
    pending = tuple(_ids(data.get("pending_elicitations")))
    online = data.get("runner_online")
    return Snapshot(
        x.exchange, x.request.at_ns, at_ns, tuple(_items(data.get("items"))), False, has_items,
        as_text(data.get("status")), online if isinstance(online, bool) else None, pending,
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


def _ids(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else []:
        id_ = (
            one
            if isinstance(one, str)
            else as_text(as_dict(one).get("elicitation_id")) or as_text(as_dict(one).get("id"))
        )
        if id_ is not None:
            yield id_
