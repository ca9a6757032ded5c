"""The reads of a stream, several to a row: what was put in comes out, from wherever one begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.cassette.sqlite import Writer, rows, stream_rows
from omnirecord.cassette.sqlite.stream_reads import Content, ReadBlock, from_byte, from_read, reads, together
from omnirecord.cassette.sqlite.views import spliced, with_sent
from omnirecord.model import Read
from tests.support.examples import each

ONE = st.tuples(st.integers(-5, 10**12), st.none() | st.integers(0, 10**12), st.binary(max_size=9), st.booleans())
GIVEN = st.lists(st.lists(ONE, max_size=6), max_size=4)
"""Reads, by the transaction in which they came: when, when handed on, what, and whether that was lost."""


@pytest.fixture
def writer() -> Iterator[Writer]:
    writer = Writer(None)
    yield writer
    writer.connection.close()


def write(writer: Writer, given: list[list[tuple[int, int | None, bytes, bool]]]) -> None:
    pieces = stream_rows.ReadBlocks(1)
    for batch in given:
        made: list[rows.Row] = []
        for offset, sent, data, is_lost in batch:
            pieces.add(offset, sent, len(data), None if is_lost else data, made)
        writer.write([*made, *pieces.close()])


@given(GIVEN)
def test_reads_come_out_as_they_were_put_in(batches: list[list[tuple[int, int | None, bytes, bool]]]) -> None:
    flat = [one for batch in batches for one in batch]
    with closing((writer := Writer(None)).connection) as connection:
        write(writer, batches)
        assert list(reads(connection, 1)) == [Read(offset, sent, len(data)) for offset, sent, data, _ in flat]
        for number, (offset, sent, data, _) in enumerate(flat):
            content = Content(from_read(connection, 1, number))
            assert content.read(number) == Read(offset, sent, len(data))


SIZES = st.sampled_from(
    [0, 1, 150, stream_rows.READ_BLOCK_BYTES // 2, stream_rows.READ_BLOCK_BYTES, stream_rows.READ_BLOCK_BYTES + 1]
)
OF_SIZES = st.tuples(st.integers(0, 10**9), st.none() | st.integers(0, 10**9), SIZES, st.booleans())


@given(st.lists(st.lists(OF_SIZES, min_size=1, max_size=8), max_size=4), st.integers(1, 300))
def test_reads_that_are_added_together_make_the_rows_that_they_make_one_by_one(
    batches: list[list[tuple[int, int | None, int, bool]]], often: int
) -> None:
    """`often`: with 8 of 1 byte in one batch, as many as fill a row by their number."""
    together, alone = stream_rows.ReadBlocks(1), stream_rows.ReadBlocks(1)
    made: tuple[list[rows.Row], list[rows.Row]] = ([], [])
    for batch in batches:
        reads = [(at, sent, size, None if is_lost else b"x" * size) for at, sent, size, is_lost in batch]
        reads = reads * (often if all(read[2] < 200 for read in reads) else 1)
        together.add_all(*zip(*reads, strict=True), made[0])
        for read in reads:
            alone.add(*read, made[1])
    assert [*made[0], *together.close()] == [*made[1], *alone.close()]


@given(GIVEN, st.integers(0, 60), st.integers(0, 60))
def test_bytes_come_out_from_anywhere_to_anywhere(
    batches: list[list[tuple[int, int | None, bytes, bool]]], start: int, end: int
) -> None:
    flat = [one for batch in batches for one in batch]
    whole = b"".join(data for *_, data, _ in flat)
    lost = {
        at
        for (*_, data, is_lost), last in zip(flat, accumulate(len(one[2]) for one in flat), strict=True)
        for at in range(last - len(data), last)
        if is_lost
    }
    found = bytearray()
    with closing((writer := Writer(None)).connection) as connection:
        write(writer, batches)
        for piece in from_byte(connection, 1, start):
            part = piece.before(end)
            assert (part.data is None) <= ({*range(part.start, part.end)} <= lost)
            found += bytes(part.size) if part.data is None else part.data
            assert sum(part.sizes) == part.size
    expected = bytes(0 if at in lost else byte for at, byte in enumerate(whole))
    assert found == expected[start:end]


def test_a_row_has_as_many_reads_as_are_quick_to_look_at() -> None:
    pieces, made = stream_rows.ReadBlocks(1), list[rows.Row]()
    for n in range(stream_rows.READS_PER_BLOCK + 1):
        pieces.add(n, None, 100, bytes(100), made)
    assert (len(made), len(pieces.close())) == (1, 1)
    for _ in range(3):
        pieces.add(0, None, stream_rows.READ_BLOCK_BYTES, bytes(stream_rows.READ_BLOCK_BYTES), made)
    assert (len(made), len(pieces.close()), pieces.close()) == (3, 1, [])


def test_rows_that_fit_into_a_page_share_it_with_others(writer: Writer) -> None:
    reads_of = {"small": 10, "two thirds": 70, "more than one": 110}
    made = {}
    for what, many in reads_of.items():
        pieces = stream_rows.ReadBlocks(1)
        for n in range(many):
            pieces.add(n, None, 150, bytes([n]) * 150, out := [])
            assert not out
        made[what] = pieces.close()
    assert {what: len(some) for what, some in made.items()} == {"small": 1, "two thirds": 5, "more than one": 1}
    writer.write(made["two thirds"])
    (longest,) = writer.connection.execute("SELECT max(length(reads) + length(data)) FROM read_blocks").fetchone()
    assert longest <= stream_rows.ROW_BYTES
    assert list(reads(writer.connection, 1)) == [Read(n, None, 150) for n in range(70)]
    assert b"".join(piece.data or b"" for piece in from_read(writer.connection, 1, 0)) == b"".join(
        bytes([n]) * 150 for n in range(70)
    )


def test_what_is_handed_on_late_gets_its_time_in_whichever_row_it_is(writer: Writer) -> None:
    write(writer, [[(10, None, b"a", False), (20, 21, b"b", False)], [(30, None, b"c", False)]])
    writer.write([stream_rows.reads_sent(1, [(0, 15), (2, 35)])])
    assert [one.sent_ns for one in reads(writer.connection, 1)] == [15, 21, 35]


def test_what_is_masked_late_is_masked_where_it_is(writer: Writer) -> None:
    pieces, made = stream_rows.ReadBlocks(1), list[rows.Row]()
    pieces.add(0, None, 6, b"secret", made)
    writer.write(pieces.close())
    pieces.add(1, None, 4, b"more", made)
    late = list(pieces.again(1, b"**"))
    late += pieces.again(7, b"*")
    writer.write([*late, *pieces.close()])
    assert [piece.data for piece in from_read(writer.connection, 1, 0)] == [b"s**ret", b"m*re"]


@each(("at", "made"), [(0, b"xbc"), (2, b"abx"), (3, b"abc"), (-1, b"abc")])
def test_other_bytes_go_nowhere_but_where_there_are_some(at: int, made: bytes) -> None:
    assert spliced(b"abc", at, b"x") == made
    assert spliced(None, at, b"x") is None


def test_a_row_of_other_reads_stays_as_it_is() -> None:
    assert with_sent("[[0,null,1]]", 5, 100, "[[4,1],[6,1]]") == "[[0,null,1]]"
    assert with_sent("[[0,null,1]]", 5, 100, "[[5,101]]") == "[[0,1,1]]"


def test_rows_that_do_not_follow_each_other_are_refused(writer: Writer) -> None:
    write(writer, [[(0, None, b"ab", False)], [(1, None, b"cd", False)], [(2, None, b"ef", False)]])
    writer.connection.execute("DELETE FROM read_blocks WHERE n = 1")
    with pytest.raises(ValueError, match="lacks some of its reads"):
        list(from_read(writer.connection, 1, 0))
    assert [piece.data for piece in from_byte(writer.connection, 1, 4)] == [b"ef"]


@given(GIVEN, st.integers(0, 40))
def test_small_rows_are_looked_at_together_and_are_the_same_reads(
    batches: list[list[tuple[int, int | None, bytes, bool]]], most: int
) -> None:
    with closing((writer := Writer(None)).connection) as connection:
        write(writer, batches)
        apart = list(from_byte(connection, 1, 0))
        joined = list(together(iter(apart), most))

    def flat(pieces: list[ReadBlock]) -> list[Read]:
        return [piece.read(n) for piece in pieces for n in range(piece.n, piece.next)]

    assert flat(joined) == flat(apart)
    assert [piece.data for piece in joined if piece.data is None] == [None for one in apart if one.data is None]
    assert b"".join(one.data or b"" for one in joined) == b"".join(one.data or b"" for one in apart)
