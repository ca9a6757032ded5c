"""How soon a turn's first token came, and how fast the rest."""

from __future__ import annotations

from omnirecord.analysis.turns.draft import Draft, Pace, pace_of

S = 1_000_000_000


def draft(*times: float, thoughts: tuple[float, ...] = ()) -> Draft:
    made = Draft(2 * S)
    made.ask("Hi", S)
    for at in thoughts:
        made.think("x", int(at * S))
    for at in times:
        made.say("x", int(at * S))
    return made


def pace(made: Draft) -> Pace:
    return pace_of(made.freeze(1, "s", 1))


def test_the_first_token_counts_from_the_question() -> None:
    assert pace(draft(3, 4, 5)) == Pace(2 * S, 3, 1.0)


def test_thoughts_are_tokens_too_and_the_pause_behind_them_is_no_pace() -> None:
    assert pace(draft(10, 10.5, thoughts=(3, 3.5))) == Pace(2 * S, 4, 2.0)


def test_one_delta_and_what_came_at_once_have_no_rate() -> None:
    assert pace(draft(3)) == Pace(2 * S, 1, None)
    assert pace(draft(3, 3.001)).deltas_per_s is None


def test_text_that_was_only_stored_has_no_pace() -> None:
    made = draft()
    made.store("Hello.", 3 * S)
    assert pace(made) == Pace(None, 0, None)


def test_without_a_question_there_is_no_first() -> None:
    made = Draft(S)
    made.say("x", 2 * S)
    assert pace(made).first_ns is None
