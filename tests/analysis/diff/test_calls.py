"""The model calls of two recordings compared: requests, attempts, endings, tokens, and the first new difference."""

from __future__ import annotations

from typing import Any

from omnirecord.analysis.diff import compare, diff_session
from omnirecord.analysis.diff.differences import Difference
from omnirecord.analysis.gather import gathered, model_calls
from tests.support.cassettes import Made
from tests.support.hop_tapes import asked, both_hops, ending, opening, user, word


def differences(a: Made, b: Made) -> list[Difference]:
    sides = []
    for tape in (a, b):
        store = tape.store()
        calls = model_calls(store)
        sides.append([diff_session(one, calls, one.frames()) for one in gathered(store)])
    return compare(sides[0], sides[1])


def of_calls(a: Made, b: Made) -> dict[str, tuple[Any, Any]]:
    prefix = "turns[0].model_calls"
    return {one.path.removeprefix(prefix): (one.a, one.b) for one in differences(a, b) if one.kind == "calls"}


def one_call(*, state: str = "completed", prompt: Any = None, answer: str = "Hello.", **more: Any) -> Made:
    """A turn with one model call. `prompt`: the body of the request."""
    tape = both_hops("Hi", [answer])
    del tape._exchanges[3:]
    tape._streams = 1
    reads = [(9.8, opening()), (10.0, word(answer)), (10.4, ending("resp_1", state, **more))]
    tape.stream("/v1/responses", 9.6, *reads, asked=9.0, method="POST", body=prompt or asked(user("Hi")), ending="eof")
    return tape


def test_equal_recordings_have_no_difference() -> None:
    assert differences(both_hops(), both_hops()) == []


def test_a_change_that_the_turn_has_is_not_reported_again() -> None:
    assert [one.path for one in differences(both_hops(), both_hops(output="7 poem.txt"))] == [
        "turns[0].tools[0].output"
    ]


def test_the_first_difference_of_a_conversation_is_a_text() -> None:
    other = one_call(prompt=asked(user("Hi"), instructions="You are a sailor."))
    assert of_calls(one_call(), other) == {"[0].request.instructions": ("You are a poet.", "You are a sailor.")}


def test_a_message_that_only_one_side_has_is_at_its_place() -> None:
    history = asked(user("Hi"), {"role": "developer", "content": "Be brief."})
    assert of_calls(one_call(), one_call(prompt=history)) == {"[0].request.messages[1]": (None, "Be brief.")}


def test_another_model_is_named_once() -> None:
    body = asked(user("Hi"), model="gpt-4")
    found = of_calls(one_call(), one_call(prompt=body))
    assert found == {}  # the provider names the same model


def test_a_refused_attempt_is_a_difference_of_endings() -> None:
    once = both_hops()
    del once._exchanges[3]
    assert of_calls(both_hops(), once) == {"[0].endings": ("refused (rate_limit_exceeded), completed", "completed")}


def test_a_further_request_is_one_difference() -> None:
    less = both_hops()
    del less._exchanges[5]
    ((path, (mine, other)),) = of_calls(both_hops(), less).items()
    assert (path, mine["endings"], other) == ("[1]", "completed", None)


def test_how_a_call_was_stopped_and_its_tokens_count() -> None:
    stopped = one_call(
        state="incomplete",
        incomplete_details={"reason": "max_output_tokens"},
        usage={"input_tokens": 40, "output_tokens": 4096, "total_tokens": 4136},
    )
    found = of_calls(one_call(), stopped)
    assert found["[0].endings"] == ("completed", "incomplete (max_output_tokens)")
    assert found["[0].usage.output_tokens"] == (9, 4096)
