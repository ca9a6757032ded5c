"""Moves between deltas: exact by text however both hops cut it, else by time."""

from __future__ import annotations

from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.analysis.model_calls.pairing import Piece, moves

CLIENT, MODEL = 1, 2
MS = 1_000_000


def pieces(stream: int, texts: list[str], begin: int = 0) -> list[Piece]:
    """Deltas at 1 ms, 2 ms and so on after `begin`."""
    return [Piece(stream, seq, (begin + seq) * MS, text) for seq, text in enumerate(texts, 1)]


@st.composite
def cuts(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """One text, cut in two ways."""
    text = draw(st.text("ab \n🎉", min_size=1, max_size=60))
    found = []
    for _ in range(2):
        places = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=8))})
        found.append([text[a:b] for a, b in pairwise(places)])
    return found[0], found[1]


@given(cuts())
def test_a_delta_leads_to_the_delta_with_its_last_character(both: tuple[list[str], list[str]]) -> None:
    ours, theirs = both
    found = moves(pieces(CLIENT, ours, 5), [pieces(MODEL, theirs)])
    ends = {CLIENT: [0, *accumulate(map(len, ours))], MODEL: [0, *accumulate(map(len, theirs))]}
    assert len(found) == len(ours) + len(theirs)
    for (stream, seq), move in found.items():
        assert move.by == "text"
        assert ends[move.stream][move.seq - 1] < ends[stream][seq] <= ends[move.stream][move.seq]


def test_the_texts_of_several_calls_follow_each_other() -> None:
    calls = [pieces(2, ["ab", "ab"]), pieces(3, ["abab"], 10)]
    found = moves(pieces(CLIENT, ["a", "bab", "abab"], 20), calls)
    assert [(found[CLIENT, seq].stream, found[CLIENT, seq].seq) for seq in (1, 2, 3)] == [(2, 1), (2, 2), (3, 1)]


def test_a_cut_call_and_its_retry_both_lead_to_the_text() -> None:
    calls = [pieces(2, ["The poem"]), pieces(3, ["The poem", " has three lines."], 10)]
    found = moves(pieces(CLIENT, ["The poem", " has three lines."], 20), calls)
    assert [(found[CLIENT, seq].by, found[CLIENT, seq].seq) for seq in (1, 2)] == [("text", 1), ("text", 2)]
    assert found[2, 1].seq == found[3, 1].seq == 1


def test_an_answer_that_the_client_did_not_get_whole_is_exact_as_far_as_it_came() -> None:
    found = moves(pieces(CLIENT, ["The", " poem"], 1), [pieces(MODEL, ["The", " poem", " has", " lines"])])
    assert [found[MODEL, seq].by for seq in (1, 2, 3)] == ["text", "text", "time"]
    assert (MODEL, 4) not in found


def test_without_equal_text_the_last_delta_before_it_counts() -> None:
    found = moves(pieces(CLIENT, ["une", " deux"], 2), [pieces(MODEL, ["one", " two", " three", " four"])])
    assert [(found[CLIENT, seq].seq, found[CLIENT, seq].by) for seq in (1, 2)] == [(3, "time"), (4, "time")]
    assert found[CLIENT, 1].gap_ns == 0
    assert found[MODEL, 1].seq == 1


def test_without_deltas_on_a_hop_there_is_no_move() -> None:
    assert moves([], [pieces(MODEL, ["a"])]) == moves(pieces(CLIENT, ["a"]), []) == {}


@given(
    st.lists(st.text("ab", max_size=4), max_size=8),
    st.lists(st.lists(st.text("ab", max_size=4), max_size=5), max_size=4),
)
def test_any_texts_lead_somewhere(client: list[str], calls: list[list[str]]) -> None:
    parts = [pieces(2 + n, texts, 10 * n) for n, texts in enumerate(calls)]
    found = moves(pieces(CLIENT, client), parts)
    known = {(one.stream, one.seq) for one in [*pieces(CLIENT, client), *(p for part in parts for p in part)]}
    assert all(
        (move.stream, move.seq) in known and (move.stream == CLIENT) != (place[0] == CLIENT)
        for place, move in found.items()
    )
