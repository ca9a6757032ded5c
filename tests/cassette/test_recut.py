"""Bytes cut at other places are the same bytes, whatever was lost of them."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.cassette.framing import LONGEST, Span, cut

SPANS = st.lists(st.tuples(st.binary(max_size=6), st.booleans()), max_size=8)


def spans_of(parts: list[tuple[bytes, bool]]) -> list[Span]:
    return [(len(data), None if is_lost else data) for data, is_lost in parts]


@given(SPANS, st.lists(st.integers(0, 40), max_size=6))
def test_pieces_joined_are_the_bytes_with_zeros_for_what_was_lost(
    parts: list[tuple[bytes, bool]], cuts: list[int]
) -> None:
    whole = b"".join(bytes(len(data)) if is_lost else data for data, is_lost in parts)
    bounds = sorted({0, len(whole), *(min(at, len(whole)) for at in cuts)})
    pieces = list(cut(spans_of(parts), [end - start for start, end in pairwise(bounds)]))
    assert (
        b"".join(
            bytes(end - start) if piece is None else piece
            for piece, (start, end) in zip(pieces, pairwise(bounds), strict=True)
        )
        == whole
    )


def test_only_what_was_lost_as_a_whole_is_none() -> None:
    assert list(cut([(2, None), (2, b"ab"), (3, None)], [1, 2, 1, 3])) == [None, b"\0a", b"b", None]


def test_what_is_asked_for_beyond_the_end_was_lost() -> None:
    assert list(cut([(1, b"a")], [1, 2])) == [b"a", None]


def test_a_piece_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="more bytes than there can be"):
        list(cut([(1, b"a"), (LONGEST, None)], [LONGEST + 1]))


def test_it_is_linear() -> None:
    sizes = [1] * 20_000
    assert sum(piece is not None for piece in cut([(20_000, bytes(20_000))], sizes)) == len(list(accumulate(sizes)))
