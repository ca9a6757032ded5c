"""Two texts beside each other."""

from __future__ import annotations

import random
import time

from hypothesis import given
from hypothesis import strategies as st

from omnirecord.analysis.diff.text import AROUND, MAX_SHOWN, Span, spans
from tests.support.recorded import calls
from tests.support.watchdog import slowness

SHORT = st.text("ab \n.", max_size=30)


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
        Span("gone", "What is it?"), Span("new", "Nothing at all, my friend"),
    ]  # fmt: skip


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
