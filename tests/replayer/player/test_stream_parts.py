"""A stream laid down once: its parts as they would be in a list, and bursts that are those parts joined."""

from __future__ import annotations

from itertools import accumulate, groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.cassette.sqlite.stream_reads import FrameTable
from omnirecord.replayer.parts import Part
from omnirecord.replayer.player.stream_parts import BURST, StreamParts

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
