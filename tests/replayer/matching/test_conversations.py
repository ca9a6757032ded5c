"""Requests to model APIs are matched by their conversations."""

from __future__ import annotations

import gzip
import json
import sys
from datetime import date, timedelta
from typing import Any

import pytest

from omnirecord.errors import UsageError
from omnirecord.model import Exchange, Headers, Request, Response
from omnirecord.replayer.matching import Asked, Lookup, conversations
from omnirecord.replayer.matching.conversations import Conversations
from omnirecord.replayer.matching.key import Incoming, UsedBy
from omnirecord.replayer.matching.rules import Rules
from tests.support.examples import each

PATH = "/v1/responses"


def request(body: Any, path: str = PATH, headers: Headers = ()) -> Incoming:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Incoming("POST", path, body=data, headers=headers)


def lookup(*bodies: Any, rules: list[str] | None = None, path: str = PATH) -> Lookup:
    stored = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in bodies]
    answer = Response(1, 2, 200, "OK", ())
    exchanges = [
        Exchange(
            n, 1, "http", None, None, "client", Request(n * 10, "POST", path, ()), answer, "done", end_ns=n * 10 + 5
        )
        for n in range(1, len(stored) + 1)
    ]
    return Lookup(exchanges, lambda x: stored[x.exchange - 1], Rules.parse(rules or []))


def ask(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": text, **fields}


def answered(found: Lookup, body: Any, asked: Asked, **named: Any) -> int | None:
    exchange = found.next(request(body, **named), asked, again=True)
    return None if exchange is None else exchange.exchange


def test_the_conversation_selects_the_answer_whatever_the_order() -> None:
    found, asked = lookup(ask("a"), ask("b"), ask("c")), set()
    assert [answered(found, ask(one), asked) for one in "cab"] == [3, 1, 2]


def test_equal_conversations_are_answered_in_recorded_order_and_then_again() -> None:
    found, asked = lookup(ask("a"), ask("b"), ask("a")), set()
    assert [answered(found, ask("a"), asked) for _ in range(4)] == [1, 3, 1, 3]


def test_the_ids_of_a_client_select_the_answer_among_equal_conversations() -> None:
    def told(call: str) -> dict[str, Any]:
        item = {"type": "function_call", "call_id": call, "name": "f", "arguments": "{}"}
        return ask([item, {"type": "function_call_output", "call_id": call, "output": "x"}])  # type: ignore[arg-type]

    found, asked = lookup(told("call_1"), told("call_2")), set()
    assert [answered(found, told(one), asked) for one in ("call_2", "call_1")] == [2, 1]
    continued = [ask("go on", previous_response_id=f"resp_{n}") for n in (1, 2)]
    found, asked = lookup(*continued), set()
    assert [answered(found, one, asked) for one in reversed(continued)] == [2, 1]


@each(
    "other",
    [
        {"model": "n"},
        {"stream": True},
        {"instructions": "Be brief."},
        {"tools": [{"type": "web_search"}]},
        {"input": "A"},
    ],
)
def test_each_part_has_to_be_equal(other: dict[str, Any]) -> None:
    assert answered(lookup(ask("a")), ask("a") | other, set()) is None


def test_settings_count_where_whole_bodies_do() -> None:
    warm = ask("a", temperature=1, metadata={"run": "1"})
    for rules in ([], ["body"]):
        assert answered(lookup(ask("a"), rules=rules), warm, set()) is None
        assert answered(lookup(ask("a"), rules=[*rules, "ignore conversation settings"]), warm, set()) == 1
        assert answered(lookup(ask("a"), rules=rules), ask("a", user="u", metadata={"run": "2"}), set()) == 1


@each("rule", ["path", f"path for POST {PATH}"])
def test_without_bodies_the_recorded_order_selects_the_answer(rule: str) -> None:
    found, asked = lookup(ask("a"), ask("b"), rules=[rule]), set()
    assert [answered(found, ask(one, model="n"), asked) for one in "cba"] == [1, 2, 1]
    assert answered(lookup(ask("a"), rules=[rule, "body"]), ask("b"), set()) is None
    assert answered(lookup(ask("a"), rules=["path for POST /other"]), ask("b"), set()) is None


@each(
    ("other", "rule"),
    [
        (ask("b"), "ignore conversation messages"),
        (ask("a", model="n"), "ignore conversation model"),
        (ask("a", temperature=1), "ignore conversation settings"),
        (ask("b", model="n"), "ignore conversation"),
    ],
)
def test_a_miss_names_the_rule_that_ignores_its_difference(other: dict[str, Any], rule: str) -> None:
    miss = lookup(ask("a")).miss(request(other))
    written: list[tuple[UsedBy, str]] = [
        ("serve", f"--match '{rule}'"), ("python", f'match="{rule}"'),
        ("pytest", f'@pytest.mark.omnirecord(match="{rule}")'),
    ]  # fmt: skip
    for used_by, said in written:
        assert miss.text(used_by).splitlines()[-1] == f"To ignore such a difference: {said}"
    assert answered(lookup(ask("a"), rules=[rule]), other, set()) == 1


def test_rules_ignore_a_part_or_all_of_a_conversation() -> None:
    other = ask("b", instructions="Today is Friday.", model="n")
    assert answered(lookup(ask("b", instructions="Today is Monday.")), other, set()) is None
    rules = ["ignore conversation instructions", "ignore conversation model"]
    found = lookup(ask("a", instructions="Today is Monday."), ask("b", instructions="Today is Monday."), rules=rules)
    assert answered(found, other, set()) == 2
    found, asked = lookup(ask("x"), ask("y"), rules=["ignore conversation for POST */responses"]), set()
    assert [answered(found, ask("b"), asked) for _ in range(2)] == [1, 2]


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(UsageError, match="'prompt' is no part of a conversation: take model, stream, instructions"):
        Rules.parse("ignore conversation prompt")


def test_a_json_path_counts_as_well() -> None:
    found = lookup(ask("a", metadata={"x": 1}), ask("a", metadata={"x": 2}), rules=["body $.metadata.x"])
    assert answered(found, ask("a", metadata={"x": 2}), set()) == 2


def test_a_secret_in_a_prompt_counts_as_equal_to_its_pseudonym() -> None:
    arguments = json.dumps({"password": "omnirecord-redacted-0123456789ab"})
    item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments}
    recorded = {"model": "m", "input": [item]}
    sent = {"model": "m", "input": [item | {"arguments": json.dumps({"password": "hunter2-and-more"})}]}
    assert answered(lookup(recorded), sent, set()) == 1


