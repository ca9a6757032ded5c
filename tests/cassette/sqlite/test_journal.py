"""The journal: a reader sees its reads, each once, and a writer moves what a killed recorder left in it."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from omnirecord.cassette.sqlite import Store, Writer, rows
from omnirecord.errors import BrokenCassette
from omnirecord.model import Read, Recording
from omnirecord.omnigent.contract import load
from omnirecord.recorder.frames import FrameMaker
from omnirecord.recorder.operations import Ended, Op, Received, Requested, Responded, SentLate
from omnirecord.recorder.rows import RowMaker
from omnirecord.redaction.redactor import Redactor
from tests.support.wire import event


class Recorder:
    """The rows of two streams that are recorded at once, written as a recorder writes them."""

    def __init__(self, path: Path) -> None:
        self.writer = Writer(path)
        self.row_maker = RowMaker(1, Redactor(b"key"), FrameMaker(self.writer, 1, load("omnigent")))
        self.writer.write([rows.recording(Recording(1, "2026-01-01T00:00:00Z", "0", "omnigent", None))])
        for number in (1, 2):
            self.commit(Requested(number, "client", 1, "GET", "/v1/sessions/s/stream", ()))
            self.commit(Responded(number, "sse", number, 2, 200, "OK", ()))

    def commit(self, *ops: Op) -> None:
        self.writer.write(self.row_maker.rows(ops))

    def settle(self) -> None:
        self.row_maker.settle(self.writer.write)

    def counts(self) -> tuple[int, int]:
        """The rows of `journal` and of `read_blocks`."""
        query = "SELECT (SELECT count(*) FROM journal), (SELECT count(*) FROM read_blocks)"
        found: tuple[int, int] = self.writer.connection.execute(query).fetchone()
        return found


def read(exchange: int, n: int, sent_ns: int | None = 20) -> Received:
    data = event(10 * exchange + n)
    return Received(exchange, n, 10 + n, len(data), data, sent_ns)


def body(exchange: int, reads: int) -> bytes:
    return b"".join(event(10 * exchange + n) for n in range(reads))


def bodies(path: Path) -> list[bytes]:
    with closing(Store.open(path)) as store:
        return [store.wire(x) for x in store.exchanges()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@pytest.fixture
def recorder(path: Path) -> Iterator[Recorder]:
    recorder = Recorder(path)
    yield recorder
    recorder.writer.close()


def test_a_commit_is_one_row_for_all_streams(recorder: Recorder, path: Path) -> None:
    recorder.commit(read(1, 0), read(2, 0), read(1, 1))
    assert recorder.counts() == (1, 0)
    assert bodies(path) == [body(1, 2), body(2, 1)]


def test_settled_reads_are_one_row_for_each_stream_and_leave_the_journal(recorder: Recorder, path: Path) -> None:
    for n in range(5):
        recorder.commit(read(1, n), read(2, n))
    recorder.settle()
    assert recorder.counts() == (0, 2)
    assert bodies(path) == [body(1, 5), body(2, 5)]


def test_a_read_in_both_places_counts_once(recorder: Recorder, path: Path) -> None:
    recorder.commit(read(1, 0), read(2, 0))
    recorder.commit(read(1, 1), Ended(1, 30, "eof"))  # its rows are written at once
    recorder.commit(read(2, 1))
    assert recorder.counts() == (2, 1)
    assert bodies(path) == [body(1, 2), body(2, 2)]


def test_a_full_block_is_written_without_waiting(recorder: Recorder, path: Path) -> None:
    large = b"data: " + b"x" * 70_000 + b"\n\n"
    recorder.commit(read(1, 0))
    recorder.commit(Received(1, 1, 11, len(large), large), read(1, 2))
    assert recorder.counts()[1] == 1
    assert bodies(path)[0] == event(10) + large + event(12)


def test_a_read_that_is_handed_on_after_its_commit_gets_its_time(recorder: Recorder, path: Path) -> None:
    late = read(1, 0, sent_ns=None)
    recorder.commit(late)
    late.sent_ns = 77
    recorder.commit(SentLate(late))
    expected = [Read(10, 77, late.size)]
    with closing(Store.open(path)) as store:
        assert store.reads(1) == expected
    recorder.settle()
    with closing(Store.open(path)) as store:
        assert store.reads(1) == expected


def test_a_failed_write_of_the_rows_is_tried_again(recorder: Recorder, path: Path) -> None:
    def refuse(_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    recorder.commit(read(1, 0))
    with pytest.raises(sqlite3.OperationalError):
        recorder.row_maker.settle(refuse)
    recorder.commit(read(1, 1))
    assert bodies(path)[0] == body(1, 2)
    recorder.settle()
    assert recorder.counts() == (0, 2)
    assert bodies(path)[0] == body(1, 2)


def test_the_next_writer_moves_what_a_killed_recorder_left(recorder: Recorder, path: Path) -> None:
    recorder.commit(read(1, 0), read(2, 0))
    recorder.writer.connection.close()
    recorder.writer._lock.release()  # type: ignore[union-attr]
    recorder.writer._lock = None
    with closing(Writer(path)) as writer:
        assert writer.connection.execute("SELECT count(*) FROM journal").fetchone() == (0,)
    assert bodies(path) == [body(1, 1), body(2, 1)]


@pytest.mark.parametrize(
    ("numbers", "data"),
    [
        ((1, 0, 0, 10, 20), b""),
        ((1, 0, 0, 10, 20, 5), b"1234"),
        ((1, 0, 0, 10, 20, 4), b"12345"),
        ((1, 0, 7, 10, 20, 4), b"1234"),
        ((1, -1, 0, 10, 20, 4), b"1234"),
        ((1, 0, 0, 1 << 62, 20, 4), b"1234"),
        ((1, 0, 0, 10, 20, -2), b""),
    ],
)
def test_a_row_that_no_recorder_writes_is_a_broken_cassette(
    recorder: Recorder, path: Path, numbers: tuple[int, ...], data: bytes
) -> None:
    row = (array("q", numbers).tobytes(), data)
    recorder.writer.connection.execute("INSERT INTO journal VALUES (NULL, ?, ?)", row)
    with pytest.raises(BrokenCassette, match=r"run\.db"):
        bodies(path)
