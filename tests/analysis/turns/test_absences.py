"""When nobody listened: told in the turn, and no silence."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.analysis.gather import whole_sessions
from omnirecord.analysis.turns.builder import absences_of, leavings_of
from omnirecord.analysis.turns.values import Listening
from omnirecord.cassette.open import open_store
from tests.support.cassettes import Made, completed, created, delta, heartbeat, status

CASSETTES = Path(__file__).parent.parent.parent.parent / "cassettes"
S = 1_000_000_000


def listening(from_s: int, until_s: int | None) -> Listening:
    return Listening(1, "client", from_s * S, None if until_s is None else until_s * S, "client_left")


def test_an_absence_is_a_stretch_without_any_stream() -> None:
    heard = [listening(0, 3), listening(1, 2), listening(5, 6), listening(6, None), listening(9, 10)]
    assert absences_of(heard) == [(3 * S, 5 * S)]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20))))
def test_an_absence_overlaps_no_stream(stretches: list[tuple[int, int]]) -> None:
    heard = [listening(begin, begin + length) for begin, length in stretches]
    for begin, end in absences_of(heard):
        assert begin < end
        assert all(one.until_ns <= begin or one.from_ns >= end for one in heard if one.until_ns)


def test_a_client_that_leaves_while_another_listens_on_is_told() -> None:
    assert leavings_of([listening(0, 9), listening(1, 3), listening(4, 9)]) == [3 * S]
    assert leavings_of([listening(0, 3), listening(5, None), listening(6, 7)]) == [7 * S]
    assert leavings_of([listening(0, 3)]) == leavings_of([]) == []
    store = open_store(CASSETTES / "two_clients.jsonl")
    (one,) = whole_sessions(store)
    store.close()
    assert [note.text for note in one.turns[0].notes] == ["a client left; another one went on listening"]


def test_a_silence_knows_for_how_much_of_it_nobody_was_there() -> None:
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), (2.0, status("running")), (2.0, created()), (3.0, delta("a")), end=4.0)
    made.stream("s", 14.0, (14.0, heartbeat()), (20.0, delta("b", 2)), (20.0, completed()), (20.0, status("idle")))
    (one,) = whole_sessions(made.store())
    (turn,) = one.turns
    (silence,) = turn.silences
    assert (silence.length_ns, silence.unheard_ns) == (17 * S, 10 * S)
    assert turn.longest_silence == silence
    assert "no client listened for 10.0 s" in [note.text for note in turn.notes]


def test_what_was_missed_between_two_turns_is_of_neither() -> None:
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), (2.0, status("running")), (2.0, created()), (3.0, completed()), end=4.0)
    made.stream("s", 14.0, (14.0, heartbeat()), (15.0, status("running")), (15.0, created("q")), (16.0, completed("q")))
    (one,) = whole_sessions(made.store())
    assert not any("no client listened" in note.text for turn in one.turns for note in turn.notes)
