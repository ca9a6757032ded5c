"""Answers to JSON-RPC requests with the ids of the new request."""

from __future__ import annotations

from omnirecord.replayer.parts import Part
from omnirecord.replayer.player.json_rpc import differ, parts_to
from omnirecord.wire.json_rpc import Message, message_of


def call(id_: int) -> Message:
    found = message_of({"jsonrpc": "2.0", "id": id_, "method": "m"})
    assert found is not None
    return found


def changed(*datas: bytes) -> list[bytes]:
    parts = [Part(n, data, stream=1, seq=1) for n, data in enumerate(datas)]
    return [part.data for part in parts_to(parts, call(1), call(22))]


def test_a_frame_in_several_reads_goes_out_with_its_last_read() -> None:
    frame = b'event: message\r\nid: 7\r\ndata: {"jsonrpc":"2.0","id":1,"result":{"t":"\xc3\xb6"}}\r\n\r\n'
    assert changed(frame[:30], frame[30:]) == [b"", frame.replace(b'"id":1', b'"id":22')]


def test_data_in_several_lines_becomes_one_line() -> None:
    assert changed(b'data: {"jsonrpc": "2.0",\ndata: "id": 1, "result": 5}\nid: 3\n\n') == [
        b'data: {"jsonrpc":"2.0","id":22,"result":5}\nid: 3\n\n'
    ]


def test_other_frames_keep_every_byte() -> None:
    frames = [b": ping\n\n", b"data: text\n\n", b'data: {"jsonrpc": "2.0", "id": 5, "result": 1}\n\n', b"data:\n\n"]
    for frame in frames:
        assert changed(frame[:3], frame[3:]) == [frame[:3], frame[3:]]


def test_equal_ids_change_nothing() -> None:
    assert not differ(call(1), call(1))
    assert differ(call(1), call(2))
