"""The streams of a session as one sequence: each event once, also of a recording that is read bit by bit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.model import TimedFrame
from omnirecord.omnigent.line import COPIES_WITHIN, SUBSCRIBING, Line, MergedFrame, copied, in_order, merged

MS = 1_000_000
BEAT = "session.heartbeat"
Streams = list[list[TimedFrame]]


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


def words(stream: int, heard: range, every_ms: int = 500) -> Iterator[TimedFrame]:
    return (frame(stream, n + 1, n * every_ms * MS, f"w{n}") for n in heard)


def test_an_event_that_two_streams_brought_comes_once() -> None:
    first, second = frames(1, 0, (0, "a"), (10, "b"), (10, "c")), frames(2, 15, (0, BEAT), (2, "c"), (5, "d"))
    assert told(first, second) == ["a", "b", "c", "d"]


def test_an_event_that_comes_twice_on_each_stream_comes_twice() -> None:
    first, second = frames(1, 0, (0, "a"), (10, "a")), frames(2, 1, (0, "a"), (10, "a"), (1, "a"))
    assert told(first, second) == ["a", "a", "a"]


def test_the_earliest_copy_counts() -> None:
    first, second = frames(1, 0, (0, "a"), (40, "b")), frames(2, 10, (0, "x"), (10, "b"))
    assert [(one.frame.stream, one.at_ns // MS) for one in merged([*first, *second])] == [(1, 0), (2, 10), (2, 20)]


def test_a_copy_that_comes_when_the_shorter_stream_is_over_is_a_copy() -> None:
    assert told(frames(1, 0, (0, "a"), (500, "b")), frames(2, 1, (0, "b"))) == ["a", "b"]
    assert told(frames(1, 0, (0, "a"), (500, "b")), frames(2, 1, (0, "x"), (9_000, "b"))) == ["a", "x", "b"]


def test_the_end_of_an_exchange_says_until_when_its_stream_is_open() -> None:
    def line(end_ms: int) -> list[bool]:
        found = Line()
        found.listen(1, end_ms * MS)
        all_ = in_order([list(frames(1, 0, (0, BEAT), (1, "a"))), list(frames(2, 100, (0, BEAT), (1, "b")))])
        return [one.in_snapshot for one in found.add(all_)]

    assert line(50) == [True, False, True, False]
    assert line(200) == [True, False, False]


def test_copies_differ_in_their_ids_only() -> None:
    first, second = (frame(n, 1, n, "x")._replace(raw=b"id: %d\ndata: x\n\n" % n) for n in (1, 2))
    assert len(merged([first, second])) == 1


def test_a_late_copy_is_forgotten_after_a_minute() -> None:
    late = COPIES_WITHIN // MS + 1
    streams = [frames(1, 0, (0, "a"), (late, "b")), frames(2, 1, (0, "x"), (late, "a"))]
    line = Line()
    assert [one.frame.type for one in line.add(in_order(streams))] == ["a", "x", "b", "a"]


EVENTS = st.lists(
    st.tuples(st.sampled_from([0, 0, 10, 20, 70]), st.sampled_from(["a", "b", BEAT, "lost"])), min_size=1, max_size=8
)
STREAMS = st.lists(st.tuples(st.integers(0, 300), EVENTS), max_size=4)


def streams_of(some: list[tuple[int, list[tuple[int, str]]]]) -> Streams:
    return [list(frames(number, begin, *events)) for number, (begin, events) in enumerate(some, 1)]


@given(STREAMS)
def test_it_is_what_a_look_at_all_copies_gives(some: list[tuple[int, list[tuple[int, str]]]]) -> None:
    streams = streams_of(some)
    assert merged(one for stream in streams for one in stream) == put_together(streams)


def put_together(streams: Streams) -> list[MergedFrame]:
    """The rules of `line`, at any cost: a frame is new if its stream has brought the event more often than the line."""
    line: list[MergedFrame] = []
    marks = {stream[0].stream: [heard.in_snapshot for heard in merged(stream)] for stream in streams}
    ends = {stream[0].stream: stream[-1].offset_ns for stream in streams}
    begins = {stream[0].stream: stream[0].offset_ns for stream in streams}
    seconds, brought, seen = set(), Counter[tuple[int, bytes | None]](), set[int]()
    for one in in_order(streams):
        number = one.stream
        if number not in seen and any(ends[other] >= one.offset_ns for other in seen):
            seconds.add(number)
        seen.add(number)
        if marks[number][one.seq - 1]:
            line += [] if number in seconds else [MergedFrame(one, True)]
            continue
        event = copied(one)
        since = begins[number] - SUBSCRIBING
        there = [old for old in line if copied(old.frame) == event and not old.in_snapshot and old.at_ns >= since]
        brought[number, event] += 1
        if event is None or len(there) < brought[number, event]:
            line.append(MergedFrame(one, False))
    return line


@given(STREAMS, st.lists(st.integers(0, 40)))
def test_a_recording_that_is_read_bit_by_bit_gives_the_same(
    some: list[tuple[int, list[tuple[int, str]]]], cuts: list[int]
) -> None:
    streams = streams_of(some)
    ends = {stream[0].stream: stream[-1].offset_ns for stream in streams}
    all_ = in_order(streams)
    line, found = Line(), list[MergedFrame]()
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(all_)], strict=True):
        for number, end_ns in ends.items():
            is_over = not all_[end:] or all_[end].offset_ns > end_ns
            line.listen(number, end_ns if is_over else None)
        found += line.add(all_[begin:end])
    assert found == merged(one for stream in streams for one in stream)


def test_events_that_no_stream_carried_are_not_in_the_line() -> None:
    assert told(words(1, range(10)), words(2, range(20, 40))) == [f"w{n}" for n in [*range(10), *range(20, 40)]]


def test_what_it_keeps_does_not_grow() -> None:
    line = Line()
    for n in range(1000):
        assert len(list(line.add([*words(1, range(n, n + 1), 10)]))) == 1
    assert len(line._recent) < 10
    line = Line()
    for n in range(1000):
        both = [*words(1, range(n, n + 1), 10), *words(2, range(n, n + 1), 10)]
        assert len(list(line.add(both))) == 1
    assert len(line._told) < 10 > max(len(one.brought) for one in line._open.values())


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
    assert spent(1_000) < 1.0  # 0.2
