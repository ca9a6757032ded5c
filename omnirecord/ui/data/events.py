"""The events of a stream as the page holds them: a few numbers of each, in columns, and the rest where it is looked at.

A hundred thousand events are a few megabytes of columns, and take a second to be read: they come in pieces.

One request with its answer, or one WebSocket, in full: header fields, bodies, messages. What is long is cut.

How the page names a session: in one recording, or a stream that belongs to none. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from ...analysis.curl import curl_of
from ...analysis.listing import event_row, parsed
from ...analysis.turns import Session
from ...cassette.jsonl import text
from ...cassette.sqlite import Store
from ...errors import UsageError
from ...model import VERDICTS, Exchange, Message, TimedFrame
from ...omnigent.parties import party_name
from ...omnigent.summary import summary
from ...wire.headers import header
from ...wire.sse import read_fields

Row = dict[str, Any]
PIECE = 20_000
"""How many events one piece of columns has at the most…"""
GISTS = 400
"""…and one of gists."""
LONGEST = 1 << 20
"""How much of one frame is shown, in bytes."""


def columns(store: Store, stream: int, after: int = 0, limit: int = PIECE) -> Row:
    """The events behind `after`: lists of the same length. `dt` and `sent` are ns from the event before, and from the
    event itself; -1 where it never was sent. `types` names what `type` numbers."""
    return columns_of(islice(_frames(store, stream, after), limit), stream, limit)


def columns_of(frames: Iterator[TimedFrame], stream: int, limit: int) -> Row:
    made: dict[str, list[int]] = {name: [] for name in ("seq", "dt", "sent", "type", "verdict", "length", "issues")}
    types: dict[str | None, int] = {}
    before = 0
    for frame in frames:
        made["seq"].append(frame.seq)
        made["dt"].append(frame.offset_ns - before)
        made["sent"].append(-1 if frame.sent_ns is None else frame.sent_ns - frame.offset_ns)
        made["type"].append(types.setdefault(frame.type, len(types)))
        made["verdict"].append(VERDICTS.index(frame.verdict))
        made["length"].append(frame.length)
        made["issues"].append(len(frame.issues))
        before = frame.offset_ns
    return {"stream": stream, "types": list(types), "more": len(made["seq"]) == limit, **made}


def gists(store: Store, stream: int, after: int = 0, limit: int = GISTS) -> Row:
    """What each of the events behind `after` says, in one line."""
    frames = list(islice(_frames(store, stream, after), max(1, min(limit, GISTS))))
    return {"stream": stream, "rows": [[frame.seq, gist_of(frame)] for frame in frames]}


def gist_of(frame: TimedFrame) -> str:
    if frame.raw is None:
        return ""
    return summary(frame.type, parsed(read_fields(frame.raw, bom=frame.seq == 1).data))


def event(store: Store, stream: int, seq: int) -> Row:
    """One event as `events --json` prints it, but for its data, which the page reads from `raw`; `cut` says how long
    that is where it is longer than what is shown."""
    x = _stream(store, stream)
    frame = store.frame(x, seq)
    if frame is None:
        raise UsageError(f"stream {stream} has no event {seq}")
    return event_of(x, frame, store.recording(x.recording).started_at)


def event_of(x: Exchange, frame: TimedFrame, started_at: str) -> Row:
    row = event_row(x, frame, started_at)
    del row["data"]
    raw = None if frame.raw is None else beginning(frame.raw, LONGEST)
    return {**row, "raw": raw, "cut": frame.length if frame.raw is None or frame.length > LONGEST else None}


def beginning(data: bytes, most: int) -> Any:
    """As `text` has it; of what is longer than `most` bytes, its beginning."""
    return text(data) if len(data) <= most else data[:most].decode("utf-8", "replace")


def matching(store: Store, streams: list[int], words: str) -> dict[str, list[int]]:
    """Returns the numbers of the events whose frame contains a text, by stream. Case does not matter."""
    wanted = words.lower()
    return {
        str(stream): [frame.seq for frame in _frames(store, stream, 0) if wanted in _shown(frame)]
        for stream in streams
    }  # fmt: skip


def _shown(frame: TimedFrame) -> str:
    return "" if frame.raw is None else frame.raw.decode("utf-8", "replace").lower()


def _frames(store: Store, stream: int, after: int) -> Iterator[TimedFrame]:
    return store.frames(_stream(store, stream), after=after)


def _stream(store: Store, stream: int) -> Exchange:
    found = store.exchanges(stream=stream)
    if not found:
        raise UsageError(f"the cassette holds no stream {stream}")
    return found[0]


LONGEST_BODY = 64 * 1024
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
        "request": {"headers": x.request.headers, "body": _shown_body(sent)},
        "curl": None if x.kind == "websocket" or len(sent) > LONGEST_BODY else _curl(store, x),
        "response": None if x.response is None else {
            "reason": x.response.reason, "headers": x.response.headers,
            "body": None if x.kind == "sse" else _shown_body(store.decoded_body(x, "response")),
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
    data = beginning(one.data, LONGEST_BODY)
    return {"at_ns": one.at_ns, "dir": one.dir, "opcode": one.opcode, "size": len(one.data), "data": data}


def _shown_body(data: bytes) -> Row:
    return {"size": len(data), "text": beginning(data, LONGEST_BODY)}


class Key(NamedTuple):
    """A session of a recording; where `session_id` is None, the stream that belongs to none."""

    recording: int
    session_id: str | None
    stream: int | None = None

    def __str__(self) -> str:
        if self.session_id is None:
            return f"{self.recording}.stream.{self.stream}"
        return f"{self.recording}.session.{self.session_id}"


def key_of_exchange(x: Exchange) -> Key:
    return Key(x.recording, x.session_id, None if x.session_id is not None else x.stream)


def key_of_session(told: Session) -> Key:
    if told.session_id is not None or not told.streams:
        return Key(told.recording, told.session_id)
    return Key(told.recording, None, told.streams[0].stream)


def read_key(text: str) -> Key:
    """Raises `UsageError` where it names nothing."""
    recording, _, rest = text.partition(".")
    kind, _, name = rest.partition(".")
    if _is_number(recording) and kind == "session":
        return Key(int(recording), name)
    if _is_number(recording) and kind == "stream" and _is_number(name):
        return Key(int(recording), None, int(name))
    raise UsageError(f"{text!r} names no session of this cassette")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16
