"""Of several streams of a session, each event is told once, as it comes."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.analysis.turns import LiveMerge
from omnirecord.model import TimedFrame

MS = 1_000_000
WORDS = [b"data: %d\n\n" % n for n in range(40)]


def frame(stream: int, seq: int, at_ms: int, raw: bytes) -> TimedFrame:
    return TimedFrame(stream, seq, at_ms * MS, None, raw, len(raw), "x", "valid", ())


def heard(streams: dict[int, range]) -> list[bytes | None]:
    """What is told of words that came a millisecond after each other, each stream having heard a stretch of them."""

    def tell() -> Iterator[TimedFrame]:
        for number, raw in enumerate(WORDS):
            for stream, stretch in streams.items():
                if number in stretch:
                    yield from (one.frame for one in merge.add(stream, [frame(stream, number + 1, number * 500, raw)]))
                if number == stretch.stop:
                    yield from (one.frame for one in merge.end(stream))

    merge = LiveMerge()
    return [one.raw for one in tell()]


def test_the_first_stream_is_listened_to_and_the_next_one_takes_over() -> None:
    assert heard({1: range(20), 2: range(10, 40)}) == WORDS


def test_a_second_stream_that_ends_first_changes_nothing() -> None:
    assert heard({1: range(40), 2: range(10, 20)}) == WORDS


def test_what_nobody_heard_is_not_told() -> None:
    assert heard({1: range(10), 2: range(20, 40)}) == WORDS[:10] + WORDS[20:]


def test_ending_a_stream_that_was_not_heard_is_harmless() -> None:
    assert list(LiveMerge().end(7)) == []


@given(st.lists(st.tuples(st.integers(0, 39), st.integers(1, 40)), min_size=1, max_size=5))
def test_nothing_is_told_twice_and_nothing_that_was_heard_is_lost(stretches: list[tuple[int, int]]) -> None:
    streams = {n: range(begin, begin + length) for n, (begin, length) in enumerate(stretches, 1)}
    told = heard(streams)
    ended = [word for n, word in enumerate(WORDS) if any(n in one for one in streams.values())]
    assert sorted(told, key=lambda raw: raw or b"") == sorted(set(told), key=lambda raw: raw or b"")
    assert set(told) <= set(ended)
