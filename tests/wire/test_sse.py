"""The event stream parser: what the WHATWG standard says, and the two rules that hold whatever is fed in."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any
from unittest.mock import patch

import pytest
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.wire import sse
from omnirecord.wire.sse import Frame, Parser, last_end, read_fields
from tests.support.examples import each, examples
from tests.support.whatwg import CASES, CUTTING, FRAMES, dispatched, events_of

TOKENS = st.sampled_from([
    b"data", b"event", b"id", b"retry", b": ", b":", b" ", b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b"\xef\xbb\xbf",
    b"\xef\xbb", b"\0", b"x", b"1500", b"data: {}\n\n", b"event: a\ndata: b\n\n", "é—🦉".encode(), b"\xf0\x9f", b"\xff",
])  # fmt: skip
STREAMS = st.lists(TOKENS | st.binary(max_size=4), max_size=40).map(b"".join)
ONE_KIND = STREAMS.map(lambda data: data.replace(b"\r", b""))
ALIKE = ONE_KIND | ONE_KIND.map(lambda data: data.replace(b"\n", b"\r\n"))
"""Streams all of whose lines end alike."""
CUTS = st.lists(st.integers(0, 200), max_size=20)


def parse(data: bytes, cuts: list[int] | range | tuple[int, ...] = (), limit: int = sse.DEFAULT_LIMIT) -> list[Frame]:
    parser = Parser(limit)
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    frames = [frame for start, end in pairwise(bounds) for frame in parser.feed(data[start:end])]
    return frames + parser.close()


@each("name", FRAMES)
def test_a_frame_has_the_fields_that_the_standard_gives_it(name: str) -> None:
    data, fields = FRAMES[name]

    assert parse(data) == [Frame(data, len(data), True, **fields)]
    assert parse(data, range(len(data))) == [Frame(data, len(data), True, **fields)]


@each("name", CUTTING)
def test_a_frame_ends_behind_its_blank_line(name: str) -> None:
    data, raws = CUTTING[name]

    for frames in (parse(data), parse(data, range(len(data)))):
        assert [frame.raw for frame in frames] == raws


def test_a_frame_comes_with_the_byte_that_ends_it() -> None:
    parser = Parser()

    assert parser.feed(b"data: a\n") == []
    assert len(parser.feed(b"\n")) == 1
    assert parser.feed(b"data: b\r\n\r") == []  # an LF may follow
    assert [frame.raw for frame in parser.feed(b"\n")] == [b"data: b\r\n\r\n"]
    assert parser.feed(b"data: c\r\r") == []
    assert [frame.raw for frame in parser.feed(b"d")] == [b"data: c\r\r"]
    assert parser.pending == 1


def test_only_the_tail_is_incomplete() -> None:
    assert [frame.complete for frame in parse(b"data: a\n\ndata: b\n\ndata: c")] == [True, True, False]
    assert parse(b"data: a\n\ndata: c")[-1].data == "c"
    assert [frame.complete for frame in parse(b"data: a\r\r")] == [True]


def test_a_stream_that_is_taken_up_in_its_middle_has_no_bom() -> None:
    parser = Parser(at_start=False)

    assert parser.feed(b"\xef\xbb\xbfdata: x\n\n")[0].data is None
    assert Parser(at_start=False).feed(b"data: x\n\n")[0].data == "x"


@settings(deadline=None, max_examples=examples(300))
@given(data=STREAMS, cuts=CUTS)
def test_no_byte_is_lost_and_cutting_changes_nothing(data: bytes, cuts: list[int]) -> None:
    whole = parse(data)

    assert b"".join(frame.raw or b"" for frame in whole) == data
    assert all(frame.length == len(frame.raw or b"") for frame in whole)
    assert parse(data, cuts) == whole
    assert parse(data, range(len(data))) == whole


def test_no_cut_changes_any_short_text_of_line_ends() -> None:
    """All there are, since a property test passed over one of them: blank lines, then content, then a CRLF."""
    for length in range(8):
        for letters in product((b"\n", b"\r", b":"), repeat=length):
            data = b"".join(letters)
            with patch.object(Parser, "feed", Parser._feed_slowly):
                whole = [frame.raw for frame in parse(data)]
            for at in range(length + 1):
                assert [frame.raw for frame in parse(data, [at])] == whole, (data, at)


@settings(deadline=None, max_examples=examples(300))
@given(data=STREAMS, cuts=CUTS, limit=st.integers(1, 40))
def test_both_rules_hold_for_oversized_frames_by_their_length(data: bytes, cuts: list[int], limit: int) -> None:
    kept = [frame if frame.length <= limit else Frame(None, frame.length, frame.complete) for frame in parse(data)]

    assert parse(data, cuts, limit) == kept
    assert parse(data, range(len(data)), limit) == kept


@settings(deadline=None, max_examples=examples(400))
@given(data=STREAMS | ALIKE, cuts=CUTS, limit=st.integers(1, 200))
def test_the_fast_paths_make_what_the_slow_ones_do(data: bytes, cuts: list[int], limit: int) -> None:
    fast = parse(data, cuts, limit)
    read = [(frame.event, frame.data, frame.id, frame.retry) for frame in fast]
    with patch.object(sse, "data_start", lambda _raw: 0), patch.object(Parser, "feed", Parser._feed_slowly):
        assert parse(data, cuts, limit) == fast
        assert [(frame.event, frame.data, frame.id, frame.retry) for frame in parse(data, cuts, limit)] == read


def test_the_fast_paths_are_those_that_usual_frames_take() -> None:
    usual = [b"data: {}\n\n", b"data: \n\n", b"event: a\ndata: b\n\n", "event: é\ndata: 🦉\n\n".encode()]
    for name in ("_read_lines", "_BLANK_LINE", "_CONTENT"):
        with patch.object(sse, name, None):
            assert [read_fields(raw).data for raw in usual] == ["{}", "", "b", "🦉"]
            for size in (1, 3, 1000):
                parser, stream = Parser(), b"".join(usual)
                frames = [frame for at in range(0, len(stream), size) for frame in parser.feed(stream[at : at + size])]
                assert [frame.data for frame in frames] == ["{}", "", "b", "🦉"]
            crlf = Parser().feed(stream.replace(b"\n", b"\r\n") * 2)
            assert [frame.raw for frame in crlf] == [raw.replace(b"\n", b"\r\n") for raw in usual] * 2


def test_bytes_that_ask_for_the_slow_path_do_so_up_to_the_next_frame() -> None:
    parser = Parser()
    for odd in (b"\xef\xbb\xbfdata: a\n\nda", b"ta: b\r\n\r\nda", b"ta: c\n\n\n", b"\ndata: d\n\nda"):
        parser.feed(odd)
    with patch.object(Parser, "_feed_slowly", None):
        assert parser.feed(b"ta: e\n\n")[0].data == "e"


def test_fields_are_read_when_they_are_asked_for_and_once() -> None:
    (frame,) = Parser().feed(b"event: a\nid: 1\nretry: 5\n\n")
    with patch.object(sse, "read_fields", side_effect=AssertionError), pytest.raises(AssertionError):
        assert frame.event
    assert (frame.retry, frame.id, frame.data, frame.event) == (5, "1", None, "a")
    with patch.object(sse, "read_fields", side_effect=AssertionError):
        assert (frame.retry, frame.id, frame.data, frame.event) == (5, "1", None, "a")
    with pytest.raises(AttributeError, match="a frame has no color"):
        frame.color  # type: ignore[attr-defined]  # noqa: B018


@each("name", CASES)
def test_a_stream_has_the_events_that_an_event_source_fires(name: str) -> None:
    data, events = CASES[name]

    assert events_of(parse(data)) == events
    assert dispatched(data) == events


@settings(deadline=None, max_examples=examples(200))
@given(data=STREAMS)
def test_frames_are_the_lines_of_the_standard_s_own_algorithm(data: bytes) -> None:
    assert events_of(parse(data)) == dispatched(data)


WORDS = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=8)
WELL_FORMED = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), max_size=6)


@settings(deadline=None, max_examples=examples(100))
@given(events=WELL_FORMED, line_end=st.sampled_from(["\n", "\r", "\r\n"]))
def test_httpx_sse_sees_the_same_events(events: list[tuple[str, list[str]]], line_end: str) -> None:
    """Where they must agree: no comments alone, no `id` (httpx-sse dispatches a frame without data, and at every
    blank line once there was an id), no BOM (it takes one as part of the name), no odd `retry` (`-1` is one)."""
    text = "".join(
        f"event: {name}{line_end}" + "".join(f"data: {line}{line_end}" for line in data) + line_end
        for name, data in events
    )
    lines, decoder = SSELineDecoder(), SSEDecoder()
    theirs = [decoder.decode(line) for line in (*(lines.decode(text) if text else ()), *lines.flush())]

    ours = [(frame.event or "message", frame.data) for frame in parse(text.encode())]
    assert ours == [(event.event, event.data) for event in theirs if event]


def searched(feed: Any) -> int:
    """How many bytes the parser's searches were given to look at while `feed` runs."""
    total = 0

    def counting(pattern: Any) -> Any:
        class Counting:
            def search(self, data: bytearray, start: int) -> Any:
                nonlocal total
                found = pattern.search(data, start)
                total += (found.end() if found else len(data)) - start
                return found

        return Counting()

    patterns = {name: counting(getattr(sse, name)) for name in ("_BLANK_LINE", "_CONTENT")}
    with patch.multiple(sse, **patterns):
        feed()
    return total


