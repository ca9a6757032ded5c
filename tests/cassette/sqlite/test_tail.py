"""A tail has each frame of a growing stream once, as soon as its bytes are committed."""

from __future__ import annotations

import gc
import gzip
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.cassette.sqlite import Store, Writer, rows
from omnirecord.cassette.sqlite.tail import Tail
from omnirecord.model import Recording, TimedFrame
from omnirecord.omnigent.contract import load
from omnirecord.recorder.frames import FrameMaker
from omnirecord.recorder.operations import Ended, Op, Received, Requested, Responded
from omnirecord.recorder.rows import RowMaker
from omnirecord.redaction.redactor import Redactor
from tests.recorder.test_rows import EVERYTHING
from tests.support.examples import examples
from tests.support.wire import event

DELTAS = b"".join(event(n) for n in range(40))


class Recording1:
    """One stream that grows, in memory: what a recorder does with it, and what a tail finds."""

    def __init__(self, *, gzipped: bool = False, contract: str = "omnigent") -> None:
        self.writer = Writer(None)
        self.row_maker = RowMaker(1, Redactor(b"key"), FrameMaker(self.writer, 1, load("omnigent")))
        self.writer.write([rows.recording(Recording(1, "2026-01-01T00:00:00Z", "0", contract, None))])
        self.put(Requested(1, "client", 1, "GET", "/v1/sessions/s/stream", ()))
        self.put(Responded(1, "sse", 1, 2, 200, "OK", (("Content-Encoding", "gzip"),) if gzipped else ()))
        self.reads = 0
        self.tail, self.after = Tail(), 0

    def put(self, *ops: Op) -> None:
        self.writer.write(self.row_maker.rows(ops))

    def read(self, data: bytes) -> None:
        self.put(Received(1, self.reads, 10 + self.reads, len(data), data, 20 + self.reads))
        self.reads += 1

    def settle(self) -> None:
        self.row_maker.settle(self.writer.write)

    def make(self) -> None:
        self.settle()
        while self.row_maker.frames.behind:
            list(self.row_maker.frames.make())

    def look(self, *, is_over: bool = False, most: int | None = None, at_once: int | None = None) -> list[TimedFrame]:
        store = Store(self.writer.connection)
        self.tail.look(store, at_once)
        left_out = self.tail.left_out()
        self.tail.open(store, [1])
        if is_over:
            self.tail.end(1)
        self.left_out = left_out + (0 if most is None else self.tail.leave_out(1, most))
        (x,) = store.exchanges()
        found = list(self.tail.frames(store, x, self.after))
        self.after = found[-1].seq if found else self.after
        self.writer.connection.execute("ROLLBACK")
        return found

    def frames(self) -> list[TimedFrame]:
        store = Store(self.writer.connection)
        (x,) = store.exchanges()
        found = list(store.frames(x))
        self.writer.connection.execute("ROLLBACK")
        return found


@pytest.fixture
def growing() -> Iterator[Recording1]:
    one = Recording1()
    with closing(one.writer.connection):
        yield one


def test_frames_come_before_the_recorder_has_made_any(growing: Recording1) -> None:
    growing.read(event(0) + event(1)[:20])
    assert [frame.raw for frame in growing.look()] == [event(0)]
    growing.read(event(1)[20:])
    assert [(frame.seq, frame.raw, frame.offset_ns) for frame in growing.look()] == [(2, event(1), 11)]
    assert growing.look() == []


@settings(deadline=None, max_examples=examples(80))
@given(
    st.lists(st.integers(0, len(EVERYTHING + DELTAS)), max_size=25),
    st.lists(st.sampled_from(["", "look", "settle", "make", "settle look", "make look"]), min_size=26, max_size=26),
    st.booleans(),
)
def test_each_frame_comes_once_whenever_one_looks_and_whatever_the_recorder_does(
    cuts: list[int], steps: list[str], gzipped: bool
) -> None:
    content = EVERYTHING.removesuffix(b'data: {"type": "respo') + DELTAS
    data = gzip.compress(content) if gzipped else content
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    one = Recording1(gzipped=gzipped)
    found: list[TimedFrame] = []
    with closing(one.writer.connection):
        for (begin, end), step in zip(pairwise(bounds), steps, strict=False):
            one.read(data[begin:end])
            if "settle" in step:
                one.settle()
            if "make" in step:
                one.make()
            if "look" in step:
                found += one.look()
        one.put(Ended(1, 99, "eof"))
        found += one.look(is_over=True)
        one.make()
        assert found == one.frames()


def test_the_unfinished_frame_comes_at_the_end(growing: Recording1) -> None:
    growing.read(event(0) + b"data: {")
    assert len(growing.look()) == 1
    growing.put(Ended(1, 99, "eof"))
    assert [(frame.raw, frame.verdict) for frame in growing.look(is_over=True)] == [(b"data: {", "truncated")]
    assert growing.look(is_over=True) == []


def test_deltas_are_left_out_before_other_events(growing: Recording1) -> None:
    growing.read(DELTAS)  # the contract learns what these deltas look like
    growing.look()
    failed = b'data: {"type": "session.heartbeat", "server_time": null}\n\n'
    growing.read(DELTAS + failed + DELTAS)
    assert [frame.seq for frame in growing.look(most=3)] == [80, 81, 121]
    assert growing.left_out == 78


