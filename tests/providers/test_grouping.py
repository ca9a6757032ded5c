"""Which conversation a model call belongs to."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from omnirecord.model import FORK_OF, Exchange, Recording, Request, Response
from omnirecord.providers.call import ModelCall, call_of
from omnirecord.providers.grouping import Grouping, Place

S = 1_000_000_000
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
MESSAGES, GEMINI = "/v1/messages", "/v1beta/models/g:generateContent"
TARGETS = (CHAT, RESPONSES, MESSAGES, GEMINI)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


class Client:
    """Makes calls, one after the other. Times are in seconds."""

    def __init__(self, target: str = CHAT) -> None:
        self.target = target
        self.grouping = Grouping()
        self.now = 0.0
        self._number = 0

    def call(self, *messages: Mapping[str, Any], answer: str = "", at: float | None = None, **more: Any) -> Place:
        """Add a call whose answer comes after half a second. `more`: see `made`."""
        self.now = self.now + 1 if at is None else at
        return self.grouping.add(self.made(*messages, answer=answer, **more))

    def made(
        self, *messages: Mapping[str, Any], answer: str = "", status: int = 200, tool: str | None = None,
        count: int | None = None, lasts: float = 0.5, **more: Any,
    ) -> ModelCall:  # fmt: skip
        """`tool`: the id of a tool call in the answer; `count`: the retry count; `more`: other fields of the body."""
        self._number += 1
        at = round(self.now * S)
        request = _request(self.target, list(messages), more)
        response = _answer(self.target, self._number, answer, tool) if status == 200 else b'{"error": {"code": "busy"}}'
        headers = () if count is None else (("x-stainless-retry-count", str(count)),)
        x = Exchange(
            self._number, 1, "http", None, None, "client", Request(at, "POST", self.target, headers),
            Response(at + 1, at + round(lasts * S), status, "", ()), "eof", len(request), len(response),
            at + round(lasts * S),
        )  # fmt: skip
        call = call_of(x, request, response)
        assert call is not None
        assert call.conversation is not None
        return call


def _request(target: str, messages: list[Mapping[str, Any]], more: dict[str, Any]) -> bytes:
    body: dict[str, Any] = {"model": "m", **more}
    if target == RESPONSES:
        body["input"] = messages
    elif target == GEMINI:
        roles = {"assistant": "model"}
        body["contents"] = [
            {"role": roles.get(one["role"], one["role"]), "parts": [{"text": one["content"]}]} for one in messages
        ]
    else:
        body["messages"] = messages
    return json.dumps(body).encode()


def _answer(target: str, number: int, text: str, tool: str | None) -> bytes:
    value: dict[str, Any]
    if target == RESPONSES:
        content = [{"type": "output_text", "text": text}]
        item = {"type": "message", "id": f"msg_{number:08}", "role": "assistant", "content": content}
        value = {"id": f"resp_{number:08}", "status": "completed", "output": [item]}
    elif target == MESSAGES:
        value = {"id": f"msg_{number:08}", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}
    elif target == GEMINI:
        value = {"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP"}]}
    else:
        calls = [{"id": tool, "type": "function", "function": {"name": "look", "arguments": "{}"}}] if tool else None
        message = {"role": "assistant", "content": text or None, "tool_calls": calls}
        value = {"id": f"chatcmpl-{number:08}", "choices": [{"message": message, "finish_reason": "stop"}]}
    return json.dumps(value).encode()


@pytest.mark.parametrize("target", TARGETS)
def test_a_request_with_the_messages_and_the_answer_of_an_earlier_one_continues_it(target: str) -> None:
    client = Client(target)
    assert client.call(user("Hi"), answer="Hello.") == Place(1, 1, 1)
    assert client.call(user("Hi"), said("Hello."), user("More"), answer="Yes.") == Place(1, 2, 1)
    history = (user("Hi"), said("Hello."), user("More"), said("Yes."))
    assert client.call(*history, user("And?")) == Place(1, 3, 1)


@pytest.mark.parametrize("target", TARGETS)
def test_an_equal_request_is_another_conversation(target: str) -> None:
    client = Client(target)
    for run in (1, 2, 3):
        assert client.call(user("Hi"), answer="Hello.") == Place(run, 1, 1)
        assert client.call(user("Hi"), said("Hello."), user("More"), answer="Yes.") == Place(run, 2, 1)


@pytest.mark.parametrize("target", TARGETS)
def test_a_program_that_starts_again_with_its_history_repeats_a_call_of_its_conversation(target: str) -> None:
    client = Client(target)
    assert client.call(user("Hi"), answer="Hello.") == Place(1, 1, 1)
    history = (user("Hi"), said("Hello."), user("More"))
    assert client.call(*history, answer="Yes.") == Place(1, 2, 1)
    assert client.call(*history, answer="Yes.") == Place(1, 3, 1, again=2)
    assert client.call(*history, said("Yes."), user("And?")) == Place(1, 4, 1)


@pytest.mark.parametrize("target", TARGETS)
def test_a_retry_is_an_attempt_of_the_same_call(target: str) -> None:
    client = Client(target)
    assert client.call(user("Hi"), status=429) == Place(1, 1, 1)
    assert client.call(user("Hi"), status=503) == Place(1, 1, 2)
    assert client.call(user("Hi"), answer="Hello.") == Place(1, 1, 3)
    assert client.call(user("Hi"), said("Hello."), user("More"), status=429) == Place(1, 2, 1)
    assert client.call(user("Hi"), said("Hello."), user("More")) == Place(1, 2, 2)
    assert client.call(user("Hi"), answer="Hello.") == Place(2, 1, 1)


def test_a_program_that_repeats_a_failed_call_of_a_counting_sdk_makes_another_attempt() -> None:
    client = Client()
    assert client.call(user("Hi"), status=429, count=0) == Place(1, 1, 1)
    assert client.call(user("Hi"), status=429, count=1) == Place(1, 1, 2)
    assert client.call(user("Hi"), status=500, count=0) == Place(1, 1, 3)
    assert client.call(user("Hi"), count=0, answer="Hello.") == Place(1, 1, 4)
    assert client.call(user("Hi"), status=400, count=0) == Place(2, 1, 1)
    assert client.call(user("Hi"), count=0) == Place(3, 1, 1)


def test_parallel_equal_requests_of_counting_sdks_stay_apart() -> None:
    client = Client()
    for number in (1, 2, 3):
        assert client.call(user("Hi"), status=429, count=0, at=1 + number / 10).conversation == number
    for number in (1, 2, 3):
        assert client.call(user("Hi"), count=1, answer="Hello.", at=2 + number / 10).conversation == number
    assert client.call(user("Hi"), count=0, at=4) == Place(4, 1, 1)


def test_a_fallback_to_another_model_continues_the_conversation_of_the_failed_call() -> None:
    client = Client()
    assert client.call(user("Hi"), status=500) == Place(1, 1, 1)
    assert client.call(user("Hi"), model="other", answer="Hello.") == Place(1, 2, 1)
    assert client.call(user("Hi"), said("Hello."), user("More"), status=500) == Place(1, 3, 1)
    assert client.call(user("Hi"), said("Hello."), user("More"), model="other") == Place(1, 4, 1)
    assert client.call(user("Hi"), model="third") == Place(2, 1, 1)


def test_a_tool_call_shows_the_conversation_of_parallel_equal_requests() -> None:
    client = Client()
    for number in (1, 2):
        assert client.call(user("Hi"), tool=f"call_7{number}xq4kTz", at=1) == Place(number, 1, 1)
    for number in (2, 1):
        called = {"id": f"call_7{number}xq4kTz", "function": {"name": "look", "arguments": "{}"}}
        output = {"role": "tool", "tool_call_id": f"call_7{number}xq4kTz", "content": "42"}
        asked = {"role": "assistant", "tool_calls": [called]}
        assert client.call(user("Hi"), asked, output, at=2) == Place(number, 2, 1)


def test_different_answers_tell_parallel_equal_requests_apart() -> None:
    client = Client()
    assert client.call(user("Hi"), answer="One.", at=1) == Place(1, 1, 1)
    assert client.call(user("Hi"), answer="Two.", at=1.1) == Place(2, 1, 1)
    assert client.call(user("Hi"), said("Two."), user("More"), at=2) == Place(2, 2, 1)
    assert client.call(user("Hi"), said("One."), user("More"), at=2.1) == Place(1, 2, 1)


def test_instructions_tell_parallel_equal_requests_apart() -> None:
    client = Client()
    one, other = {"role": "system", "content": "Be brief."}, {"role": "system", "content": "Be long."}
    assert client.call(one, user("Hi"), answer="Hello.", at=1) == Place(1, 1, 1)
    assert client.call(other, user("Hi"), answer="Hello.", at=1) == Place(2, 1, 1)
    assert client.call(other, user("Hi"), said("Hello."), user("More"), at=2) == Place(2, 2, 1)
    assert client.call(one, user("Hi"), said("Hello."), user("More"), at=2) == Place(1, 2, 1)


def test_parallel_requests_with_equal_answers_are_ambiguous() -> None:
    client = Client()
    assert client.call(user("Hi"), answer="Hello.", at=1) == Place(1, 1, 1)
    assert client.call(user("Hi"), answer="Hello.", at=1.1) == Place(2, 1, 1)
    assert client.call(user("Hi"), said("Hello."), user("More"), at=2) == Place(1, 2, 1, (1, 2))
    assert client.call(user("Hi"), said("Hello."), user("More"), at=2.1) == Place(2, 2, 1, (1, 2))
    assert client.call(user("Hi"), answer="Hello.", at=3) == Place(3, 1, 1)
    assert client.call(user("Hi"), said("Hello."), user("More"), at=4) == Place(3, 2, 1)


def test_parallel_equal_requests_that_both_failed_have_ambiguous_retries() -> None:
    client = Client()
    assert client.call(user("Hi"), status=429, at=1) == Place(1, 1, 1)
    assert client.call(user("Hi"), status=429, at=1.1) == Place(2, 1, 1)
    assert client.call(user("Hi"), at=2) == Place(1, 1, 2, (1, 2))
    assert client.call(user("Hi"), at=2.1) == Place(2, 1, 2, (1, 2))


def test_a_request_before_the_end_of_an_answer_does_not_continue_it() -> None:
    client = Client()
    assert client.call(user("Hi"), answer="Hello.", at=1, lasts=5) == Place(1, 1, 1)
    assert client.call(user("Hi"), said("Hello."), user("More"), at=2) == Place(2, 1, 1)


def test_another_answer_to_the_same_question_stays_in_the_conversation() -> None:
    client = Client()
    client.call(user("Hi"), answer="Hello.")
    assert client.call(user("Hi"), said("Hello."), user("More"), answer="Yes.") == Place(1, 2, 1)
    assert client.call(user("Hi"), said("Hello."), user("More"), answer="No.") == Place(1, 3, 1, again=2)
    assert client.call(user("Hi"), said("Hello."), user("Less")) == Place(1, 4, 1)


def test_an_answer_that_the_client_wrote_anew_continues_the_only_such_request() -> None:
    client = Client()
    client.call(user("Hi"), answer="<think>Hm.</think> Hello.")
    assert client.call(user("Hi"), said("Hello."), user("More")) == Place(1, 2, 1)


def test_a_second_message_to_a_prompt_does_not_continue_the_prompt() -> None:
    client = Client()
    client.call(user("A long document."), answer="A summary.")
    assert client.call(user("A long document."), user("What is it about?")) == Place(2, 1, 1)


def test_a_message_after_a_failed_call_continues_it() -> None:
    client = Client()
    client.call(user("Hi"), status=400)
    assert client.call(user("Hi"), user("Hi again")) == Place(1, 2, 1)


def test_the_last_answer_shows_the_conversation_of_a_shortened_history() -> None:
    client = Client()
    client.call(user("What is the sea?"), answer="A lot of salt water.")
    history = (user("What is the sea?"), said("A lot of salt water."), user("And a lake?"))
    client.call(*history, answer="Less water, without the salt.")
    shortened = (user("And a lake?"), said("Less water, without the salt."), user("And a pond?"))
    assert client.call(*shortened) == Place(1, 3, 1)


def test_examples_in_a_prompt_are_no_history() -> None:
    client = Client()
    examples = (user("Translate: the sea is wide"), said("Das Meer ist weit"))
    for number in (1, 2, 3):
        assert client.call(*examples, user(f"Translate: {number}"), answer=str(number)) == Place(number, 1, 1)


def test_counted_ids_of_tool_calls_do_not_join_two_runs() -> None:
    client = Client()
    called = {"role": "assistant", "tool_calls": [{"id": "call_1", "function": {"name": "look", "arguments": "{}"}}]}
    output = {"role": "tool", "tool_call_id": "call_1", "content": "42"}
    for run in (1, 2):
        assert client.call(user("Hi"), tool="call_1") == Place(run, 1, 1)
        assert client.call(user("Hi"), called, output) == Place(run, 2, 1)


def test_the_id_of_the_previous_response_continues_it() -> None:
    client = Client(RESPONSES)
    assert client.call(user("Hi"), answer="Hello.") == Place(1, 1, 1)
    assert client.call(user("Hi"), answer="Hello.") == Place(2, 1, 1)
    assert client.call(user("More"), previous_response_id="resp_00000001") == Place(1, 2, 1)
    assert client.call(user("More"), previous_response_id="resp_00000002") == Place(2, 2, 1)
    assert client.call(user("More"), previous_response_id="resp_00000003") == Place(1, 3, 1)
    assert client.call(user("More"), previous_response_id="resp_of_another_day") == Place(3, 1, 1)


def test_the_id_of_a_conversation_that_the_provider_keeps_groups_its_calls() -> None:
    client = Client(RESPONSES)
    for name, place in (("conv_a", (1, 1, 1)), ("conv_b", (2, 1, 1)), ("conv_a", (1, 2, 1)), ("conv_b", (2, 2, 1))):
        assert client.call(user("Hi"), answer="Hello.", conversation=name) == Place(*place)


def test_a_known_place_is_kept() -> None:
    client = Client()
    client.grouping = Grouping(known={1: Place(7, 1, 1), 2: Place(7, 2, 1, (7, 8))})
    assert client.call(user("Hi"), answer="Hello.") == Place(7, 1, 1)
    assert client.call(user("Hi"), said("Hello."), user("More")) == Place(7, 2, 1, (7, 8))


@pytest.mark.parametrize("seed", range(8))
def test_calls_that_go_on_have_the_places_that_they_have_at_the_end(seed: int) -> None:
    chance, client, calls = random.Random(seed), Client(), list[ModelCall]()
    talks = [[user("Hi"), said("Hello.")], [user("Hi"), said("Hello.")], [user("Why?"), said("Because of it.")]]
    for number in range(40):
        client.now = number / 10
        talk = chance.choice(talks)
        status = chance.choice([200, 200, 429])
        answer = chance.choice(["Yes, of course.", f"Answer {number} of them."])
        calls.append(
            client.made(*talk, user("Go on"), answer=answer, lasts=chance.choice([0.05, 0.15, 2]), status=status)
        )
        if status == 200:
            talk += [user("Go on"), said(answer)]
    whole, live, open_ = Grouping(), Grouping(), list[ModelCall]()
    places = {call.exchange: whole.add(call) for call in calls}
    for call in calls:
        for one in sorted(open_, key=lambda one: one.ended_ns or 0):
            if (one.ended_ns or 0) <= call.started_ns:
                live.end(one)
                open_.remove(one)
        live.begin(replace(call, ending="open", ended_ns=None, texts=(), own_ids=(), tool_calls=(), status=None))
        open_.append(call)
    assert live.places == places
    assert len({place.conversation for place in places.values()}) < len(places), "some calls continue others"


def test_the_first_live_call_of_a_fork_continues_the_last_recorded_one_though_its_first_message_was_changed() -> None:
    of = Recording(1, "2026-01-01T00:00:00+00:00", "1", "auto", None, labels={FORK_OF: "a.db#1"})
    client = Client()
    client.grouping.know([of])

    def call(*messages: Mapping[str, Any], answer: str, is_live: bool) -> Place:
        client.now += 1
        made = client.made(*messages, answer=answer)
        return client.grouping.add(made if is_live else replace(made, answered_from=made.exchange))

    assert call(user("Hi"), answer="Hello.", is_live=False) == Place(1, 1, 1)
    assert call(user("Hey"), said("Hello."), user("More"), answer="Yes.", is_live=True) == Place(1, 2, 1)
    history = user("Hey"), said("Hello."), user("More"), said("Yes.")
    assert call(*history, user("And?"), answer="No.", is_live=True) == Place(1, 3, 1)
    assert call(user("Another"), said("One"), user("here"), answer="Yes.", is_live=True) == Place(2, 1, 1)
