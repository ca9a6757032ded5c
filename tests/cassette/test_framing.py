"""Reads in, judged frames out: which read a frame came with, and that a frame made later is the same frame."""

from __future__ import annotations

import gzip
import sys
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.cassette.framing import Framed, Framer
from omnirecord.contract.judge import Contract
from omnirecord.omnigent.contract import load
from omnirecord.wire.headers import header, is_event_stream
from tests.support.examples import each, examples

OMNIGENT = load("omnigent")
PING = b'event: response.heartbeat\ndata: {"type":"response.heartbeat"}\n\n'
PIECES = st.sampled_from(
    [PING, b"data: [DONE]\n\n", b": hi\r\n\r\n", b"data: x\r\r", b"\n", b"\r", b"da", b"\xef\xbb\xbf"]
)
CUTS = st.lists(st.integers(0, 300), max_size=12)


def framer(coding: str | None = None, contract: Contract = OMNIGENT, begun_at: int = 0) -> Framer:
    return Framer(coding, contract, begun_at)


def reads_of(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


def framed(reads: list[bytes], coding: str | None = None) -> list[Framed]:
    one = framer(coding)
    frames = [frame for n, read in enumerate(reads) for frame in one.feed(n, read)]
    return frames + one.close()


def told(frames: list[Framed]) -> list[tuple[bytes | None, int]]:
    return [(one.frame.raw, one.read) for one in frames]


def test_each_frame_is_judged() -> None:
    frames = framed([PING, b"data: {}\n\n", b": hi\n\n", b"data: [DONE]\n\n", b"data: {"])

    assert [one.judgement.verdict for one in frames] == ["valid", "malformed", "comment", "sentinel", "truncated"]


def test_a_frame_has_the_read_that_brought_its_last_byte() -> None:
    frames = framed([b"data: a", b"", b"\n", b"\ndata: b\n\ndata: c\n\nda", b"ta: d\n\n", b"tail"])

    assert [one.read for one in frames] == [3, 3, 3, 4, 5]


def test_a_frame_that_a_cr_held_back_has_the_read_of_the_cr() -> None:
    assert told(framed([b"data: a\r\r", b"data: b\r\r", b"\n"])) == [(b"data: a\r\r", 0), (b"data: b\r\r\n", 2)]
    assert told(framed([b"data: a\r\r", b""])) == [(b"data: a\r\r", 0)]


def test_the_tail_has_the_read_of_its_last_byte() -> None:
    assert told(framed([b"data: a\n\nda", b"ta", b""])) == [(b"data: a\n\n", 0), (b"data", 1)]


@settings(deadline=None, max_examples=examples(100))
@given(data=st.lists(PIECES, max_size=12).map(b"".join), cuts=CUTS)
def test_a_frame_s_last_byte_lies_in_its_read(data: bytes, cuts: list[int]) -> None:
    reads = reads_of(data, cuts)
    end, ends = 0, [sum(map(len, reads[: n + 1])) for n in range(len(reads))]

    frames = framed(reads)
    for one in frames:
        end += one.frame.length
        assert one.read == next(n for n, at in enumerate(ends) if at >= end)
    assert end == len(data)


@settings(deadline=None, max_examples=examples(300))
@given(
    data=st.lists(PIECES, max_size=12).map(b"".join),
    cuts=CUTS,
    groups=st.lists(st.integers(1, 5), max_size=13),
    coding=st.sampled_from([None, "gzip"]),
)
def test_reads_that_are_fed_together_make_what_they_make_one_by_one(
    data: bytes, cuts: list[int], groups: list[int], coding: str | None
) -> None:
    reads = reads_of(gzip.compress(data) if coding else data, cuts)
    one_by_one, together, at = framer(coding), framer(coding), 0
    for size in [*groups, *[1] * len(reads)]:
        some = reads[at : at + size]
        expected = [one for n, read in enumerate(some, at) for one in one_by_one.feed(n, read)]
        portions = together.portions(at, [len(read) for read in some], b"".join(some), runs=False) if some else []
        assert [one for portion in portions for one in portion] == expected
        assert together.cut == one_by_one.cut
        at += size
    assert together.close() == one_by_one.close()


@settings(deadline=None, max_examples=examples(100))
@given(data=st.lists(PIECES, max_size=12).map(b"".join), cuts=CUTS)
def test_a_compressed_stream_has_the_frames_of_its_content(data: bytes, cuts: list[int]) -> None:
    frames = framed(reads_of(gzip.compress(data), cuts), "gzip")

    assert [(one.frame, one.judgement) for one in frames] == [(one.frame, one.judgement) for one in framed([data])]


def test_frames_of_a_compressed_stream_have_the_read_that_completed_them() -> None:
    first, second = gzip.compress(b"data: a\n\nda"), gzip.compress(b"ta: b\n\n")

    assert told(framed([first[:-9], first[-9:] + second[:4], second[4:]], "gzip"))[-1] == (b"data: b\n\n", 2)
    assert [one.read for one in framed([first, second], "gzip")] == [0, 1]


def test_only_a_coding_decodes() -> None:
    assert [framer(coding).decodes for coding in (None, "identity", "gzip", "br, gzip", "snappy")] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_a_coding_that_is_not_known_breaks_it_before_the_first_byte() -> None:
    one = framer("snappy")

    assert one.broken == "content coding 'snappy' is not known"
    assert one.feed(0, PING) == []
    assert one.close() == []


def test_a_body_that_cannot_be_decoded_breaks_it_and_keeps_the_frames_before() -> None:
    one = framer("gzip")
    good = gzip.compress(b"data: a\n\nda")

    assert told(one.feed(0, good)) == [(b"data: a\n\n", 0)]
    assert one.broken is None
    assert one.feed(1, b"this is no gzip") == []
    assert one.broken is not None
    assert "not what its Content-Encoding says" in one.broken
    assert one.feed(2, good) == []
    assert told(one.close()) == [(b"da", 0)]


def test_lost_bytes_are_a_frame_without_raw_and_cut_off_what_was_begun() -> None:
    one = framer()
    frames = one.feed(0, b"data: a\n\ndata: b")
    frames += one.skip(1, 100)
    frames += one.feed(2, b"data: c\n\n")

    assert told(frames) == [(b"data: a\n\n", 0), (b"data: b", 0), (None, 1), (b"data: c\n\n", 2)]
    assert [(one.frame.complete, one.frame.length) for one in frames] == [
        (True, 9),
        (False, 7),
        (False, 100),
        (True, 9),
    ]
    assert frames[2].judgement.verdict == "truncated"
    assert one.cut == 9 + 7 + 100 + 9


def test_what_follows_lost_bytes_is_not_the_start_of_a_stream() -> None:
    one = framer()
    one.skip(0, 3)

    assert one.feed(1, b"\xef\xbb\xbfdata: x\n\n")[0].frame.data is None


def test_what_is_taken_up_again_is_not_the_start_of_a_stream() -> None:
    assert [framer(begun_at=at).feed(0, b"\xef\xbb\xbfdata: x\n\n")[0].frame.data for at in (0, 9)] == ["x", None]


def test_events_that_are_known_cost_no_call_of_their_own() -> None:
    """What is not done shows in no time that a busy machine could hide."""
    calls = 0

    def count(_frame: object, kind: str, _what: object) -> None:
        nonlocal calls
        calls += kind == "call"

    one = framer()
    one.feed(0, PING * 100)
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        frames = one.feed(1, PING * 1000)
    finally:
        sys.setprofile(before)

    assert [(each.judgement.verdict, each.read) for each in frames] == [("valid", 1)] * 1000
    assert calls < 20


LOST = st.lists(st.booleans(), max_size=12)


@settings(deadline=None, max_examples=examples(150))
@given(data=st.lists(PIECES, max_size=10).map(b"".join), cuts=CUTS, lost=LOST, stop=st.integers(0, 12))
def test_taken_up_again_at_any_read_it_makes_the_same_frames(
    data: bytes, cuts: list[int], lost: list[bool], stop: int
) -> None:
    reads = [read for read in reads_of(data, cuts) if read]
    is_lost = (lost + [False] * len(reads))[: len(reads)]

    def feed(one: Framer, n: int, part: bytes) -> list[Framed]:
        return one.skip(n, len(part)) if is_lost[n] else one.feed(n, part)

    whole = framer()
    frames = [frame for n, read in enumerate(reads) for frame in feed(whole, n, read)]
    frames += whole.close()

    first = framer()
    made = [frame for n, read in enumerate(reads[:stop]) for frame in feed(first, n, read)]
    second, at = framer(begun_at=first.cut), 0
    for n, read in enumerate(reads):
        rest = read[max(0, first.cut - at) :]
        at += len(read)
        if at > first.cut:
            made += feed(second, n, rest)
    made += second.close()

    assert [one for one in made if one.frame.length] == [one for one in frames if one.frame.length]


def test_cut_counts_the_content_that_is_in_frames() -> None:
    one = framer("gzip")
    one.feed(0, gzip.compress(b"data: a\n\ndata: b"))

    assert one.cut == 9
    one.close()
    assert one.cut == 16


@each(
    ("value", "is_one"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream; charset=utf-8", True),
        ("text/event-stream;", True),
        ("text/plain", False),
        ("application/json; profile=text/event-stream", False),
    ],
)
def test_an_event_stream_is_told_by_its_media_type(value: str, is_one: bool) -> None:
    assert is_event_stream((("Content-TYPE", value),)) is is_one
    assert not is_event_stream(())


def test_lines_of_a_header_are_joined_by_commas() -> None:
    headers = (("Content-Encoding", "gzip"), ("X", "y"), ("content-encoding", "br"))

    assert header(headers, "content-encoding") == "gzip, br"
    assert header(headers, "accept") is None
