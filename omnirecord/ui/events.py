"""Events, exchanges and session keys for the page.

The page gets a few numbers of each event, in columns, and the rest of an event on demand. A hundred thousand events are
a few megabytes of columns and take a second to read, so columns are sent in parts. An exchange has header fields,
bodies and messages; long ones are cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from ..analysis.apis import summary
from ..analysis.curl import curl_of
from ..analysis.listing import event_row
from ..analysis.turns.values import Session
from ..cassette.sqlite import Store
from ..errors import UsageError
from ..model import VERDICTS, Exchange, TimedFrame
from ..omnigent.routes import party_name
from ..wire.headers import header
from ..wire.json_bytes import bytes_to_json
from ..wire.sse import read_fields
from ..wire.strict_json import parsed

Row = dict[str, Any]
Options = Mapping[str, str]
PIECE = 20_000
"""Most events in one part of the columns."""
SUMMARIES = 400
"""Most events in one list of summaries."""
LONGEST = 1 << 20
"""Most bytes of a frame that are shown."""
LONGEST_BODY = 64 * 1024
"""Most bytes of a body or message that are shown."""
MESSAGES = 300
"""Most messages of a WebSocket that are shown."""
SAYS = 200
"""Most bytes of a message in the list of messages."""


def columns(store: Store, stream: int, after: int = 0, limit: int = PIECE) -> Row:
    """The events after `after`, in lists of equal length.

    `dt`: ns since the previous event. `sent`: ns from the event to its handing to the client; -1 if never. `type`: an
    index in `types`.
    """
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


def summaries(store: Store, stream: int, after: int = 0, limit: int = SUMMARIES) -> Row:
    """The one-line summaries of the events after `after`."""
    frames = list(islice(_frames(store, stream, after), max(1, min(limit, SUMMARIES))))
    return {"stream": stream, "rows": [[frame.seq, summary_of(frame)] for frame in frames]}


def summary_of(frame: TimedFrame) -> str:
    if frame.raw is None:
        return ""
    return summary(frame.type, parsed(read_fields(frame.raw, bom=frame.seq == 1).data))


def event(store: Store, stream: int, seq: int) -> Row:
    """One event as `events --json` prints it, without `data`, which the page reads from `raw`. `cut`: the length of the
    frame, if it is longer than what is shown. Raises `UsageError`."""
    x = _stream(store, stream)
    frame = store.frame(x, seq)
    if frame is None:
        raise UsageError(f"stream {stream} has no event {seq}")
    recording = store.recording(x.recording)
    return event_of(x, frame, recording.started_at, recording.hop)


def event_of(x: Exchange, frame: TimedFrame, started_at: str, hop: str | None = None) -> Row:
    row = event_row(x, frame, started_at, hop)
    del row["data"]
    raw = None if frame.raw is None else beginning(frame.raw, LONGEST)
    return {**row, "raw": raw, "cut": frame.length if frame.raw is None or frame.length > LONGEST else None}


def beginning(data: bytes, most: int) -> Any:
    """The data as JSON text or base64; the start of data above `most` bytes."""
    return bytes_to_json(data) if len(data) <= most else data[:most].decode("utf-8", "replace")


def matching(store: Store, streams: list[int], words: str) -> dict[str, list[int]]:
    """The numbers of the events whose frame contains a text, by stream. Case does not matter."""
    wanted = words.lower()
    return {
        str(stream): [
            frame.seq
            for frame in _frames(store, stream, 0)
            if wanted in (frame.raw or b"").decode("utf-8", "replace").lower()
        ]
        for stream in streams
    }


def _frames(store: Store, stream: int, after: int) -> Iterator[TimedFrame]:
    return store.frames(_stream(store, stream), after=after)


def _stream(store: Store, stream: int) -> Exchange:
    found = store.exchanges(stream=stream)
    if not found:
        raise UsageError(f"the cassette holds no stream {stream}")
    return found[0]


def exchange(store: Store, number: int) -> Row:
    """One exchange in full. Raises `UsageError` if the cassette has none of this number."""
    found = store.numbered([number])
    if not found:
        raise UsageError(f"the cassette holds no exchange {number}")
    return exchange_of(store, found[0])


def exchange_row(x: Exchange) -> Row:
    """An exchange without header fields and bodies."""
    return {
        "exchange": x.exchange,
        "kind": x.kind,
        "stream": x.stream,
        "session_id": x.session_id,
        "party": x.party,
        "party_name": party_name(x),
        "method": x.request.method,
        "target": x.request.target,
        "status": x.response.status if x.response else None,
        "at_ns": x.request.at_ns,
        "answered_ns": x.response.at_ns if x.response else None,
        "end_ns": x.end_ns,
        "ending": x.ending,
        "request_bytes": x.request_bytes,
        "response_bytes": x.response_bytes,
    }


def exchange_of(store: Store, x: Exchange) -> Row:
    messages = list(islice(store.messages(x.exchange), MESSAGES + 1)) if x.kind == "websocket" else []
    sent = store.decoded_body(x, "request")
    return {
        "exchange": x.exchange,
        "request": {"headers": x.request.headers, "body": _shown_body(sent)},
        "curl": None if x.kind == "websocket" or len(sent) > LONGEST_BODY else _curl(store, x),
        "response": None
        if x.response is None
        else {
            "reason": x.response.reason,
            "headers": x.response.headers,
            "body": None if x.kind == "sse" else _shown_body(store.decoded_body(x, "response")),
        },
        "messages": [
            {
                "at_ns": one.at_ns,
                "dir": one.dir,
                "opcode": one.opcode,
                "size": len(one.data),
                "data": beginning(one.data, LONGEST_BODY),
            }
            for one in messages[:MESSAGES]
        ],
        "more_messages": len(messages) > MESSAGES,
    }


def _curl(store: Store, x: Exchange) -> str:
    """The command for bash. Without a recorded upstream, the Host field names the server."""
    host = header(x.request.headers, "host") or "localhost"
    base = store.recording(x.recording).upstream or f"http://{host}"
    return curl_of(x, store.body(x.exchange, "request"), base).script()


def exchanges_with(store: Store, numbers: list[int], words: str) -> list[int]:
    """The exchanges that contain a text in the shown part of a body or message. Case does not matter."""
    wanted = words.lower()
    found = list[int]()
    for x in store.numbered(numbers):
        row = exchange_of(store, x)
        texts = [((row[side] or {}).get("body") or {}).get("text") for side in ("request", "response")]
        texts += [one["data"] for one in row["messages"]]
        if any(isinstance(one, str) and wanted in one.lower() for one in texts):
            found.append(x.exchange)
    return found


def message_rows(store: Store, x: Exchange) -> list[Row]:
    """A row for each of the first `MESSAGES` messages of a WebSocket. `says`: its start."""
    return [
        {
            "exchange": x.exchange,
            "place": place,
            "at_ns": one.at_ns,
            "dir": one.dir,
            "size": len(one.data),
            "says": beginning(one.data, SAYS),
        }
        for place, one in enumerate(islice(store.messages(x.exchange), MESSAGES))
    ]


def _shown_body(data: bytes) -> Row:
    return {"size": len(data), "text": beginning(data, LONGEST_BODY)}


class Key(NamedTuple):
    """The page's name of a session in a recording, or of a stream without a session."""

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
    """The key in a text. Raises `UsageError`."""
    recording, _, rest = text.partition(".")
    kind, _, name = rest.partition(".")
    if _is_number(recording) and kind == "session":
        return Key(int(recording), name)
    if _is_number(recording) and kind == "stream" and _is_number(name):
        return Key(int(recording), None, int(name))
    raise UsageError(f"{text!r} names no session of this cassette")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16


def numbers_in(asked: Options, name: str) -> list[int]:
    """The numbers of an option, separated by commas. Raises `UsageError`."""
    return [number_in({name: one}, name) for one in asked.get(name, "").split(",") if one]


def number_in(asked: Options, name: str, default: int | None = None) -> int:
    """The number of an option. Raises `UsageError`."""
    value = asked.get(name)
    if value is None and default is not None:
        return default
    if value is None or not _is_number(value):
        raise UsageError(f"{name}={value!r} is no number")
    return int(value)
