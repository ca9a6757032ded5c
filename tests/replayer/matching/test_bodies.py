"""Bodies that count as a whole: what says the same, what does not, and what is shown of the first difference."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from omnirecord.replayer.matching.bodies import COMPARED, first_unlike, value_of
from omnirecord.replayer.player import Answering
from tests.support.cassettes import Made, delta, heartbeat, status
from tests.support.examples import each
from tests.support.stage import EVENTS, Stage

UUIDS = "0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"
JSON = (("content-type", "application/json"),)


def unlike(recorded: Any, got: Any, *known: str) -> str | None:
    found = first_unlike(recorded, got, lambda: Counter(known))
    return None if found is None else str(found)


ALIKE = {
    "the order of members": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "a whole number": ({"a": 1}, {"a": 1.0}),
    "an id that the client made up": ({"id": UUIDS[0]}, {"id": UUIDS[1]}),
    "an id in a text": ({"text": f"see {UUIDS[0]}"}, {"text": f"see {UUIDS[1]}"}),
    "an id that only one client makes up": ({"text": "a"}, {"text": "a", "stable_id": UUIDS[0]}),
    "an id that only the recorded client made up": ({"n": 1, "key": UUIDS[0].replace("-", "")}, {"n": 1}),
    "a time that only one client tells": ({"n": 1}, {"n": 1, "created_at": 1764230400, "now": "2026-12-01 08:55:34"}),
    "a time": ({"created_at": 1764230400}, {"created_at": 1764230999}),
    "a time of day in a text": ({"text": "[2026-12-01 08:55:34] Hi"}, {"text": "[2026-12-02 09:00:00] Hi"}),
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
    "a date in a text": (
        {"text": "on Dec 24 2026"},
        {"text": "on Dec 25 2026"},
        "body $.text: on Dec [-24-]{+25+} 2026",
    ),
    "a short id": ({"customer_id": "C17"}, {"customer_id": "C18"}, "body $.customer_id: [-C17-]{+C18+}"),
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


def test_an_id_of_another_request_counts_although_only_one_side_has_it() -> None:
    assert unlike({}, {"of": UUIDS[0]}, UUIDS[0]) == f"body $.of: [-nothing-]{{+{UUIDS[0]}+}}"
    assert unlike({"of": UUIDS[0]}, {}, UUIDS[0]) is None
    assert unlike({"of": UUIDS[0]}, {}, UUIDS[0], UUIDS[0]) is not None
    assert unlike({}, {"previous_id": "resp_0123456789abcdef"}) is not None


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
        ("application/x-www-form-urlencoded", b"", b"a=", False),
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


def test_an_empty_body_equals_a_missing_one() -> None:
    for kind in ("application/x-www-form-urlencoded", "application/json", "application/octet-stream"):
        assert unlike(value_of(b"", (("Content-Type", kind),)), value_of(b"", ())) is None


DEFAULT: dict[str, Any] = {"match_on": None}


@pytest.mark.parametrize("chosen", [DEFAULT, {"match_on": ["body"]}, {"match_on": "body"}, {"match": ["body"]}])
def test_a_message_in_upper_case_is_a_miss_with_its_first_difference(chosen: dict[str, Any]) -> None:
    stage = Stage(talk("Say hello to Anna."), **chosen)
    miss = stage.misses("POST", EVENTS, body=said("Say hello to ANNA."))
    assert miss.text().splitlines() == [
        f"POST {EVENTS} was recorded, but not with this body; nearest recorded, as [-recorded-]{{+asked+}}:",
        "  body $.data.content[0].text: Say hello to [-Anna-]{+ANNA+}.",
        "To ignore bodies: --match path",
    ]
    assert stage.posts(EVENTS, said("Say hello to Anna.")).body == b'{"n": 1}'


IGNORING: list[dict[str, Any]] = [
    {"match_on": ["method", "path", "query"]},
    {"match_on": []},
    {"match_on": "path"},
    {"match_on": None, "match": ["path"]},
]


@pytest.mark.parametrize("chosen", IGNORING)
def test_bodies_do_not_count_where_a_rule_or_a_switch_says_so(chosen: dict[str, Any]) -> None:
    assert isinstance(Stage(talk("a"), **chosen).asks("POST", EVENTS, said("A")), Answering)


@pytest.mark.parametrize("chosen", IGNORING)
def test_a_rule_for_bodies_overrides_what_ignores_them(chosen: dict[str, Any]) -> None:
    stage = Stage(talk("a"), **{**chosen, "match": [*chosen.get("match", []), "body"]})
    assert stage.misses("POST", EVENTS, body=said("A"))


def test_a_message_that_differs_opens_no_gate() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.1, heartbeat()), (3.0, delta("It is a recorder.")), (4.0, status("idle")))
    tape.post(EVENTS, 2.0, status=202, body=said("What is a flight recorder?"))
    stage = Stage(tape, "instant", match_on=None)
    listener = stage.opens()
    assert listener.hears() == ["heartbeat"]
    stage.misses("POST", EVENTS, body=said("What is a black box?"))
    assert listener.hears() == []
    stage.posts(EVENTS, said("What is a flight recorder?"))
    assert listener.hears() == ["It is a recorder.", "idle"]


def test_an_answer_to_an_approval_that_differs_is_a_miss_by_default_and_else_a_mismatch() -> None:
    target = "/v1/sessions/s/elicitations/e/resolve"
    tape = Made()
    tape.post(target, 1.0, body={"action": "accept"})
    miss = Stage(tape, match_on=None).misses("POST", target, body={"action": "decline"})
    assert miss.lines == ["body $.action: [-accept-]{+decline+}"]
    stage = Stage(tape, match_on=None, match=["path"])
    stage.posts(target, {"action": "decline"})
    assert [(one.field, one.recorded, one.got) for one in stage.player.mismatches] == [("action", "accept", "decline")]


def test_among_equal_bodies_the_recorded_order_decides() -> None:
    stage = Stage(talk("a", "b", "a"), match_on=None)
    assert [stage.posts(EVENTS, said(text)).body for text in ("a", "a", "b")] == [b'{"n": 1}', b'{"n": 3}', b'{"n": 2}']
    assert "was recorded 2 times and answered as often" in stage.misses("POST", EVENTS, body=said("a")).message


def test_a_json_path_is_compared_instead_of_the_whole_body() -> None:
    stage = Stage(talk("a"), match_on=None, match=["body $.data.content[*].text for POST */events"])
    assert stage.misses("POST", EVENTS, body=said("A")).advice is None
    stage.posts(EVENTS, {**said("a"), "model_override": "gpt-5"})


def test_a_setting_that_a_client_stores_is_not_compared() -> None:
    target = "/v1/sessions/s/read-state"
    tape = Made()
    tape.request("PUT", target, 1.0, body={"last_seen": 4}, answer={"last_seen": 4})
    answer = Stage(tape, match_on=None).asks("PUT", target, {"last_seen": 9})
    assert isinstance(answer, Answering)


def test_the_id_that_a_client_chooses_counts_nowhere_if_sessions_are_mapped() -> None:
    tape = Made()
    tape.post("/v1/sessions", 1.0, status=201, body={"id": "conv_1111", "title": "t"}, answer={"id": "conv_1111"})
    tape.post("/v1/sessions/conv_1111/x", 2.0, body={"of": "conv_1111", "n": 1}, answer={"at": "conv_1111"})
    stage = Stage(tape, match_on=None, match=["sessions mapped"])
    assert stage.posts("/v1/sessions", {"id": "mine", "title": "t"}).body == b'{"id": "mine"}'
    assert stage.posts("/v1/sessions/mine/x", {"of": "mine", "n": 1}).body == b'{"at": "mine"}'
    assert stage.misses("POST", "/v1/sessions/mine/x", body={"of": "mine", "n": 2})


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
    stage = Stage(talk("a"), match_on=None, match=["path for POST /v1/sessions/other/*"])
    assert stage.misses("POST", EVENTS, body=said("A"))
    stage = Stage(talk("a"), match_on=None, match=["path for POST /v1/sessions/s/*"])
    assert isinstance(stage.asks("POST", EVENTS, said("A")), Answering)
