"""Ids for events that have none: where they are put, where not, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from omnirecord.wire.event_ids import Stamped, StreamStamper, event_id, parse_event_id, stamp
from omnirecord.wire.sse import Frame, Parser
from tests.support.examples import each
from tests.wire.test_sse import CUTS, STREAMS

BOM = b"\xef\xbb\xbf"
LIMIT = 1 << 20
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
    frame, stamped = STAMPED[name]
    assert stamp(frame, "2.26") == stamped


@each("name", LEFT)
def test_what_is_no_event_or_has_an_id_is_left_as_it_is(name: str) -> None:
    assert stamp(LEFT[name], "2.26") == LEFT[name]


def test_a_bom_is_content_but_at_the_start_of_a_stream() -> None:
    frame = BOM + b"data: x\ndata: y\n\n"
    assert stamp(frame, "2.26", bom=False) == BOM + b"data: x\nid: 2.26\ndata: y\n\n"
    assert stamp(BOM + b"data: x\n\n", "2.26", bom=False) == BOM + b"data: x\n\n"


def test_once_a_server_shows_an_id_nothing_is_stamped_any_more() -> None:
    stamper = StreamStamper(2, LIMIT)
    frames = [b"data: a\n\n", b"id: 7\n\n", b"data: b\n\n"]
    assert [piece.data for piece in stamper.feed(b"".join(frames))] == [b"id: 2.1\ndata: a\n\n", *frames[1:]]
    assert not stamper.stamps


def parsed(data: bytes) -> list[Frame]:
    parser = Parser()
    return parser.feed(data) + parser.close()


def passed(data: bytes, cuts: list[int], limit: int = 1 << 20) -> list[Stamped]:
    stamper = StreamStamper(3, limit)
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [out for start, end in pairwise(bounds) for out in stamper.feed(data[start:end])] + stamper.close()


def joined(pieces: list[Stamped]) -> bytes:
    return b"".join(piece.data for piece in pieces)


@given(STREAMS, CUTS)
@example(b"data: a\r\r\ndata: b\r\r\n", [9])
@example(BOM + b"data: a\n\n" + BOM + b"data: b\n\n", [2])
def test_a_stamped_stream_parses_as_it_did_but_for_the_ids(data: bytes, cuts: list[int]) -> None:
    before, after = parsed(data), parsed(joined(passed(data, cuts)))
    own = next((seq for seq, frame in enumerate(before, 1) if frame.id is not None), len(before) + 1)
    expected = [
        event_id(3, seq) if frame.complete and frame.data is not None and seq < own else frame.id
        for seq, frame in enumerate(before, 1)
    ]
    assert [frame.id for frame in after] == expected
    bare = [replace(frame, raw=None, length=0, id=None) for frame in after]
    assert bare == [replace(frame, raw=None, length=0, id=None) for frame in before]


@given(STREAMS, CUTS)
def test_without_the_lines_that_were_added_every_byte_is_there(data: bytes, cuts: list[int]) -> None:
    bare = b""
    for piece in passed(data, cuts):
        line = b"id: %b" % event_id(3, piece.seq).encode()
        at = piece.data.index(line) if piece.has_id else 0
        ending = 2 if piece.data[at + len(line) :].startswith(b"\r\n") else 1
        bare += piece.data[:at] + piece.data[at + (len(line) + ending) * piece.has_id :]
    assert bare == data


@given(STREAMS, CUTS)
def test_how_the_bytes_were_cut_changes_nothing(data: bytes, cuts: list[int]) -> None:
    assert joined(passed(data, cuts)) == joined(passed(data, []))


@given(STREAMS, CUTS, st.integers(1, 30))
def test_a_frame_that_is_too_large_ends_the_stamping_and_loses_nothing(
    data: bytes, cuts: list[int], limit: int
) -> None:
    pieces = passed(data, cuts, limit)
    stamped = sum(len(event_id(3, piece.seq)) + 5 for piece in pieces if piece.has_id)
    assert len(data) + stamped <= len(joined(pieces)) <= len(data) + stamped * 2
    over = passed(b"data: " + b"x" * 100 + data, [50], limit)
    assert joined(over) == b"data: " + b"x" * 100 + data


@each("end", [b"\n\n", b"\r\r", b"\r\n\r", b"\n\r"])
def test_an_event_is_passed_on_with_the_byte_that_completes_it(end: bytes) -> None:
    stamper = StreamStamper(3, LIMIT)
    head = b"data: x" + end[:-1]
    assert stamper.feed(head) == []
    assert stamper.held == len(head)
    assert joined(stamper.feed(end[-1:])).endswith(b"data: x" + end)
    assert stamper.held == 0


def test_after_an_id_of_the_servers_own_half_a_frame_is_passed_on_as_well() -> None:
    stamper = StreamStamper(3, LIMIT)
    assert joined(stamper.feed(b"id: 7\ndata: x\n\nda")) == b"id: 7\ndata: x\n\nda"
    assert not stamper.stamps
    assert joined(stamper.feed(b"ta: y")) == b"ta: y"
    assert stamper.held == 0


def test_the_frame_that_says_done_is_told() -> None:
    assert [piece.is_done for piece in StreamStamper(1, LIMIT).feed(b"data: x\n\ndata: [DONE]\n\n")] == [False, True]