def test_a_compressed_body_is_read() -> None:
    body = gzip.compress(json.dumps(ask("b")).encode())
    found = lookup(ask("a"), ask("b"))
    assert answered(found, body, set(), headers=(("Content-Encoding", "gzip"),)) == 2


def test_a_body_that_is_no_conversation_matches_only_such_a_one() -> None:
    found = lookup(ask("a"), b"no JSON")
    assert answered(found, b"neither", set()) is None
    assert answered(found, b"no JSON", set()) == 2
    assert answered(found, ask("a"), set()) == 1
    assert answered(lookup(ask("a")), b"neither", set()) is None
    message = lookup(ask("a")).miss(request(b"neither")).message
    assert message == f"POST {PATH} was recorded, but its body is no request to a model: it cannot be read"


def test_a_miss_names_the_nearest_call_and_the_first_difference() -> None:
    found = lookup(ask("Tell me of the sea."), ask("Weather in Rome?"), ask("Weather in Rome?", model="n"))
    miss = found.miss(request(ask("Weather in Oslo?")))
    assert miss.text() == (
        f"POST {PATH} was recorded, but not with this conversation; nearest recorded, as [-recorded-]{{+asked+}}:\n"
        "  call 2 of 3, exchange 2:\n"
        "    item 1 (user): Weather in [-Rome-]{+Oslo+}?\n"
        "To ignore such a difference: --match 'ignore conversation messages'"
    )
    assert miss.nearest == [
        {"request": f"POST {PATH} (call 2 of 3, exchange 2)", "differs": "item 1 (user): Weather in [-Rome-]{+Oslo+}?"}
    ]


def test_a_miss_shows_white_space_and_the_place_in_a_long_text() -> None:
    long = "a word or two, " * 20_000
    miss = lookup(ask(f"{long}end\nof it")).miss(request(ask(f"{long}end of it")))
    assert miss.nearest[0]["differs"].endswith("two, end[-\\n-]{+ +}of it")
    assert len(miss.nearest[0]["differs"]) < 200


def test_a_miss_tells_a_message_that_only_one_side_has() -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    found = lookup({"model": "m", "messages": messages}, path="/v1/chat/completions")
    miss = found.miss(request({"model": "m", "messages": messages[:1]}, "/v1/chat/completions"))
    assert miss.lines[1] == "  item 2 (assistant): [-Hello-]"


def test_a_miss_lists_three_differences_at_most() -> None:
    other = {"model": "n", "stream": True, "instructions": "x", "input": "b"}
    lines = lookup(ask("a")).miss(request(other)).lines
    assert (len(lines), lines[-1]) == (5, "  and 1 more difference")


def test_tools_in_another_order_match() -> None:
    tools = [{"type": "function", "name": name, "parameters": {}} for name in "ab"]
    assert answered(lookup(ask("a", tools=tools)), ask("a", tools=tools[::-1]), set()) == 1


