"""The pure part of a search: queries, texts, what can be found in frames, and the words around it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.analysis.search.documents import DocumentMaker, plain, spaced, text_in
from omnirecord.analysis.search.query import (
    OPEN,
    SHUT,
    Clause,
    Query,
    Term,
    apart,
    best,
    cut,
    parse,
    symbols_in,
    unmarked,
)
from omnirecord.cassette.sqlite.search_index import Doc
from omnirecord.errors import UsageError
from tests.support.cassettes import completed, created, delta, event, heartbeat, status
from tests.support.examples import each, examples
from tests.support.recorded import calls, recorded


def words(*texts: str) -> tuple[Term, ...]:
    return tuple(Term(text) for text in texts)


@each(
    ("text", "query"),
    [
        ("one two", (Clause(words("one", "two")),)),
        ("one AND two", (Clause(words("one", "two")),)),
        ("one OR two three", (Clause(words("one")), Clause(words("two", "three")))),
        ("one NOT two three", (Clause(words("one", "three"), words("two")),)),
        ('"one two" three', (Clause(words("one two", "three")),)),
        ("beg* x", (Clause((Term("beg", is_prefix=True), Term("x"))),)),
        ('"one tw"*', (Clause((Term("one tw", is_prefix=True),)),)),
    ],
)
def test_words_phrases_prefixes_and_operators_mean_what_they_say(text: str, query: Query) -> None:
    assert parse(text) == query


@each(
    ("text", "found"),
    [
        ("a AND", ["a", "AND"]),
        ("NOT a", ["NOT", "a"]),
        ("OR", ["OR"]),
        ('say "hello', ["say", '"hello']),
        ('"', ['"']),
        ("foo-bar", ["foo-bar"]),
        ("C:\\x", ["C:\\x"]),
        ("it's", ["it's"]),
        ("NEAR(a", ["NEAR(a"]),
        ("text:a", ["text:a"]),
        ("*", ["*"]),
    ],
)
def test_what_is_no_operator_is_a_word(text: str, found: list[str]) -> None:
    assert parse(text) == (Clause(words(*found)),)


@each("text", ["", "  ", "\0", '" "'])
def test_an_empty_query_is_a_mistake(text: str) -> None:
    with pytest.raises(UsageError, match="empty"):
        parse(text)


def test_a_query_may_be_long_but_not_endless() -> None:
    with pytest.raises(UsageError, match="has 101 words"):
        parse("a " * 101)


@given(st.text(max_size=60) | st.lists(st.sampled_from(["a", "AND", "OR", "NOT", '"', "*", "-b"])).map(" ".join))
def test_any_other_query_asks_for_something(text: str) -> None:
    try:
        query = parse(text)
    except UsageError:
        return
    assert all(clause.wanted for clause in query)


def test_the_text_of_a_value_is_every_string_in_it_and_what_json_inside_of_them_holds() -> None:
    shell = json.dumps({"stdout": "one\ntwo", "exit_code": 3})
    assert text_in({"type": "x", "a": ["b", {"c": shell}], "n": 5, "t": True, "z": None}) == "b\none\ntwo\n3\n5"


def test_an_image_is_no_text_and_a_long_text_without_blanks_is() -> None:
    assert text_in(["iVBOR" * 1000, "words"]) == "words"
    assert text_in("世" * 2000)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_any_value_has_a_text_that_sqlite_takes(value: Any) -> None:
    spaced(text_in(value)).encode()


@given(st.text())
def test_parting_a_text_keeps_what_is_seen_of_it(text: str) -> None:
    assert plain(spaced(text)) == plain(text).replace("\0", " ").replace(OPEN, " ").replace(SHUT, " ")


def heard(*frames: bytes) -> list[Doc]:
    texts = DocumentMaker()
    return [doc for frame in recorded(1, *frames).frames for doc in texts.add(frame)] + texts.rest()


def told(*frames: bytes) -> list[str]:
    return [doc.text for doc in heard(*frames) if doc.kind == "text"]


def thought(text: str) -> bytes:
    return event("response.reasoning_text.delta", delta=text)


def item(**fields: Any) -> bytes:
    return event("response.output_item.done", item=fields)


def said(text: str, role: str = "assistant") -> bytes:
    return item(type="message", id="m", role=role, content=[{"type": "output_text", "text": text}])


@given(st.text(min_size=1), st.lists(st.integers(0, 40)))
def test_a_text_is_put_together_from_its_deltas_however_it_was_cut(text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(place for place in cuts if place < len(text))})
    pieces = [text[a:b] for a, b in pairwise(places)]
    (made,) = told(*map(delta, pieces))
    assert plain(made) == plain(spaced(text))


def test_each_character_of_a_text_knows_the_event_that_brought_it() -> None:
    (doc,) = heard(delta("one "), heartbeat(), delta("two "), delta("three"))[1:]
    assert [doc.seq_at(doc.text.index(word)) for word in ("one", "two", "three")] == [1, 3, 4]
    assert doc.seq_at(doc.text.index("hree")) == 4
    assert (doc.first_seq, doc.last_seq) == (1, 4)


def test_texts_of_different_kinds_and_messages_grow_side_by_side() -> None:
    frames = [thought("think"), delta("sa"), thought("ing"), delta("id")]
    assert sorted(told(*frames)) == ["said", "thinking"]
    two = [event("response.output_text.delta", delta=text, message_id=name) for text, name in [("a", "1"), ("b", "2")]]
    assert told(*two) == ["a", "b"]


@each("between", [created("r2"), completed(), status("idle"), said("one"), item(type="function_call")])
def test_a_text_ends_where_something_else_is_said_or_done(between: bytes) -> None:
    assert told(delta("one"), between, delta("two")) == ["one", "two"]


@pytest.mark.parametrize("between", [heartbeat(), event("session.usage"), b": comment\n\n"])
def test_a_text_goes_on_behind_what_has_nothing_to_do_with_it(between: bytes) -> None:
    assert told(delta("wor"), between, delta("ds")) == ["words"]


def test_the_arguments_and_the_output_of_calls_are_put_together_by_call() -> None:
    def piece(kind: str, call: str, text: str) -> bytes:
        return event(f"response.{kind}.delta", call_id=call, delta=text)

    frames = [piece("function_call_arguments", "a", '{"x'), piece("function_call_output", "b", "o"),
              piece("function_call_arguments", "a", '": 1}'), item(type="function_call", call_id="a"),
              piece("function_call_output", "b", "ut")]  # fmt: skip
    assert told(*frames) == ['{"x": 1}', "out"]


def test_a_stored_message_says_what_its_deltas_said_and_the_answer_not_what_was_asked() -> None:
    asked = event("session.input.consumed", data={"data": {"content": [{"text": "hi"}]}})
    consumed, text, stored, user = heard(asked, delta("h"), delta("i"), said("hi"), said("hi", role="user"))
    assert text.says == stored.says
    assert consumed.says == user.says != text.says


def test_a_call_says_the_same_when_it_is_complete() -> None:
    one, other, another = heard(*(
        item(type="function_call", call_id=call, name="f", arguments="{}", status=status)
        for call, status in [("a", "in_progress"), ("a", "completed"), ("b", "completed")]
    ))  # fmt: skip
    assert one.says == other.says != another.says


@given(st.lists(st.sampled_from([delta("a"), thought("b"), said("a"), heartbeat(), b"data: [1\n\n", b": c\n\n", b"x"])))
def test_nothing_that_a_stream_holds_makes_it_fail(frames: list[bytes]) -> None:
    heard(*frames)


def test_putting_texts_together_is_linear() -> None:
    few, many = ([delta("word ")] * count for count in (200, 2000))
    assert calls(lambda: heard(*many)) < 12 * calls(lambda: heard(*few))


def test_marks_are_taken_out_and_known_by_their_places() -> None:
    assert unmarked(f"a {OPEN}b{SHUT} c {OPEN}d{SHUT}") == ("a b c d", [(2, 3), (6, 7)])


def test_a_snippet_is_around_the_words_and_says_that_there_is_more() -> None:
    text = "before " * 50 + "needle" + " behind" * 50
    at = text.index("needle")
    shown = cut(text, [(at, at + 6)], 60).marked()
    assert shown.startswith("…before")
    assert shown.endswith("…")
    assert "[needle]" in shown
    assert len(shown) < 80


def test_what_was_found_twice_at_one_place_is_marked_once() -> None:
    assert apart([(4, 6), (0, 5), (5, 7), (7, 8)]) == [(0, 5), (5, 7), (7, 8)]


def test_a_snippet_is_one_line_and_its_marks_move_along() -> None:
    assert cut("a\n\n  b \u200bneedle", [(8, 14)]).marked("<", ">") == "a b <needle>"


def test_the_place_with_the_most_words_is_shown() -> None:
    text = "one " + "x " * 200 + "one two"
    spans = symbols_in(text, ["one", "two"])
    assert [text[a:b] for a, b in best(text, spans)] == ["one", "two"]


@settings(max_examples=examples(200))
@given(st.text(), st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5)), max_size=4), st.integers(1, 50))
def test_any_snippet_marks_what_was_found(text: str, places: list[tuple[int, int]], width: int) -> None:
    spans, end = [], 0
    for begin, length in places:
        begin += end
        end = begin + length
        spans.append((begin, end))
    spans = [span for span in spans if span[1] <= len(text)]
    snippet = cut(text, spans, width)
    assert all(0 <= a <= b <= len(snippet.text) for a, b in snippet.spans)
    assert [" ".join(snippet.text[a:b].split()) for a, b in snippet.spans] == [
        " ".join(plain(text[a:b]).split()) for a, b in spans
    ]
