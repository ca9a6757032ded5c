"""One request with its answer, or one WebSocket, in full: header fields, bodies, messages. What is long is cut."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from ...analysis.curl import curl_of
from ...cassette.sqlite import Store
from ...errors import UsageError
from ...model import Exchange, Message
from ...omnigent.parties import party_name
from ...wire.headers import header
from .events import beginning

Row = dict[str, Any]
LONGEST = 64 * 1024
"""How much of a body, or of a message, is shown, in bytes."""
MESSAGES = 300
"""How many messages of a WebSocket are."""
SAYS = 200
"""How much of a message stands in the list of the wire, in bytes."""


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
    sent = store.decoded_body(x, "request")
    return {
        "exchange": x.exchange,
        "request": {"headers": x.request.headers, "body": _shown(sent)},
        "curl": None if x.kind == "websocket" or len(sent) > LONGEST else _curl(store, x),
        "response": None if x.response is None else {
            "reason": x.response.reason, "headers": x.response.headers,
            "body": None if x.kind == "sse" else _shown(store.decoded_body(x, "response")),
        },
        "messages": [_message(one) for one in messages[:MESSAGES]],
        "more_messages": len(messages) > MESSAGES,
    }  # fmt: skip


def _curl(store: Store, x: Exchange) -> str:
    """The command for bash. Without a recorded upstream, the Host field names the server."""
    host = header(x.request.headers, "host") or "localhost"
    base = store.recording(x.recording).upstream or f"http://{host}"
    return curl_of(x, store.body(x.exchange, "request"), base).script()


def exchanges_with(store: Store, numbers: list[int], words: str) -> list[int]:
    """Returns the exchanges that contain a text in a body or a message, as far as the page shows it. Case does not
    matter."""
    wanted = words.lower()
    return [
        x.exchange for x in store.numbered(numbers)
        if any(isinstance(one, str) and wanted in one.lower() for one in _texts(exchange_of(store, x)))
    ]  # fmt: skip


def _texts(row: Row) -> Iterator[Any]:
    yield from (((row[side] or {}).get("body") or {}).get("text") for side in ("request", "response"))
    yield from (one["data"] for one in row["messages"])


def message_rows(store: Store, x: Exchange) -> list[Row]:
    """Returns a row for each of the first `MESSAGES` messages of a WebSocket. `says`: its beginning."""
    return [
        {"exchange": x.exchange, "place": place, "at_ns": one.at_ns, "dir": one.dir, "size": len(one.data),
         "says": beginning(one.data, SAYS)}
        for place, one in enumerate(islice(store.messages(x.exchange), MESSAGES))
    ]  # fmt: skip


def _message(one: Message) -> Row:
    data = beginning(one.data, LONGEST)
    return {"at_ns": one.at_ns, "dir": one.dir, "opcode": one.opcode, "size": len(one.data), "data": data}


def _shown(data: bytes) -> Row:
    return {"size": len(data), "text": beginning(data, LONGEST)}
