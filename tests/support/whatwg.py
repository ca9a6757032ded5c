"""What the WHATWG standard makes of an event stream: cases with the events that an `EventSource` fires for them.

`CASES` is all of them, by name: the bytes of a stream and its events. Some say more about how the bytes become frames:
`FRAMES`, one frame and its fields each, and `CUTTING`, where frames end. `dispatched` is the standard's own algorithm.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from omnirecord.wire.sse import Frame

OWL = "é—🦉"
"""Characters of 2, 3 and 4 bytes."""
CHUNKINGS = ["recorded", "frame", "byte", "random:1", "random:2", "random:3"]
"""How a replay can cut a stream: none of it may make a difference."""


class Event(NamedTuple):
    """What a listener gets."""

    type: str
    data: str
    last_event_id: str = ""


FRAMES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "data": (b"data: x\n\n", {"data": "x"}),
    "event and data": (b"event: ping\ndata: {}\n\n", {"event": "ping", "data": "{}"}),
    "data before event": (b"data: {}\nevent: ping\n\n", {"event": "ping", "data": "{}"}),
    "CR": (b"event: a\rdata: b\r\r", {"event": "a", "data": "b"}),
    "CRLF": (b"event: a\r\ndata: b\r\n\r\n", {"event": "a", "data": "b"}),
    "mixed line ends": (b"event: a\rdata: b\r\ndata: c\n\r\n", {"event": "a", "data": "b\nc"}),
    "lines of data": (b"data: a\ndata:\ndata: c\n\n", {"data": "a\n\nc"}),
    "no space": (b"data:x\n\n", {"data": "x"}),
    "two spaces": (b"data:  x\n\n", {"data": " x"}),
    "a space at the end": (b"data: x \n\n", {"data": "x "}),
    "a tab": (b"data:\tx\n\n", {"data": "\tx"}),
    "a colon in the value": (b"data: a: b\n\n", {"data": "a: b"}),
    "data without a colon": (b"data\n\n", {"data": ""}),
    "event without a colon": (b"event\ndata: x\n\n", {"event": "", "data": "x"}),
    "empty data": (b"data: \n\n", {"data": ""}),
    "two empty lines of data": (b"data\ndata\n\n", {"data": "\n"}),
    "an empty event": (b"event: \ndata: x\n\n", {"event": "", "data": "x"}),
    "the last event": (b"event: a\nevent: b\ndata: x\n\n", {"event": "b", "data": "x"}),
    "an event without data": (b"event: a\n\n", {"event": "a"}),
    "a comment": (b": keep-alive\n\n", {}),
    "a comment that looks like a field": (b":data: x\n\n", {}),
    "a comment between fields": (b"event: a\n:\ndata: x\n\n", {"event": "a", "data": "x"}),
    "an unknown field": (b"foo: bar\ndata: x\n\n", {"data": "x"}),
    "a field name with a space": (b" data: x\ndata : x\n\n", {}),
    "a field name in capitals": (b"Data: x\nEVENT: y\n\n", {}),
    "id": (b"id: 7\ndata: x\n\n", {"id": "7", "data": "x"}),
    "an empty id": (b"id\ndata: x\n\n", {"id": "", "data": "x"}),
    "an id with a NUL": (b"id: 7\0\ndata: x\n\n", {"data": "x"}),
    "an id before one with a NUL": (b"id: 1\nid: 7\0\n\n", {"id": "1"}),
    "a NUL in data": (b"data: a\0b\n\n", {"data": "a\0b"}),
    "retry": (b"retry: 1500\n\n", {"retry": 1500}),
    "retry with leading zeros": (b"retry: 007\n\n", {"retry": 7}),
    "retry negative": (b"retry: -1\n\n", {}),
    "retry with a sign": (b"retry: +1\n\n", {}),
    "retry with a fraction": (b"retry: 1.5\n\n", {}),
    "retry with two spaces": (b"retry:  1\n\n", {}),
    "retry empty": (b"retry\n\n", {}),
    "retry in other digits": ("retry: ٣\n\n".encode(), {}),
    "retry of twenty digits": (b"retry: " + b"9" * 20 + b"\n\n", {}),
    "retry absurdly large": (b"retry: " + b"9" * 5000 + b"\n\n", {}),
    "blank lines at the head": (b"\n\r\n\rdata: x\n\n", {"data": "x"}),
    "a BOM": (b"\xef\xbb\xbfdata: x\n\n", {"data": "x"}),
    "a BOM and blank lines": (b"\xef\xbb\xbf\n\ndata: x\n\n", {"data": "x"}),
    "a second BOM": (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n", {}),
    "a BOM after a blank line": (b"\n\xef\xbb\xbfdata: x\n\n", {}),
    "a BOM in a value": (b"data: \xef\xbb\xbfx\n\n", {"data": "\ufeffx"}),
    "U+2028, U+0085 and form feed": ("data: a\u2028b\u0085c\fd\n\n".encode(), {"data": "a\u2028b\u0085c\fd"}),
    "bytes that are no UTF-8": (b"event: \xff\ndata: \xf0\x9f\x98\n\n", {"event": "\ufffd", "data": "\ufffd"}),
}

CUTTING: dict[str, tuple[bytes, list[bytes]]] = {
    "nothing": (b"", []),
    "two frames": (b"data: a\n\ndata: b\n\n", [b"data: a\n\n", b"data: b\n\n"]),
    "CR frames": (b"data: a\r\rdata: b\r\r", [b"data: a\r\r", b"data: b\r\r"]),
    "an LF stays with its CR": (b"data: a\r\n\r\ndata: b\n\n", [b"data: a\r\n\r\n", b"data: b\n\n"]),
    "CR then CRLF": (b"data: a\r\r\ndata: b\r\r\n", [b"data: a\r\r\n", b"data: b\r\r\n"]),
    "LF then CRLF": (b"data: a\n\r\ndata: b\n\r\n", [b"data: a\n\r\n", b"data: b\n\r\n"]),
    "one CRLF is no blank line": (b"data: a\r\ndata: b\r\n\r\n", [b"data: a\r\ndata: b\r\n\r\n"]),
    "further blank lines belong to the next": (b"data: a\n\n\n\ndata: b\n\n", [b"data: a\n\n", b"\n\ndata: b\n\n"]),
    "a BOM belongs to the first": (b"\xef\xbb\xbf\n\n\ndata: a\n\n", [b"\xef\xbb\xbf\n\n\ndata: a\n\n"]),
    "a BOM later is content": (b"data: a\n\n\xef\xbb\xbf\n\n", [b"data: a\n\n", b"\xef\xbb\xbf\n\n"]),
    "half a BOM is content": (b"\xef\xbb\n\nx\n\n", [b"\xef\xbb\n\n", b"x\n\n"]),
    "a tail": (b"data: a\n\ndata: b\n", [b"data: a\n\n", b"data: b\n"]),
    "a tail of blank lines": (b"data: a\n\n\r\n", [b"data: a\n\n", b"\r\n"]),
    "only a BOM": (b"\xef\xbb\xbf", [b"\xef\xbb\xbf"]),
    "only blank lines": (b"\n\r\n\n", [b"\n\r\n\n"]),
}

STREAMS: dict[str, tuple[bytes, list[Event]]] = {
    "an id stays": (b"id: 1\ndata: a\n\ndata: b\n\n", [Event("message", "a", "1"), Event("message", "b", "1")]),
    "an empty id ends it": (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [Event("message", "a", "1"), Event("message", "b")]),
    "an id without data": (b"id: 1\n\ndata: a\n\n", [Event("message", "a", "1")]),
    "an id, then one with a NUL": (b"id: 1\n\nid: 2\0\ndata: a\n\n", [Event("message", "a", "1")]),
    "an id, then comments and retries": (b"id: 1\ndata: a\n\n: b\n\nretry: 9\n\n", [Event("message", "a", "1")]),
    "an event goes for one frame": (b"event: a\ndata: b\n\ndata: c\n\n", [Event("a", "b"), Event("message", "c")]),
    "an event without data is over": (b"event: a\n\ndata: c\n\n", [Event("message", "c")]),
    "data ends in an empty line": (b"data: a\ndata\n\n", [Event("message", "a\n")]),
    "an unfinished event is dropped": (b"data: a\n\ndata: b\n", [Event("message", "a")]),
    "an unfinished line is dropped": (b"data: a\n\ndata: b", [Event("message", "a")]),
    "characters of 2, 3 and 4 bytes": (f"event: {OWL}\ndata: {OWL}\n\n".encode(), [Event(OWL, OWL)]),
    "CRLF frames": (b"data: a\r\n\r\n" * 2, [Event("message", "a")] * 2),
    "a sentinel": (b"event: x.y\ndata: {}\n\ndata: [DONE]\n\n", [Event("x.y", "{}"), Event("message", "[DONE]")]),
}


def dispatched(data: bytes) -> list[Event]:
    """The events of a stream, after section 9.2.6, word for word and with no regard to cost."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    events, event, lines, last_event_id = [], "", [], ""
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]:
        name, _, value = line.partition(":")
        value = value[1:] if value[:1] == " " else value
        if not line:
            events += [Event(event or "message", "\n".join(lines), last_event_id)] if lines else []
            event, lines = "", []
        elif name == "event":
            event = value
        elif name == "data":
            lines.append(value)
        elif name == "id" and "\0" not in value:
            last_event_id = value
    return events


def events_of(frames: Iterable[Frame]) -> list[Event]:
    """The events that a reader of our own frames fires."""
    events, last_event_id = [], ""
    for frame in frames:
        last_event_id = last_event_id if frame.id is None else frame.id
        if frame.complete and frame.data is not None:
            events.append(Event(frame.event or "message", frame.data, last_event_id))
    return events


def _fired(fields: dict[str, Any]) -> list[Event]:
    """The events of the only frame of a stream."""
    if "data" not in fields:
        return []
    return [Event(fields.get("event") or "message", fields["data"], fields.get("id", ""))]


CASES: dict[str, tuple[bytes, list[Event]]] = {
    **{name: (data, _fired(fields)) for name, (data, fields) in FRAMES.items()},
    **{name: (data, dispatched(data)) for name, (data, _) in CUTTING.items()},
    **STREAMS,
}
