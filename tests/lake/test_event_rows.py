"""Reads that follow from events are not stored, and come back."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite.stream_reads import FrameTable
from omnirecord.lake.event_rows import derived_reads, is_text, underived
from tests.support.cassettes import SHIPPED


def there_and_back(table: FrameTable) -> tuple[list[tuple[int, int | None, int]], int]:
    """The reads as a lake gives them back, and the number of those that it stores."""
    frames = table.frames(1)
    stored = {n: (table.came[n], table.sent[n], table.sizes[n]) for n in underived(table)}
    events = [(frame.offset_ns, frame.sent_ns, frame.length) for frame in frames]
    return list(derived_reads(events, stored)), len(stored)


@given(
    st.lists(st.integers(1, 9), max_size=12),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([None, 1, 2]), st.integers(0, 3)), max_size=40),
)
def test_any_reads_come_back_whatever_their_sizes_and_times(
    lengths: list[int], cuts: list[tuple[int, int | None, int]]
) -> None:
    ends, left = list(accumulate(lengths)), sum(lengths)
    came, sent, sizes = [], [], []  # type: list[int], list[int | None], list[int]
    for at, sent_at, size in cuts:
        came.append((came[-1] if came else 0) + at)
        sent.append(sent_at)
        sizes.append(min(size, left))
        left -= sizes[-1]
    if left:
        came.append(99)
        sent.append(None)
        sizes.append(left)
    read_ends = list(accumulate(sizes))
    reads = [next(n for n, end in enumerate(read_ends) if end >= frame_end) for frame_end in ends]
    many = len(ends)
    table = FrameTable(bytes(sum(lengths)), ends, reads, [None] * many, ["valid"] * many, {}, came, sent, sizes)
    found, _ = there_and_back(table)
    assert found == list(zip(came, sent, sizes, strict=True))


def test_nearly_no_read_of_the_shipped_cassettes_is_stored() -> None:
    stored = total = 0
    for path in sorted(SHIPPED.glob("*.jsonl")):
        store = open_store(path)
        for x in store.streams():
            table = store.frame_table(x)
            assert table is not None
            found, kept = there_and_back(table)
            assert found == [(one.offset_ns, one.sent_ns, one.size) for one in store.reads(x.exchange)]
            assert table.frames(x.stream or 0) == list(store.frames(x))
            stored, total = stored + kept, total + len(found)
        store.close()
    assert stored < total / 50


def test_a_character_that_two_frames_share_makes_a_stream_no_text() -> None:
    assert is_text(FrameTable("é".encode() * 2, [2, 4]))
    assert not is_text(FrameTable("é".encode() * 2, [1, 4]))
    assert not is_text(FrameTable(b"\xff", [1]))
