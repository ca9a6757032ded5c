"""Which element of one sequence is which of another."""

from __future__ import annotations

import random
import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.analysis.diff.align import SMALL, aligned, matches, moved
from omnirecord.analysis.diff.differences import AROUND, MAX_SHOWN, Span, spans
from tests.support.recorded import calls
from tests.support.watchdog import slowness

WORDS = st.lists(st.sampled_from("abcd"), max_size=12)
SHORT = st.text("ab \n.", max_size=30)


def same(text: str) -> str:
    return text


@given(WORDS, WORDS)
def test_matches_are_equal_and_rise_on_both_sides(a: list[str], b: list[str]) -> None:
    found = matches(a, b)
    assert all(a[i] == b[j] for i, j in found)
    assert all(i < k and j < m for (i, j), (k, m) in pairwise(found))


@given(WORDS, WORDS)
def test_which_side_is_the_first_makes_no_difference(a: list[str], b: list[str]) -> None:
    assert matches(b, a) == [(j, i) for i, j in matches(a, b)]


def test_what_repeats_is_matched_as_often_as_it_can_be() -> None:
    assert len(matches(list("ababa"), list("babab"))) == 4
    assert len(matches(list("aabbcc"), list("ccaabb"))) == 4


@given(WORDS, WORDS)
def test_every_element_is_in_one_pair(a: list[str], b: list[str]) -> None:
    for pairs in (aligned(a, b, same), aligned(a, b, same, pair_rest=True)):
        assert sorted(i for i, _ in pairs if i is not None) == list(range(len(a)))
        assert sorted(j for _, j in pairs if j is not None) == list(range(len(b)))


def test_what_one_side_has_more_is_paired_with_nothing() -> None:
    assert aligned("abc", "ac", same) == [(0, 0), (1, None), (2, 1)]
    assert aligned("", "x", same) == [(None, 0)]


def test_a_weaker_key_is_tried_in_the_gaps_of_the_stricter_one() -> None:
    pairs = aligned(["a1", "b1", "c1"], ["a1", "c2", "b2"], same, lambda text: text[0])
    assert pairs == [(0, 0), (1, None), (2, 1), (None, 2)] or pairs == [(0, 0), (None, 1), (1, 2), (2, None)]


def test_what_is_left_in_a_gap_is_paired_as_it_stands_if_that_is_asked_for() -> None:
    assert aligned("axc", "ayc", same) == [(0, 0), (1, None), (None, 1), (2, 2)]
    assert aligned("axc", "ayc", same, pair_rest=True) == [(0, 0), (1, 1), (2, 2)]


def test_what_both_have_elsewhere_is_put_together() -> None:
    a, b = "abc", "cab"
    pairs = aligned(a, b, same)
    assert sorted(moved(pairs, a.__getitem__, b.__getitem__), key=str) == [(0, 1), (1, 2), (2, 0)]


def test_long_sequences_of_the_same_few_elements_are_not_compared_each_with_each() -> None:
    a, b = ["ab"[n % 2] for n in range(20_000)], ["ba"[n % 2] for n in range(20_000)]
    assert calls(lambda: matches(a, b), "max") < 10 * SMALL


def test_unique_elements_hold_a_long_sequence_together() -> None:
    a = [str(n) for n in range(5_000)]
    b = [str(n) for n in range(5_000) if n % 10] + ["x"]
    assert len(matches(a, b)) == 4_500


def shown(a: str, b: str) -> str:
    marks = {"same": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}
    return "".join(marks[span.tone].format(span.text) for span in spans(a, b))


def test_a_changed_word_is_shown_where_it_is() -> None:
    assert shown("what was recorded stays", "what was replayed stays") == "what was [-recorded-]{+replayed+} stays"


def test_a_word_is_not_cut_where_its_beginning_or_its_end_is_equal() -> None:
    assert shown("it is unrecorded here", "it is recorded here") == "it is [-unrecorded-]{+recorded+} here"


def test_what_comes_at_the_end_is_shown_behind_the_end() -> None:
    assert shown("one two", "one two three") == "one two{+ three+}"


def test_texts_with_little_in_common_are_shown_one_by_one() -> None:
    assert spans("What is it?", "Nothing at all, my friend") == [
        Span("gone", "What is it?"),
        Span("new", "Nothing at all, my friend"),
    ]


def test_a_long_text_is_shortened_around_the_change() -> None:
    before, behind = "lead " * 1000, " tail" * 1000
    made = shown(f"{before}old{behind}", f"{before}new{behind}")
    assert "[-old-]{+new+}" in made
    assert len(made) < 2 * AROUND + 40
    assert (made[0], made[-1]) == ("…", "…")


@given(SHORT, SHORT)
def test_both_texts_can_be_read_off_as_long_as_they_are_short(a: str, b: str) -> None:
    found = spans(a, b)
    assert "".join(span.text for span in found if span.tone != "new") == a
    assert "".join(span.text for span in found if span.tone != "gone") == b


def test_a_megabyte_is_compared_in_no_time_and_shown_in_a_few_lines() -> None:
    chance = random.Random(7)
    a = " ".join(str(chance.random()) for _ in range(55_000))
    b = f"{a[:500_000]} here {a[500_000:]}"
    other = " ".join(str(chance.random()) for _ in range(55_000))
    begun = time.process_time()
    made = [
        shown(a, b),
        shown(a, other),
        shown("x" * 1_000_000, "y" * 1_000_000),
        shown("a\n" * 500_000, "b\n" * 500_000),
    ]
    assert time.process_time() - begun < 3 * slowness()
    assert "here" in made[0]
    assert max(map(len, made)) < 3 * MAX_SHOWN


def test_a_change_at_both_ends_of_a_long_text_costs_no_comparison_of_each_word_with_each() -> None:
    words = [str(n) for n in range(20_000)]
    a, b = " ".join(words), " ".join(["x", *words[1:-1], "y"])
    assert calls(lambda: spans(a, b)) < 5_000