@each(
    "told",
    [
        "Today's date is {0:%Y-%m-%d}.",
        "It is {0:%A}, {0:%B} {0.day}, {0.year}.",
        "{0:%m/%d/%Y}",
        "at {0:%Y-%m-%d}T10:00:00Z",
    ],
)
def test_the_day_of_the_recording_equals_the_day_of_the_request(told: str) -> None:
    recorded, today = date(2026, 11, 9), date(2027, 2, 3)
    stored = [json.dumps(ask("x", instructions=told.format(recorded))).encode()]
    exchange = Exchange(
        1, 1, "http", None, None, "client", Request(0, "POST", PATH, ()), Response(1, 2, 200, "OK", ()), "done"
    )
    found = Lookup([exchange], lambda _: stored[0], day_of=lambda _: recorded)
    for day in (today, today - timedelta(1)):
        sent = json.dumps(ask("x", instructions=told.format(day))).encode()
        assert found.next(Incoming("POST", PATH, body=sent, day=today), set(), again=True) == exchange
    other = json.dumps(ask("x", instructions=told.format(date(2027, 5, 5)))).encode()
    is_time = "T10" in told
    assert (found.next(Incoming("POST", PATH, body=other, day=today), set(), again=True) is not None) is is_time


def test_requests_of_omnigent_are_no_conversations() -> None:
    body = json.dumps({"type": "message", "data": {"role": "user", "content": "Hi"}}).encode()
    exchange = Exchange(
        1, 1, "http", None, None, "client", Request(0, "POST", "/v1/x", ()), Response(1, 2, 200, "OK", ()), "done"
    )
    assert exchange not in Conversations(lambda _: body, [exchange], Rules())


def test_a_call_that_was_not_played_is_told_by_its_number_and_question() -> None:
    stored = [json.dumps(ask(text)).encode() for text in ("first", "second\n\x1b[2J")]
    calls = [
        Exchange(n, 1, "http", None, None, "client", Request(n, "POST", path, ()), None, "eof")
        for n, path in enumerate((PATH, PATH, "/v1/other"), 1)
    ]
    found = Conversations(lambda x: [*stored, b"{}"][x.exchange - 1], calls, Rules.parse([]))
    assert [found.told(x) for x in calls] == [
        'call 1 of 2, exchange 1: "first"', 'call 2 of 2, exchange 2: "second \\x1b[2J"', "",
    ]  # fmt: skip


def test_a_miss_with_a_long_text_makes_no_call_for_each_character() -> None:
    def calls(size: int) -> int:
        found, count = lookup(ask("x" * size + "1"), ask("x" * size + "2")), 0

        def counted(_frame: object, event: str, _argument: object) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(counted)
        try:
            miss = found.miss(request(ask("x" * size + "3")))
        finally:
            sys.setprofile(None)
        assert "x1-]{+x" in miss.lines[-1]
        return count

    calls(1_000)  # the first one compiles the expressions for secrets
    assert calls(1_000_000) < calls(1_000) + 200


def test_a_miss_reads_few_recorded_requests_if_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "_READ_BYTES", 400_000)
    bodies = [json.dumps(ask("x" * 300_000 + str(n))).encode() for n in range(4)]
    read: list[int] = []
    answer = Response(1, 2, 200, "OK", ())
    exchanges = [
        Exchange(
            n, 1, "http", None, None, "client", Request(n * 10, "POST", PATH, ()), answer, "done",
            request_bytes=len(bodies[n - 1]), end_ns=n * 10 + 5,
        )
        for n in range(1, 5)
    ]  # fmt: skip

    def body(x: Exchange) -> bytes:
        read.append(x.exchange)
        return bodies[x.exchange - 1]

    found = Lookup(exchanges, body, Rules())
    read.clear()
    assert found.miss(request(ask("y"))).lines
    assert read == [1]


def test_a_miss_says_that_the_recorded_conversation_has_ended_only_if_no_recorded_call_continues_it() -> None:
    one, two, three = ({"role": "user", "content": text} for text in ("One?", "Two?", "Three?"))
    answer = {"role": "assistant", "content": "One."}
    asked = request({"model": "m", "input": [one, answer, two]})
    first = {"model": "m", "input": [one]}
    assert "comes after the end of its recorded conversation, call 1 of 1" in lookup(first).miss(asked).text()
    for recorded in (
        [first, {"model": "m", "input": [one, answer, three]}],
        [{"model": "n", "input": [one]}],
        [{"model": "m", "input": [two]}],
    ):
        assert "was recorded, but not with this conversation" in lookup(*recorded).miss(asked).text()