@each("piece", [b"x" * 1024, b"\n" * 1024, b"\r\n" * 512, b"a\r" * 512])
def test_the_work_is_linear_however_long_a_frame_is(piece: bytes) -> None:
    def feed() -> None:
        parser = Parser()
        parser.feed(b"data: " if piece.strip() else b"")
        for _ in range(4096):
            parser.feed(piece)

    assert searched(feed) < 2 * 4096 * 1024


@pytest.mark.parametrize("piece", [b"\n", b"\r\n", b"x"], ids=repr)
def test_memory_is_bounded_by_the_limit(piece: bytes) -> None:
    parser = Parser(limit=1000)
    for _ in range(1000):
        parser.feed(piece * 1000)
        assert len(parser._pending) <= 1000

    assert parser.pending == len(piece) * 1_000_000
    (frame,) = parser.feed(b"data: x\n\n") or parser.close()
    assert (frame.raw, frame.length) == (None, len(piece) * 1_000_000 + 9)


@settings(deadline=None, max_examples=examples(300))
@given(before=STREAMS, data=STREAMS)
def test_a_sure_end_is_that_of_a_frame_whatever_came_before(before: bytes, data: bytes) -> None:
    end = last_end(data)
    before = b"x" + before  # a BOM and blank lines alone make no frame

    frames = parse(before + data[:end])
    if end:
        assert frames[-1].complete
        assert parse(data[end:]) == parse(before + data)[len(frames) :] or data[end:].startswith(b"\xef\xbb")
    assert end <= len(data)


def test_a_sure_end_is_found_behind_the_last_whole_frame() -> None:
    assert last_end(b"data: a\n\ndata: b\r\n\r\n\ndata: c\n") == len(b"data: a\n\ndata: b\r\n\r\n")
    assert [last_end(data) for data in (b"", b"\n\n", b"data: a\n", b"data: a\r\r")] == [0, 0, 0, 0]
