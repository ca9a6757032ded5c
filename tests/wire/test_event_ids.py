"""Ids for events that have none: where they are put, where not, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from omnirecord.wire.event_ids import event_id, parse_event_id, stamp
from omnirecord.wire.sse import Frame, Parser
from tests.support.examples import each
from tests.wire.test_sse import STREAMS

BOM = b"\xef\xbb\xbf"
NUMBERS = st.integers(1, 10**18 - 1)


@given(NUMBERS, NUMBERS)
def test_an_id_says_which_stream_and_which_frame(stream: int, seq: int) -> None:
    assert parse_event_id(event_id(stream, seq)) == (stream, seq)


@each(
    "text", ["", "2", "2.", ".26", "2.26.1", "-2.26", "02.26", "2.0", "2,26", "2.26 ", "2.26\n", "٢.٢", "2." + "9" * 19]
)
def test_what_is_no_id_of_ours_names_nothing(text: str) -> None:
    assert parse_event_id(text) is None


STAMPED = {
    "LF": (b"event: a\ndata: b\n\n", b"event: a\nid: 2.26\ndata: b\n\n"),
    "CR": (b"event: a\rdata: b\r\r", b"event: a\rid: 2.26\rdata: b\r\r"),
    "CRLF": (b"event: a\r\ndata: b\r\n\r\n", b"event: a\r\nid: 2.26\r\ndata: b\r\n\r\n"),
    "data first": (b"data: a\nevent: b\n\n", b"id: 2.26\ndata: a\nevent: b\n\n"),
    "lines of data": (b"data: a\ndata: b\n\n", b"id: 2.26\ndata: a\ndata: b\n\n"),
    "data without a colon": (b"data\n\n", b"id: 2.26\ndata\n\n"),
    "the end of a stream": (b"data: [DONE]\n\n", b"id: 2.26\ndata: [DONE]\n\n"),
    "behind a comment": (b":data: x\ndata: y\n\n", b":data: x\nid: 2.26\ndata: y\n\n"),
    "behind fields that are none": (b" data: x\ndatum: x\ndata: y\n\n", b" data: x\ndatum: x\nid: 2.26\ndata: y\n\n"),
    "behind blank lines": (b"\n\r\n\rdata: x\n\n", b"\n\r\n\rid: 2.26\ndata: x\n\n"),
    "behind a BOM": (BOM + b"data: x\n\n", BOM + b"id: 2.26\ndata: x\n\n"),
    "behind a BOM and a blank line": (BOM + b"\ndata: x\n\n", BOM + b"\nid: 2.26\ndata: x\n\n"),
    "an id with a NUL, which is none": (b"id: 1\0\ndata: x\n\n", b"id: 1\0\nid: 2.26\ndata: x\n\n"),
}
LEFT = {
    "an id of its own": b"id: 7\ndata: x\n\n",
    "one behind its data": b"data: x\nid: 7\n\n",
    "an empty one": b"data: x\nid\n\n",
    "a comment": b": keep-alive\n\n",
    "an event without data": b"event: a\n\n",
    "a time to reconnect after": b"retry: 1000\n\n",
    "a tail": b"data: x\n",
    "a tail with CRLF": b"data: x\r\n",
    "half a line": b"data: x",
    "nothing": b"",
    "blank lines": b"\n\n\n",
}


@each("name", STAMPED)
def test_an_event_gets_its_id_before_its_data_in_its_own_line_ending(name: str) -> None:
    frame, longer = STAMPED[name]
    assert stamp(frame, "2.26") == longer


@each("name", LEFT)
def test_what_is_no_event_or_has_an_id_is_left_as_it_is(name: str) -> None:
    assert stamp(LEFT[name], "2.26") == LEFT[name]


def test_a_bom_is_content_but_at_the_start_of_a_stream() -> None:
    frame = BOM + b"data: x\ndata: y\n\n"
    assert stamp(frame, "2.26", bom=False) == BOM + b"data: x\nid: 2.26\ndata: y\n\n"
    assert stamp(BOM + b"data: x\n\n", "2.26", bom=False) == BOM + b"data: x\n\n"


def parsed(data: bytes) -> list[Frame]:
    parser = Parser()
    return parser.feed(data) + parser.close()


def stamped(frames: list[Frame]) -> list[bytes]:
    return [stamp(frame.raw or b"", event_id(3, seq), bom=seq == 1) for seq, frame in enumerate(frames, 1)]


@given(STREAMS)
@example(b"data: a\r\r\ndata: b\r\r\n")
@example(BOM + b"data: a\n\n" + BOM + b"data: b\n\n")
def test_a_stamped_stream_parses_as_it_did_but_for_the_ids(data: bytes) -> None:
    before = parsed(data)
    after = parsed(b"".join(stamped(before)))
    expected = [
        event_id(3, seq) if frame.complete and frame.data is not None and frame.id is None else frame.id
        for seq, frame in enumerate(before, 1)
    ]
    assert [frame.id for frame in after] == expected
    bare = [replace(frame, raw=None, length=0, id=None) for frame in after]
    assert bare == [replace(frame, raw=None, length=0, id=None) for frame in before]


@given(STREAMS)
def test_without_the_lines_that_were_added_every_byte_is_there(data: bytes) -> None:
    frames = parsed(data)
    bare = b""
    for seq, (frame, longer) in enumerate(zip(frames, stamped(frames), strict=True), 1):
        line = b"id: %b" % event_id(3, seq).encode()
        if longer == frame.raw:
            bare += longer
            continue
        at = longer.index(line)
        ending = 2 if longer[at + len(line) :].startswith(b"\r\n") else 1
        bare += longer[:at] + longer[at + len(line) + ending :]
    assert bare == data
