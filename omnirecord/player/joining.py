"""What a client gets that connects when the recording has no stream of its own for it: it joins at the playhead.

As the real server does: the connect snapshot, the text in flight joined into one delta, then what is not yet
played. Never the start again: the client would see the answer twice. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ..cassette import TimedFrame
from ..sse import read_fields
from .script import Piece, greeting_length

_TURN_ENDS = frozenset({"response.completed", "response.failed", "response.cancelled", "response.incomplete"})


def join(streams: list[list[TimedFrame]], sent_ns: int, greeting_of: int) -> list[Piece]:
    """The pieces for a client that joins once everything up to `sent_ns` was sent.

    `streams`: the frames of each recorded stream of the session, in order; `greeting_of`: whose greeting is given.
    """
    frames = session_line(streams)
    greeted = streams[greeting_of]
    greeting = [_piece(frame, True) for frame in greeted[: greeting_length(greeted)] if not _carries_text(frame)]
    played = [frame for frame in frames if frame.offset_ns <= sent_ns]
    in_flight = [Piece(0, data, True) for data in text_in_flight(played)]
    rest = [_piece(frame, False) for frame in frames if frame.offset_ns > sent_ns]
    return [*greeting[:1], *in_flight, *greeting[1:], *rest]


def session_line(streams: list[list[TimedFrame]]) -> list[TimedFrame]:
    """One run of frames out of a session's streams: each but the first without its greeting, and only what came
    after the last one ended."""
    line: list[TimedFrame] = []
    for frames in streams:
        last = line[-1].offset_ns if line else -1
        begin = greeting_length(frames) if line else 0
        line += [frame for frame in frames[begin:] if frame.offset_ns > last]
    return line


def text_in_flight(played: Iterable[TimedFrame]) -> list[bytes]:
    """The frames that a server sends of a turn that is going on: `response.created` and all its text so far."""
    response: Any = None
    parts: list[str] = []
    for frame in played:
        data = _data(frame)
        if frame.type in ("response.created", "response.in_progress"):
            if not response or response.get("id") != (data.get("response") or {}).get("id"):
                parts = []
            response = data.get("response")
        elif frame.type == "response.output_text.delta":
            parts.append(str(data.get("delta", "")))
        elif frame.type in _TURN_ENDS or _is_idle(frame, data):
            response, parts = None, []
    return _resent(response, "".join(parts))


def _resent(response: Any, text: str) -> list[bytes]:
    if not text:
        return []
    delta = {"delta": text, "message_id": None, "index": None, "final": None}
    frames = [frame_of("response.output_text.delta", delta)]
    return [frame_of("response.created", {"response": response}), *frames] if response else frames


def frame_of(type_: str, fields: dict[str, Any]) -> bytes:
    """A frame in the server's own spelling, without a sequence number."""
    data = json.dumps({"sequence_number": None, "type": type_, **fields})
    return f"event: {type_}\ndata: {data}\n\n".encode()


def _is_idle(frame: TimedFrame, data: dict[str, Any]) -> bool:
    return frame.type == "session.status" and data.get("status") in ("idle", "failed")


def _carries_text(frame: TimedFrame) -> bool:
    return (frame.type or "").startswith("response.")


def _piece(frame: TimedFrame, greeting: bool) -> Piece:
    return Piece(0 if greeting else frame.offset_ns, frame.raw or b"", greeting)


def _data(frame: TimedFrame) -> dict[str, Any]:
    data = read_fields(frame.raw).data if frame.raw else None
    if frame.verdict not in ("valid", "invalid", "unknown") or data is None:
        return {}
    value = json.loads(data)
    return value if isinstance(value, dict) else {}
