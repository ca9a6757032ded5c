"""A recorded stream as parts: cut where its reads and its frames end, nothing lost; bursts are those parts joined."""

from __future__ import annotations

from itertools import accumulate, groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.cassette.sqlite.stream_reads import FrameTable
from omnirecord.model import TimedFrame
from omnirecord.replayer.stream_parts import BURST, Part, StreamParts, decoded_parts, frames_of, parts_of
from tests.support.cassettes import Made, delta, heartbeat, ns, status

STREAM, GREETING = 7, 2
SIZES = st.sampled_from([1, 10, 150, 20_000, BURST - 1, BURST, 2 * BURST])
CUTS = st.lists(st.tuples(st.integers(0, 5), st.booleans(), SIZES), max_size=30)


def laid(cuts: list[tuple[int, bool, int]]) -> tuple[list[Part], StreamParts]:
    """A list of parts, and the strip of them; of each: how much later it came, whether a new frame begins, its size."""
    offsets = accumulate(gap for gap, _, _ in cuts)
    seqs = accumulate((int(begins or not n) for n, (_, begins, _) in enumerate(cuts)))
    parts = [
        Part(offset, bytes([n % 251]) * size, seq <= GREETING, STREAM, seq, n)
        for n, (offset, seq, (_, _, size)) in enumerate(zip(offsets, seqs, cuts, strict=True))
    ]
    frames = groupby(parts, key=lambda x: x.seq)
    ends = list(accumulate(sum(len(x.data) for x in frame) for _, frame in frames))
    body = b"".join(x.data for x in parts)
    table = FrameTable(body, ends, came=[x.offset_ns for x in parts], sizes=[len(x.data) for x in parts])
    return parts, StreamParts(table, STREAM, GREETING)


@given(CUTS)
def test_it_is_the_sequence_of_its_parts(cuts: list[tuple[int, bool, int]]) -> None:
    parts, strip = laid(cuts)
    assert len(strip) == len(parts)
    assert list(strip) == parts
    assert [strip[n] for n in range(-len(parts), 0)] == parts
    assert strip[1:-1] == parts[1:-1]
    assert list(reversed(strip)) == parts[::-1]


@given(CUTS)
def test_pieces_are_its_parts_joined_one_behind_the_other_and_as_long_as_they_have_to_be(
    cuts: list[tuple[int, bool, int]],
) -> None:
    parts, strip = laid(cuts)
    number = 0
    while number < len(parts):
        burst = strip.bursts[number]
        joined = parts[number : burst.upto]
        assert burst.data == b"".join(part.data for part in joined)
        assert sum(len(part.data) for part in joined[:-1]) < BURST
        assert len(burst.data) >= BURST or burst.upto == len(parts)
        assert burst.last_ns == max((part.offset_ns for part in joined if not part.in_snapshot), default=-1)
        ending = [part for n, part in enumerate(parts) if number <= n < burst.upto and strip.ends_a_frame(n)]
        last = (burst.frame.offset_ns, burst.frame.stream, burst.frame.seq) if burst.frame else None
        assert last == ((ending[-1].offset_ns, STREAM, ending[-1].seq) if ending else None)
        number = burst.upto
    assert len(strip.bursts) == sum(1 for n in strip.bursts if n < len(parts))


def test_of_an_empty_stream_there_is_nothing() -> None:
    _, strip = laid([])
    assert (list(strip), strip.bursts) == ([], {})
    with pytest.raises(IndexError):
        strip[0]


def test_where_time_goes_back_nothing_is_joined_blindly() -> None:
    strip = StreamParts(FrameTable(b"a\n\nb\n\n", [3, 6], came=[5, 4], sizes=[3, 3]), STREAM, 0)
    assert [part.offset_ns for part in strip] == [5, 4]
    assert strip.bursts == {}


BODY = heartbeat() + status("running") + delta("é") + b": comment\n\n" + delta("b") + b"data: cut o"


def frames(*reads: tuple[float, bytes]) -> list[TimedFrame]:
    tape = Made()
    tape.stream("s", 1.0, *reads, ending="open")
    store = tape.store()
    return list(store.frames(store.streams()[0], unfinished=True))


def parts(*reads: tuple[float, bytes]) -> StreamParts:
    return parts_of(((ns(at), len(data)) for at, data in reads), frames(*reads))


def test_a_part_ends_where_its_read_or_its_frame_does() -> None:
    made = parts((1.0, b"data: "), (1.5, b"1\n\nda"), (2.0, b"ta: 2\n\n"))
    assert [(part.offset_ns, part.data, part.seq, part.read) for part in made] == [
        (ns(1.0), b"data: ", 1, 0),
        (ns(1.5), b"1\n\n", 1, 1),
        (ns(1.5), b"da", 2, 1),
        (ns(2.0), b"ta: 2\n\n", 2, 2),
    ]


def test_only_the_frames_of_the_connect_snapshot_are_of_it() -> None:
    made = parts((1.0, heartbeat() + status("running")[:10]), (1.5, status("running")[10:] + delta("a")))
    assert [part.in_snapshot for part in made] == [True, False, False, False]


def test_an_unfinished_frame_at_the_end_is_a_part_as_well() -> None:
    assert parts((1.0, b"data: 1\n\ndata: cu"))[-1].data == b"data: cu"


def test_of_a_frame_that_was_not_kept_the_time_goes_by_and_the_next_one_comes_when_it_did() -> None:
    made = frames((1.0, delta("a") + delta("b")[:5]), (2.0, delta("b")[5:]), (3.0, delta("c")))
    made[1] = made[1]._replace(raw=None)
    reads = [(ns(1.0), made[0].length + 5), (ns(2.0), made[1].length - 5), (ns(3.0), made[2].length)]
    assert [(part.offset_ns, part.seq) for part in parts_of(reads, made)] == [(ns(1.0), 1), (ns(3.0), 3)]


def test_frames_alone_come_whole_when_their_last_byte_did() -> None:
    made = decoded_parts(frames((1.0, delta("a")[:9]), (2.0, delta("a")[9:] + delta("b"))))
    assert [(part.offset_ns, part.data) for part in made] == [(ns(2.0), delta("a")), (ns(2.0), delta("b"))]


@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=12).map(sorted))
def test_whatever_the_reads_the_parts_are_every_byte_in_order_each_within_one_read_and_one_frame(
    cuts: list[int],
) -> None:
    bounds = [0, *cuts, len(BODY)]
    reads = [(1.0 + n, BODY[a:b]) for n, (a, b) in enumerate(pairwise(bounds)) if b > a]
    made = parts(*reads)
    assert b"".join(part.data for part in made) == BODY
    assert [b"".join(part.data for part in made if part.read == n) for n in range(len(reads))] == [d for _, d in reads]
    whole = [b"".join(part.data for part in frame) for frame in frames_of(made)]
    assert whole == [frame.raw for frame in frames(*reads)]