def test_a_stream_whose_first_events_were_left_out_holds_no_queue(growing: Recording1) -> None:
    growing.look()
    before = queues()
    growing.read(DELTAS)
    growing.tail.look(Store(growing.writer.connection), 0)
    assert growing.tail.left_out() == 40
    assert queues() == before
    growing.writer.connection.execute("ROLLBACK")


def queues() -> int:
    """The number of queues in this process."""
    return sum(type(one) is deque for one in gc.get_objects())


def test_frames_that_come_after_some_were_left_out_all_stay(growing: Recording1) -> None:
    growing.read(event(0))
    growing.look()
    growing.read(DELTAS)
    growing.tail.look(Store(growing.writer.connection))
    assert growing.tail.leave_out(1, 2) == 39
    growing.writer.connection.execute("ROLLBACK")
    growing.read(b"".join(map(event, range(5))))
    assert len(growing.look()) == 1 + 5


@settings(deadline=None, max_examples=examples(80))
@given(st.lists(st.integers(0, len(EVERYTHING + DELTAS)), max_size=25), st.sampled_from([0, 1, 5, 1000]))
def test_frames_that_are_left_out_unmade_are_counted_as_the_recorder_counts_them(cuts: list[int], most: int) -> None:
    data = DELTAS + EVERYTHING.removesuffix(b'data: {"type": "respo') + DELTAS
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    one = Recording1()
    found: list[TimedFrame] = []
    left_out = 0
    with closing(one.writer.connection):
        for begin, end in pairwise(bounds):
            one.read(data[begin:end])
            found += one.look(at_once=most)
            left_out += one.left_out
        one.put(Ended(1, 99, "eof"))
        found += one.look(is_over=True)
        one.make()
        of = {frame.seq: frame for frame in one.frames()}
        assert found == [of[frame.seq] for frame in found]
        assert len(found) + left_out == len(of)


def test_events_other_than_deltas_are_made_however_much_comes(growing: Recording1) -> None:
    growing.read(event(0))
    growing.look()
    growing.read(DELTAS)
    assert growing.look(at_once=10) == []
    growing.read(b'event: response.completed\ndata: {"type": "response.completed"}\n\n' + DELTAS)
    assert growing.look(at_once=10)[0].seq == 42


def test_a_stream_at_full_speed_is_counted_from_look_to_look(growing: Recording1) -> None:
    growing.read(event(0))
    growing.look(at_once=10)
    many = b"".join(event(n) for n in range(40_000))
    for start in range(0, len(many), 65_521):  # reads that end within events
        growing.read(many[start : start + 65_521])
    growing.settle()
    assert growing.look(at_once=10) == []
    growing.read(event(1))
    assert [frame.seq for frame in growing.look(at_once=10)] == [40_002]


def test_an_event_that_comes_in_two_reads_is_no_delta_either(growing: Recording1) -> None:
    growing.read(event(0))
    growing.look(at_once=10)
    failed = b'event: response.failed\ndata: {"type": "response.failed"}\n\n'
    growing.read(DELTAS + failed[:12])
    found = growing.look(at_once=10)
    growing.read(failed[12:] + DELTAS)
    found += growing.look(at_once=10)
    assert [frame.type for frame in found] == ["response.failed"]


def test_a_stream_that_a_contract_file_judges_is_left_to_the_recorder() -> None:
    one = Recording1(contract="openapi.json")
    with closing(one.writer.connection):
        store = Store(one.writer.connection)
        one.tail.look(store)
        one.tail.open(store, [1])
        assert not one.tail.has(1)


def test_a_tail_goes_on_after_the_file_is_opened_again(tmp_path: Path) -> None:
    """As a follower does: it opens the file at each look."""
    path, tail = tmp_path / "run.db", Tail()
    with closing(Writer(path)) as writer:
        row_maker = RowMaker(1, Redactor(b"key"), FrameMaker(writer, 1, load("omnigent")))
        writer.write([rows.recording(Recording(1, "2026-01-01T00:00:00Z", "0", "omnigent", None))])
        writer.write(
            row_maker.rows([Requested(1, "client", 1, "GET", "/", ()), Responded(1, "sse", 1, 2, 200, "", ())])
        )
        seen: list[int] = []
        for n in range(6):
            writer.write(row_maker.rows([Received(1, n, 10 + n, len(event(n)), event(n), None)]))
            if n == 3:
                row_maker.settle(writer.write)
            with closing(Store.open(path, follows=True)) as store:
                tail.look(store)
                tail.open(store, [1])
                seen += [frame.seq for frame in tail.frames(store, store.exchanges()[0], len(seen))]
        assert seen == [1, 2, 3, 4, 5, 6]


def test_a_stream_with_too_many_new_bytes_goes_on_from_its_stored_frames(growing: Recording1) -> None:
    growing.look()
    large = b'data: {"type": "session.heartbeat", "server_time": "' + b"x" * 60_000 + b'"}\n\n'
    for _ in range(80):
        growing.read(large)
    growing.make()
    growing.read(event(0))
    assert [frame.seq for frame in growing.look()] == [*range(1, 82)]
    assert growing.look() == []
