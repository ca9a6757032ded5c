"""What of a stamped stream is in memory: bounded, in order, and sent again from any event that is still there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.recorder.proxy.resume import Held, Piece
from omnirecord.wire.event_ids import Stamped

COST = Piece(Stamped(1, b"x" * 100, has_id=True, is_done=False)).cost


def piece(seq: int, *, has_id: bool = True, is_done: bool = False) -> Piece:
    return Piece(Stamped(seq, b"x" * 100, has_id, is_done))


def filled(count: int, limit: int = 1 << 20) -> Held:
    held = Held(limit)
    for seq in range(1, count + 1):
        held.add(piece(seq))
    return held


def seqs(pieces: list[Piece]) -> list[int]:
    return [one.stamped.seq for one in pieces]


def test_what_is_sent_goes_in_order_and_by_so_many_bytes() -> None:
    held = filled(5)
    assert seqs(held.next(2 * COST)) == [1, 2]
    assert (held.given, held.waiting) == (2, 3 * COST)
    assert seqs(held.next(1)) == [3], "one at the least"
    assert seqs(held.next(1 << 20)) == [4, 5]
    assert held.next(1) == []


def test_what_is_behind_an_event_is_sent_again_in_order() -> None:
    held = filled(5)
    held.next(4 * COST)
    held.rewind(2)
    assert seqs(held.next(1 << 20)) == [3, 4, 5]


def test_a_client_that_asks_twice_before_anything_was_sent_again_gets_what_it_lacks_and_no_more() -> None:
    held = filled(3)
    held.next(2 * COST)
    held.rewind(0)
    held.rewind(1)
    assert held.waiting == 2 * COST
    assert seqs(held.next(1 << 20)) == [2, 3]


def test_what_was_sent_longest_ago_is_forgotten_first_and_what_waits_is_kept() -> None:
    held = filled(5, limit=3 * COST)
    held.next(3 * COST)
    held.trim(unsent=False)
    assert held.forgotten == 2
    held.rewind(2)
    assert seqs(held.next(1 << 20)) == [3, 4, 5]


def test_what_waits_is_forgotten_only_if_that_is_said() -> None:
    held = filled(5, limit=3 * COST)
    held.trim(unsent=False)
    assert (held.forgotten, held.waiting, held.is_full) == (0, 5 * COST, True)
    held.trim(unsent=True)
    assert (held.forgotten, held.waiting, held.is_full) == (2, 3 * COST, False)


def test_what_has_no_id_gives_none_to_come_back_with() -> None:
    held = Held(1 << 20)
    held.add(piece(1, has_id=False))
    held.next(1)
    assert held.given == 0
    assert held.newest == 0
    held.add(piece(2, is_done=True))
    assert (held.newest, held.done) == (2, False)
    held.next(1)
    assert (held.given, held.done) == (2, True)


def test_what_will_not_be_asked_for_again_is_forgotten() -> None:
    held = filled(3)
    held.next(2 * COST)
    held.forget_sent()
    held.rewind(0)
    assert seqs(held.next(1 << 20)) == [3]


@pytest.mark.parametrize("listening", [True, False])
@given(st.lists(st.one_of(st.just("add"), st.just("next"), st.integers(0, 30)), max_size=80), st.integers(0, 8))
def test_a_client_that_goes_on_from_what_it_has_misses_nothing(
    listening: bool, steps: list[str | int], room: int
) -> None:
    """Whatever happens: what is sent is what follows the event before, and what is held stays under the limit."""
    held, added, at = Held(room * COST), 0, 0
    for step in steps:
        if step == "add":
            added += 1
            held.add(piece(added))
            held.trim(unsent=not listening)
            assert listening or (added - held.forgotten) * COST <= room * COST
        elif step == "next":
            for one in held.next(COST):
                assert one.stamped.seq == max(at, held.forgotten if not listening else at) + 1
                at = one.stamped.seq
        elif isinstance(step, int) and held.forgotten <= step <= held.given:
            held.rewind(step)
            at = step
