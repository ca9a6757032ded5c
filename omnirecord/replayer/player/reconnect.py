"""The stream for a client that reconnects, or connects late, and for which the recording has no stream of its own.
Pure.

It joins at the playhead, as on the real server: the connect snapshot, the text in flight as one delta, then the frames
that are not played yet. It never gets the start again, since the client would see the answer twice. Which of these
streams a client gets is decided in `stream_choice`.
"""

from __future__ import annotations

import json
from typing import Any

from ...model import TimedFrame
from ...omnigent import protocol
from ...omnigent.connect_snapshot import connect_snapshot_length
from ...wire.strict_json import payload_of
from ..parts import Part


def join_at_playhead(streams: list[list[TimedFrame]], sent_ns: int, snapshot_of: int) -> list[Part]:
    """Return the parts for a client that joins after all frames up to `sent_ns` were sent.

    `streams`: the frames of each recorded stream of the session, in order; `snapshot_of`: the stream whose connect
    snapshot is sent.
    """
    frames = session_line(streams)
    source = streams[snapshot_of]
    snapshot = [_part(frame, True) for frame in source[: connect_snapshot_length(source)] if not _carries_text(frame)]
    played = [frame for frame in frames if frame.offset_ns <= sent_ns]
    in_flight = [Part(0, data, True) for data in text_in_flight(played)]
    rest = [_part(frame, False) for frame in frames if frame.offset_ns > sent_ns]
    return [*snapshot[:1], *in_flight, *snapshot[1:], *rest]


def rest_after(streams: list[list[TimedFrame]], seq: int) -> list[Part]:
    """Return the parts for a client that has the first of these streams up to frame `seq`."""
    mine = streams[0]
    snapshot = connect_snapshot_length(mine)
    later = [frame for frame in session_line(streams) if frame.stream != mine[0].stream]
    return [_part(frame, frame.seq <= snapshot) for frame in mine[seq:]] + [_part(frame, False) for frame in later]


def session_line(streams: list[list[TimedFrame]]) -> list[TimedFrame]:
    """Return the frames of a session's streams as one sequence: of each stream, the frames after the end of the one
    before.

    A connect snapshot is left out, but for text in flight that no earlier stream has: no client was connected then.
    """
    line: list[TimedFrame] = []
    for frames in streams:
        last = line[-1].offset_ns if line else -1
        snapshot = connect_snapshot_length(frames)
        resent = [frame for frame in frames[:snapshot] if _carries_text(frame) and frame.offset_ns > last]
        line += _new_text(line, resent)
        line += [frame for frame in frames[snapshot:] if frame.offset_ns > last]
    return line


def _new_text(line: list[TimedFrame], resent: list[TimedFrame]) -> list[TimedFrame]:
    """Return the part of the text in flight that is not in `line` yet."""
    heard, text = _turn(line)[1], _turn(resent)[1]
    if not heard or not text.startswith(heard):
        return resent
    if text == heard:
        return []
    raw = frame_of(protocol.RESPONSE_OUTPUT_TEXT_DELTA, _delta(text[len(heard) :]))
    return [resent[-1]._replace(raw=raw, length=len(raw), type=protocol.RESPONSE_OUTPUT_TEXT_DELTA)]


def text_in_flight(played: list[TimedFrame]) -> list[bytes]:
    """Return the frames that a server sends for an open turn: `response.created` and all its text so far."""
    response, text = _turn(played)
    if not text:
        return []
    delta = frame_of(protocol.RESPONSE_OUTPUT_TEXT_DELTA, _delta(text))
    return [frame_of(protocol.RESPONSE_CREATED, {"response": response}), delta] if response else [delta]


def _turn(frames: list[TimedFrame]) -> tuple[dict[str, Any], str]:
    """Return the response object, and the text so far, of the turn that is open after these frames."""
    response: dict[str, Any] = {}
    parts: list[str] = []
    for frame in frames[_turn_begin(frames) :]:
        if frame.type in (protocol.RESPONSE_CREATED, protocol.RESPONSE_IN_PROGRESS):
            begun = _data(frame).get("response")
            begun = begun if isinstance(begun, dict) else {}
            parts = parts if begun.get("id") == response.get("id") else []
            response = begun
        elif frame.type == protocol.RESPONSE_OUTPUT_TEXT_DELTA:
            parts.append(str(_data(frame).get("delta") or ""))
    return response, "".join(parts)


def _turn_begin(frames: list[TimedFrame]) -> int:
    """Return the index of the first frame of the last turn."""
    for number in range(len(frames) - 1, -1, -1):
        if frames[number].type in protocol.RESPONSE_ENDS or _is_at_rest(frames[number]):
            return number + 1
    return 0


def _delta(text: str) -> dict[str, Any]:
    return {"delta": text, "message_id": None, "index": None, "final": None}


def frame_of(type_: str, fields: dict[str, Any]) -> bytes:
    """Return a frame in the server's own spelling, without a sequence number."""
    data = json.dumps({"sequence_number": None, "type": type_, **fields})
    return f"event: {type_}\ndata: {data}\n\n".encode()


def _is_at_rest(frame: TimedFrame) -> bool:
    return frame.type == protocol.SESSION_STATUS and _data(frame).get("status") in ("idle", "failed")


def _carries_text(frame: TimedFrame) -> bool:
    return protocol.is_of_response(frame.type)


def _part(frame: TimedFrame, in_snapshot: bool) -> Part:
    return Part(frame.offset_ns, frame.raw or b"", in_snapshot, frame.stream, frame.seq, frame.seq)


def _data(frame: TimedFrame) -> dict[str, Any]:
    value = payload_of(frame) if frame.verdict in ("valid", "invalid", "unknown") else None
    return value if isinstance(value, dict) else {}
