"""Of several streams of a session, each event is told once, as it comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.analysis.turns import LiveMerge, merged
from omnirecord.model import TimedFrame

MS = 1_000_000
WORDS = [b"data: %d\n\n" % n for n in range(40)]


def frame(stream: int, seq: int, at_ms: int, raw: bytes) -> TimedFrame:
    return TimedFrame(stream, seq, at_ms * MS, None, raw, len(raw), "x", "valid", ())


def heard(streams: dict[int, range], raws: list[bytes] = WORDS, settles: int = 1) -> list[bytes | None]:
    """What is told of words that came 0.5 s after each other, each stream having heard a stretch of them. `settles`:
    the number of words in one look."""
    merge, told = LiveMerge(), list[bytes | None]()
    for number in range(0, len(raws) + 1, settles):
        look = range(number, number + settles)
        for stream, stretch in streams.items():
            if stretch.start in look:
                merge.open(stream, stretch.start * 500 * MS)
        for stream, stretch in streams.items():
            frames = [frame(stream, n + 1, n * 500, raws[n]) for n in look if n in stretch and n < len(raws)]
            told += [one.frame.raw for one in merge.add(stream, frames)]
            if stretch.stop in look:
                merge.end(stream)
        merge.settle()
    return told


def test_an_event_of_two_streams_is_told_once() -> None:
    assert heard({1: range(20), 2: range(10, 40)}) == WORDS
    assert heard({1: range(40), 2: range(10, 20)}) == WORDS


def test_copies_differ_in_their_ids_only() -> None:
    merge = LiveMerge()
    merge.open(1, 0)
    merge.open(2, 0)
    first = merge.add(1, [frame(1, 1, 0, b"id: 1\ndata: x\n\n")])
    assert len([*first, *merge.add(2, [frame(2, 1, 1, b"id: 9\ndata: x\n\n")])]) == 1


def test_an_event_that_comes_again_is_told_again() -> None:
    again = [WORDS[0]] * 10
    assert heard({1: range(10), 2: range(10)}, again) == again
    assert heard({1: range(6), 2: range(4, 10)}, again) == again


def test_an_open_stream_that_brings_nothing_holds_nothing_back() -> None:
    merge = LiveMerge()
    merge.open(1, 0)
    merge.open(2, 10 * MS)
    assert [one.frame.seq for one in merge.add(2, [frame(2, 1, 20, WORDS[0])])] == [1]


def test_what_nobody_heard_is_not_told() -> None:
    assert heard({1: range(10), 2: range(20, 40)}) == WORDS[:10] + WORDS[20:]


def test_ending_a_stream_that_was_not_heard_is_harmless() -> None:
    LiveMerge().end(7)


def test_what_it_keeps_does_not_grow() -> None:
    merge = LiveMerge()
    merge.open(1, 0)
    for number in range(1000):
        for _ in merge.add(1, [frame(1, number + 1, number * 500, b"data: %d\n\n" % number)]):
            pass
        merge.settle()
    assert len(merge._told) < 10 > len(merge._brought[1])


@given(st.lists(st.tuples(st.integers(0, 39), st.integers(1, 40)), min_size=1, max_size=5), st.integers(1, 40))
def test_following_tells_what_the_complete_recording_tells(stretches: list[tuple[int, int]], settles: int) -> None:
    streams = {n: range(begin, min(begin + length, 40)) for n, (begin, length) in enumerate(sorted(stretches), 1)}
    whole = [frame(n, at + 1, at * 500, WORDS[at]) for n, stretch in streams.items() for at in stretch]
    assert sorted(map(str, heard(streams, settles=settles))) == sorted(str(one.frame.raw) for one in merged(whole))


@given(st.lists(st.tuples(st.integers(0, 39), st.integers(1, 40)), min_size=1, max_size=5))
def test_nothing_is_told_twice_and_nothing_that_was_heard_is_lost(stretches: list[tuple[int, int]]) -> None:
    streams = {n: range(begin, begin + length) for n, (begin, length) in enumerate(stretches, 1)}
    told = heard(streams)
    ended = [word for n, word in enumerate(WORDS) if any(n in one for one in streams.values())]
    assert sorted(told, key=lambda raw: raw or b"") == sorted(set(told), key=lambda raw: raw or b"")
    assert set(told) <= set(ended)
