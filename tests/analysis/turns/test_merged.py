"""What several streams brought, each event told once; `test_story` has it told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.analysis.turns import SUBSCRIBING, MergedFrame, copied, merged
from omnirecord.model import TimedFrame

MS = 1_000_000
BEAT = "session.heartbeat"


def frame(stream: int, seq: int, at_ns: int, what: str) -> TimedFrame:
    raw = None if what == "lost" else f'data: {{"type": "{what}"}}\n\n'.encode()
    return TimedFrame(stream, seq, at_ns, at_ns, raw, 20, None if raw is None else what, "valid", ())


def frames(stream: int, begin_ms: int, *events: tuple[int, str]) -> Iterator[TimedFrame]:
    at = begin_ms
    for seq, (after_ms, what) in enumerate(events, 1):
        at += after_ms
        yield frame(stream, seq, at * MS, what)


def told(*streams: Iterator[TimedFrame]) -> list[str]:
    return [heard.frame.type or "lost" for heard in merged(one for stream in streams for one in stream)]


def test_what_two_streams_brought_is_told_once() -> None:
    first, second = frames(1, 0, (0, "a"), (10, "b"), (10, "c")), frames(2, 15, (0, BEAT), (2, "c"), (5, "d"))
    assert told(first, second) == ["a", "b", "c", "d"]


def test_the_same_said_twice_is_told_twice() -> None:
    first, second = frames(1, 0, (0, "a"), (10, "a")), frames(2, 1, (0, "a"), (10, "a"), (1, "a"))
    assert told(first, second) == ["a", "a", "a"]


def test_a_copy_that_comes_when_the_shorter_stream_is_over_is_one_all_the_same() -> None:
    assert told(frames(1, 0, (0, "a"), (500, "b")), frames(2, 1, (0, "b"))) == ["a", "b"]


EVENTS = st.lists(
    st.tuples(st.sampled_from([0, 0, 10, 20, 70]), st.sampled_from(["a", "b", BEAT, "lost"])), min_size=1, max_size=8
)


@given(st.lists(st.tuples(st.integers(0, 300), EVENTS), max_size=4))
def test_it_is_the_streams_put_together_one_after_the_other(streams: list[tuple[int, list[tuple[int, str]]]]) -> None:
    all_ = [list(frames(number, begin, *events)) for number, (begin, events) in enumerate(streams, 1)]
    assert merged(one for stream in all_ for one in stream) == put_together(all_)


def put_together(streams: list[list[TimedFrame]]) -> list[MergedFrame]:
    """What `merged` promises, at any cost: each stream is held against all that the others brought since it began."""
    line: list[MergedFrame] = []
    for stream in sorted(streams, key=lambda stream: stream[0].offset_ns):
        heard = list(merged(stream))  # of one stream, only the connect snapshot is marked
        begin = heard[0].at_ns
        if line and max(one.at_ns for one in line) >= begin:
            heard = [one for one in heard if not one.in_snapshot]
        before = [one for one in line if one.at_ns >= begin - SUBSCRIBING and not one.in_snapshot]
        copies = Counter(copied(one.frame) for one in before)
        for one in heard:
            raw = None if one.in_snapshot else copied(one.frame)
            if raw is not None and copies[raw]:
                copies[raw] -= 1
            else:
                line.append(one)
    return sorted(line, key=lambda one: one.at_ns)


def spent(streams: int) -> float:
    """CPU seconds for one stream of 20,000 events and so many short ones beside it."""
    one = list(frames(1, 0, *((10, f"e{number}") for number in range(20_000))))
    others = [list(frames(n + 2, n * 10, *((10, f"e{n + k + 1}") for k in range(10)))) for n in range(streams)]
    begun = time.process_time()
    line = merged([*one, *(each for other in others for each in other)])
    took = time.process_time() - begun
    assert len(line) == 20_000
    return took


def test_many_short_streams_beside_a_long_one_are_no_more_work_than_their_events() -> None:
    spent(10)  # warm
    assert spent(1_000) < 1.0  # 0.2; where each was held against the whole of the long one it took 10
