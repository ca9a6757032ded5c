"""What happened is taken over in portions: nothing twice, nothing out of order, and never long in one go."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.recorder.files import RecordingFile
from omnirecord.recorder.intervals import PORTION
from omnirecord.recorder.operations import (
    HELD,
    BodyData,
    Ended,
    Messaged,
    Op,
    Received,
    SentLate,
    drop_bytes,
    held,
    take_batches,
)
from tests.support.recording_files import file_in

Waiting = deque[tuple[RecordingFile, Op]]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RecordingFile]]:
    folder = tmp_path_factory.mktemp("files")
    with file_in(folder / "one.db") as one, file_in(folder / "two.db") as other:
        other.index = one.index + 1
        yield [one, other]


def happened(sizes: list[int], file: RecordingFile) -> Waiting:
    return deque((file, BodyData(n, "response", b"x" * size)) for n, size in enumerate(sizes))


@given(st.lists(st.tuples(st.integers(0, 1), st.none() | st.integers(0, 50)), max_size=60), st.integers(1, 120))
def test_all_of_it_comes_out_once_and_in_order(
    two: list[RecordingFile], what: list[tuple[int, int | None]], most: int
) -> None:
    ops: list[tuple[RecordingFile, Op]] = [
        (two[file], Ended(n, 0, "eof") if size is None else BodyData(n, "response", b"x" * size))
        for n, (file, size) in enumerate(what)
    ]
    waiting, came = deque(ops), []
    while waiting:
        batches = take_batches(waiting, most, None)
        came += [(batch.file, op) for batch in batches for op in batch.ops]
        sizes = [held(op) for batch in batches for op in batch.ops]
        assert sum(batch.size for batch in batches) == sum(sizes)
        assert sum(sizes[:-1]) < most, "it ends with what makes it enough"
    assert came == ops


def test_another_file_begins_another_batch(two: list[RecordingFile]) -> None:
    one, other = two
    waiting: Waiting = deque((file, Ended(n, 0, "eof")) for n, file in enumerate((one, one, other, one)))
    assert [(batch.file, len(batch.ops)) for batch in take_batches(waiting, 10_000, None)] == [
        (one, 2),
        (other, 1),
        (one, 1),
    ]


def test_others_have_their_turn_behind_each_portion(two: list[RecordingFile]) -> None:
    waiting, left = happened([1] * (2 * PORTION + 1), two[0]), []
    (batch,) = take_batches(waiting, 1000 * PORTION, lambda: left.append(len(waiting)))
    assert left == [PORTION + 1, 1]
    batch.free(lambda: left.append(len(batch.ops)))
    assert left[2:] == [PORTION + 1, 1, 0]


def test_what_comes_meanwhile_is_for_the_next_time(two: list[RecordingFile]) -> None:
    """Else it would never end: while others have their turn, there is always more."""
    waiting = happened([1] * PORTION, two[0])
    (batch,) = take_batches(waiting, 1000 * PORTION, lambda: waiting.extend(happened([1] * PORTION, two[0])))
    assert len(batch.ops) == len(waiting) == PORTION


def test_what_there_is_no_time_for_keeps_its_order_its_sizes_and_its_ends(two: list[RecordingFile]) -> None:
    """The reads of a stream become one without bytes; what was dropped before is not counted again."""
    one, other = two
    reads = [Received(1, n, 10 + n, 5, b"x" * 5 if n else None, file=one.index) for n in range(4)]
    message, body, end = Messaged(2, 0, 0, "up", 1, b"12"), BodyData(3, "request", b"123"), Ended(1, 99, "eof")
    elsewhere = Received(1, 0, 0, 7, b"x" * 7, file=other.index)
    waiting: Waiting = deque((one, op) for op in (*reads, SentLate(reads[0]), message, body, end))
    waiting.append((other, elsewhere))
    left = drop_bytes(waiting, 1 << 20, lambda: False)
    assert not waiting
    assert (left.size, left.pieces) == (15 + 2 + 3 + 7, 6)
    assert [(batch.file, batch.ops) for batch in left.batches] == [
        (one, [reads[0], message, body, end]),
        (other, [elsewhere]),
    ]
    assert (reads[0].size, reads[0].data, message.data, body.data) == (20, None, None, None)


def test_operations_for_which_there_is_no_time_stay(two: list[RecordingFile]) -> None:
    waiting = happened([1] * 5000, two[0])
    left = drop_bytes(waiting, 1 << 20, lambda: True)
    assert left.is_cut
    assert len(waiting) + left.pieces == 5000
    assert waiting


def test_what_is_left_is_cut_into_batches_in_order(two: list[RecordingFile]) -> None:
    waiting = happened([1000] * 50, two[0])
    ops = [op for _, op in waiting]
    left = drop_bytes(waiting, 10 * HELD, lambda: False)
    assert [op for batch in left.batches for op in batch.ops] == ops
    assert [len(batch.ops) for batch in left.batches] == [10] * 5
