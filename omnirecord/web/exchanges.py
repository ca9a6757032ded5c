"""One request with its answer, or one WebSocket, in full: header fields, bodies, messages. What is long is cut."""

from __future__ import annotations

from itertools import islice
from typing import Any

from ..bodies import decoded
from ..cassette import Exchange, Headers, Message, Side
from ..errors import UsageError
from ..headers import header
from ..parties import party_name
from ..store import Store
from .events import beginning

Row = dict[str, Any]
LONGEST = 64 * 1024
"""How much of a body, or of a message, is shown, in bytes."""
MESSAGES = 300
"""How many messages of a WebSocket are."""


def exchange(store: Store, number: int) -> Row:
    """Raises `UsageError` where it is not there."""
    found = store.numbered([number])
    if not found:
        raise UsageError(f"the cassette holds no exchange {number}")
    return exchange_of(store, found[0])


def exchange_row(x: Exchange) -> Row:
    """What there is to know of one without its header fields and bodies."""
    return {
        "exchange": x.exchange, "kind": x.kind, "stream": x.stream, "session_id": x.session_id, "party": x.party,
        "party_name": party_name(x),
        "method": x.request.method, "target": x.request.target, "status": x.response.status if x.response else None,
        "at_ns": x.request.at_ns, "answered_ns": x.response.at_ns if x.response else None, "end_ns": x.end_ns,
        "ending": x.ending, "request_bytes": x.request_bytes, "response_bytes": x.response_bytes,
    }  # fmt: skip


def exchange_of(store: Store, x: Exchange) -> Row:
    messages = list(islice(store.messages(x.exchange), MESSAGES + 1)) if x.kind == "websocket" else []
    return {
        "exchange": x.exchange,
        "request": {"headers": x.request.headers, "body": _body(store, x, "request", x.request.headers)},
        "response": None if x.response is None else {
            "reason": x.response.reason, "headers": x.response.headers,
            "body": None if x.kind == "sse" else _body(store, x, "response", x.response.headers),
        },
        "messages": [_message(one) for one in messages[:MESSAGES]],
        "more_messages": len(messages) > MESSAGES,
    }  # fmt: skip


def _message(one: Message) -> Row:
    data = beginning(one.data, LONGEST)
    return {"at_ns": one.at_ns, "dir": one.dir, "opcode": one.opcode, "size": len(one.data), "data": data}


def _body(store: Store, x: Exchange, side: Side, headers: Headers) -> Row:
    data = decoded(store.body(x.exchange, side), header(headers, "content-encoding"))
    return {"size": len(data), "text": beginning(data, LONGEST)}
