"""Bodies that count as a whole: what says the same, what does not, and what is shown of the first difference."""

from __future__ import annotations

from typing import Any

import pytest

from omnirecord.replayer.matching.bodies import COMPARED, first_unlike, value_of
from omnirecord.replayer.player import Answering
from tests.support.cassettes import Made
from tests.support.examples import each
from tests.support.stage import EVENTS, Stage

UUIDS = "0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"
JSON = (("content-type", "application/json"),)


def unlike(recorded: Any, got: Any, *known: str) -> str | None:
    found = first_unlike(recorded, got, lambda: frozenset(known))
    return None if found is None else str(found)


ALIKE = {
    "the order of members": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "a whole number": ({"a": 1}, {"a": 1.0}),
    "an id that the client made up": ({"id": UUIDS[0]}, {"id": UUIDS[1]}),
    "an id in a text": ({"text": f"see {UUIDS[0]}"}, {"text": f"see {UUIDS[1]}"}),
    "a time": ({"created_at": 1764230400}, {"created_at": 1764230999}),
    "a temporary folder": ({"cwd": "/tmp/tmpabc123de/x"}, {"cwd": "/tmp/tmpzyx987fe/x"}),
}
UNLIKE = {
    "a text": ({"text": "Say hello."}, {"text": "SAY HELLO."}, "body $.text: [-Say hello.-]{+SAY HELLO.+}"),
    "a word": (
        {"data": [{"text": "one two three four"}]},
        {"data": [{"text": "one two 3 four"}]},
        "body $.data[0].text: one two [-three-]{+3+} four",
    ),
    "a member that is missing": ({"a": 1, "b": 2}, {"a": 1}, "body $.b: [-2-]{+nothing+}"),
    "a member that is new": ({"a": 1}, {"a": 1, "b": None}, "body $.b: [-nothing-]{+null+}"),
    "true is not 1": ({"a": 1}, {"a": True}, "body $.a: [-1-]{+true+}"),
    "a longer list": ([1], [1, 2], "body $[1]: [-nothing-]{+2+}"),
    "the first of several": ({"a": "x", "b": "y"}, {"a": "X", "b": "Y"}, "body $.a: [-x-]{+X+}"),
    "one id twice, and two": (
        {"a_id": UUIDS[0], "b_id": UUIDS[0]},
        {"a_id": UUIDS[0], "b_id": UUIDS[1]},
        f"body $.b_id: [-{UUIDS[0]}-]{{+{UUIDS[1]}+}}",
    ),
    "another kind": ({"a": 1}, "text", 'body $: [-{"a": 1}-]{+text+}'),
}


@each("name", ALIKE)
def test_what_means_nothing_is_no_difference(name: str) -> None:
    assert unlike(*ALIKE[name]) is None


@each("name", UNLIKE)
def test_the_first_difference_is_shown(name: str) -> None:
    recorded, got, said = UNLIKE[name]
    assert unlike(recorded, got) == said


def test_an_id_of_the_recording_stands_for_itself_alone() -> None:
    assert unlike({"id": UUIDS[0]}, {"id": UUIDS[1]}, UUIDS[1]) is not None


def test_a_body_that_is_nested_beyond_all_measure_is_compared_without_an_error() -> None:
    assert value_of(b"[" * 100_000, JSON) == "[" * 100_000


@each(
    ("kind", "one", "other", "is_same"),
    [
        ("application/x-www-form-urlencoded", b"a=1&b=2", b"b=2&a=1", True),
        ("application/x-www-form-urlencoded", b"a=1", b"a=2", False),
        ("text/plain", b"hello", b"HELLO", False),
        ("multipart/form-data; boundary=x", b"--x", b"--y", True),
        ("application/octet-stream", b"\x00\x01", b"\x00\x02", True),
        ("", b"\xff\x00", b"\xff\x01", True),
        ("", b"", b"{}", False),
    ],
)
def test_a_body_that_is_no_json_is_compared_by_its_kind(kind: str, one: bytes, other: bytes, is_same: bool) -> None:
    headers = (("Content-Type", kind),) if kind else ()
    assert (unlike(value_of(one, headers), value_of(other, headers)) is None) is is_same


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "data": {"content": [{"type": "input_text", "text": text}]}}


def talk(*texts: str) -> Made:
    tape = Made()
    for number, text in enumerate(texts, 1):
        tape.post(EVENTS, float(number), status=202, body=said(text), answer={"n": number})
    return tape


@pytest.mark.parametrize("chosen", [{"match_on": ["body"]}, {"match_on": "body"}, {"match": ["body"]}])
def test_a_message_in_upper_case_is_a_miss_with_its_first_difference(chosen: dict[str, Any]) -> None:
    stage = Stage(talk("Say hello to Anna."), **chosen)
    miss = stage.misses("POST", EVENTS, body=said("Say hello to ANNA."))
    assert miss.text.splitlines() == [
        f"POST {EVENTS} was recorded, but not with this body; nearest recorded, as [-recorded-]{{+asked+}}:",
        "  body $.data.content[0].text: Say hello to [-Anna-]{+ANNA+}.",
    ]
    assert stage.posts(EVENTS, said("Say hello to Anna.")).body == b'{"n": 1}'


def test_without_the_switch_a_body_counts_as_little_as_before() -> None:
    for chosen in ({}, {"match_on": ["method", "path", "query"]}, {"match_on": []}):
        assert isinstance(Stage(talk("a"), **chosen).asks("POST", EVENTS, said("A")), Answering)  # type: ignore[arg-type]


def test_of_several_bodies_the_one_whose_turn_it_is_is_told_first() -> None:
    stage = Stage(talk("first", "second"), match_on="body")
    stage.posts(EVENTS, said("first"))
    assert stage.misses("POST", EVENTS, body=said("third")).lines == [
        "body $.data.content[0].text: [-second-]{+third+}",
        "body $.data.content[0].text: [-first-]{+third+}",
    ]


def test_a_body_above_the_limit_is_not_compared() -> None:
    stage = Stage(talk("a"), match_on="body")
    assert isinstance(stage.asks("POST", EVENTS, b"x" * COMPARED), Answering)


def test_a_rule_may_hold_for_some_requests_alone() -> None:
    stage = Stage(talk("a"), match=["body for POST /v1/sessions/other/*"])
    assert isinstance(stage.asks("POST", EVENTS, said("A")), Answering)
