"""What the page is told about model calls."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from omnirecord.cassette.conversations import placed_calls
from omnirecord.cassette.export import jsonl_bytes
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Writer
from omnirecord.errors import UsageError
from omnirecord.omnigent.protocol import RESPONSE_OUTPUT_TEXT_DELTA
from omnirecord.providers.call import call_of
from omnirecord.ui.calls import ITEMS, SAID, SHOWN, Hops, all_moves, calls
from omnirecord.ui.data import Answers
from tests.support.cassettes import SHIPPED, Made
from tests.support.examples import each
from tests.support.hop_tapes import ANSWER, ASKED, asked, both_hops, model_hop, user
from tests.support.live_rows import live_rows

KEY = "1.session.s"


@pytest.fixture
def both(tmp_path: Path) -> Path:
    return both_hops().save(tmp_path / "both.db")


@pytest.fixture
def answers(both: Path) -> Iterator[Answers]:
    with closing(Answers(lambda: both)) as made:
        yield made


def ask(answers: Answers, name: str, **given: Any) -> Any:
    return answers.answer(name, {key: str(value) for key, value in given.items()})


def answer_of(path: Path, name: str, **given: Any) -> Any:
    with closing(Answers(lambda: path)) as answers:
        return ask(answers, name, **given)


def test_a_call_and_a_turn_say_how_to_fork_there(answers: Answers) -> None:
    command = "#s --from-call 2 --set PATH=VALUE -- COMMAND"
    assert ask(answers, "call", exchange=6)["fork"] == command  # calls 4 and 5 are attempts of one
    (spent,) = ask(answers, "calls", key=KEY)["spent"]
    assert spent["fork"] == "#s --from-turn 1 --message TEXT --upstream URL --upstream model=URL"
    day = SHIPPED / "agents" / "day.jsonl"
    with closing(open_store(day)) as store:
        called = next(call.exchange for call, place in placed_calls(store) if place[:2] == (1, 2))
    assert answer_of(day, "call", exchange=called)["fork"] == "#1 --from-call 2 --set PATH=VALUE -- COMMAND"
    (first, *_) = answer_of(day, "calls", key="1.session.conversation-1")["spent"]
    assert first["fork"] == "#1 --from-call 1 --set PATH=VALUE -- COMMAND"


def test_a_session_has_its_calls_with_attempts_and_endings(answers: Answers) -> None:
    found = ask(answers, "calls", key=KEY)["calls"]
    assert [(one["exchange"], one["turn"], one["attempt"], one["ending"]) for one in found] == [
        (4, 1, 1, "refused"), (5, 1, 2, "completed"), (6, 1, 1, "completed"),
    ]  # fmt: skip
    assert {one["key"] for one in found} == {KEY}
    (spent,) = ask(answers, "calls", key=KEY)["spent"]
    assert (spent["key"], spent["turn"]) == (KEY, 1)
    assert spent["sentence"].startswith(
        "took 14.0 s: model 5.70 s in 2 calls (3 attempts), waiting to retry 1.60 s, tool"
    )
    assert (found[2]["asked"], found[2]["said"], found[1]["tools"]) == (ASKED, "".join(ANSWER), ["wc"])


def test_the_overview_says_which_recording_has_calls_and_lists_none_as_a_session(answers: Answers) -> None:
    overview = ask(answers, "overview")
    assert [one["is_model_hop"] for one in overview["recordings"]] == [False, True]
    assert [one["key"] for one in overview["sessions"]] == [KEY]
    assert overview["others"] == []


def test_the_calls_of_a_cassette_with_only_a_model_hop_are_in_conversations(tmp_path: Path) -> None:
    path = model_hop(3).save(tmp_path / "model.db")
    keys = [f"1.session.conversation-{number}" for number in (1, 2, 3)]
    assert [row["key"] for row in answer_of(path, "overview")["sessions"]] == keys
    found = answer_of(path, "calls")["calls"]
    assert [(one["exchange"], one["key"], one["said"]) for one in found] == [
        (1, keys[0], "Answer 0"), (2, keys[1], "Answer 1"), (3, keys[2], "Answer 2"),
    ]  # fmt: skip


def test_a_conversation_has_its_turns_with_tools_and_answers() -> None:
    day = SHIPPED / "agents" / "day.jsonl"
    found = answer_of(day, "session", key="2.session.conversation-5")
    (family,) = found["family"]
    assert [turn["asked"][0]["text"] for turn in family["turns"]] == ["What is the weather in Rome?", "And tomorrow?"]
    assert [(tool["name"], tool["output"]) for tool in family["turns"][0]["tools"]] == [("weather", "sunny")]
    assert family["conclusion"]["outcome"] == "finished"
    calls = answer_of(day, "calls", key="2.session.conversation-5")["calls"]
    assert [(one["exchange"], one["turn"]) for one in calls] == [(10, 1), (11, 1), (12, 2)]


def test_a_call_has_its_messages_tools_and_answer(answers: Answers) -> None:
    found = ask(answers, "call", exchange=6)
    body = found["request_body"]
    assert (body["instructions"]["text"], body["count"]) == ("You are a poet.", 3)
    assert [(one["kind"], one["text"], one["call_id"]) for one in body["items"]] == [
        ("user", ASKED, None), ("call", '{"path": "poem.txt"}', "call_1"), ("output", "3 poem.txt", "call_1"),
    ]  # fmt: skip
    assert [(one["name"], one["description"]["text"]) for one in body["tools"]] == [("wc", "Count lines.")]
    assert found["answer"]["texts"] == [{"text": "".join(ANSWER), "cut": None}]


def test_a_long_message_is_cut_and_can_be_had_as_a_whole(tmp_path: Path) -> None:
    prompt = "word " * 400_000
    path = model_hop(1, prompt).save(tmp_path / "long.db")
    found = answer_of(path, "call", exchange=1)
    (item,) = found["request_body"]["items"]
    assert (len(item["text"]), item["cut"], len(found["asked"])) == (SHOWN, len(prompt), SAID)
    assert len(json.dumps(found)) < 10 * SHOWN
    assert answer_of(path, "part", exchange=1, part="item.0") == {"text": prompt, "cut": None}


def test_a_long_history_comes_in_parts_from_its_end(tmp_path: Path) -> None:
    tape = model_hop(0)
    tape.post("/v1/responses", 1.0, body=asked(*(user(f"message {n}") for n in range(450))), answer={"id": "r"})
    path = tape.save(tmp_path / "history.db")
    seen, until = list[str](), None
    while until != 0:
        body = answer_of(path, "call", exchange=1, **({} if until is None else {"until": until}))["request_body"]
        assert len(body["items"]) <= ITEMS
        seen = [one["text"] for one in body["items"]] + seen
        until = body["begin"]
    assert seen == [f"message {n}" for n in range(450)]


def test_a_delta_leads_to_its_partner_and_back(answers: Answers) -> None:
    cause = ask(answers, "move", stream=1, seq=7)
    assert (cause["exchange"], cause["stream"], cause["seq"], cause["by"]) == (6, 3, 3, "text")
    effect = ask(answers, "move", stream=3, seq=3)
    assert (effect["exchange"], effect["stream"], effect["seq"], effect["key"]) == (None, 1, 7, KEY)
    assert cause["gap_ns"] == effect["gap_ns"] == 100_000_000


def test_an_event_without_a_partner_leads_nowhere(answers: Answers) -> None:
    assert ask(answers, "move", stream=1, seq=1) is None
    assert ask(answers, "move", stream=3, seq=1) is None
    assert ask(answers, "move", stream=9, seq=1) is None


@each("path", sorted((SHIPPED / "both_hops").glob("*.jsonl")))
def test_each_text_delta_of_a_real_client_leads_to_the_model_that_wrote_it(path: Path) -> None:
    with closing(open_store(path)) as store:
        hops = Hops.of(store)
        keys = {one["key"] for one in calls(hops)["calls"]}
        found = all_moves(store, hops, keys)
        heard = {
            f"{x.stream}:{frame.seq}" for x in store.streams() if x.stream not in hops.by_stream
            for frame in store.frames(x) if frame.type == RESPONSE_OUTPUT_TEXT_DELTA
        }  # fmt: skip
    assert None not in keys
    assert heard <= found.keys()
    assert {(one["by"], one["gap_ns"] > 0) for one in found.values()} == {("text", True)}


@each(
    ("name", "given"),
    [("call", {"exchange": 1}), ("call", {"exchange": "x"}), ("call", {"exchange": 99}), ("part", {"exchange": 6}),
     ("part", {"exchange": 6, "part": "item.99"}), ("part", {"exchange": 6, "part": "item.x"}), ("move", {"stream": 1}),
     ("calls", {"key": "nonsense"})],
)  # fmt: skip
def test_a_call_that_does_not_exist_is_refused(answers: Answers, name: str, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ask(answers, name, **given)


def recorded(folder: Path, tape: Made, parts: int) -> Iterator[Path]:
    """The path of a cassette that is recorded, once for each of so many parts, and once after its end."""
    (folder / "tape.jsonl").write_bytes(b"".join(jsonl_bytes(tape.store())))
    left, path = live_rows(folder / "tape.jsonl"), folder / "live.db"
    size = len(left) // parts + 1
    with closing(Writer(path)) as writer:
        for number in range(parts):
            writer.write(left[number * size : (number + 1) * size])
            yield path
    yield path


def test_while_a_cassette_is_recorded_its_calls_appear_and_get_their_turns(tmp_path: Path) -> None:
    with closing(Answers(lambda: tmp_path / "live.db")) as answers:
        seen = [ask(answers, "calls")["calls"] for _ in recorded(tmp_path, both_hops(), 25)]
    *_, live, whole = seen
    assert [(one["exchange"], one["turn"], one["ending"], one["said"]) for one in live] == [
        (one["exchange"], one["turn"], one["ending"], one["said"]) for one in whole
    ]
    assert any(one["ending"] == "open" and one["said"] == "The poem" for calls in seen for one in calls)


def test_while_a_cassette_is_recorded_its_conversations_are_listed_and_open(tmp_path: Path) -> None:
    names = ["conversation-1", "conversation-2"]
    with closing(Answers(lambda: tmp_path / "live.db")) as answers:
        for number, _ in enumerate(recorded(tmp_path, model_hop(2), 2)):
            sessions = ask(answers, "overview")["sessions"]
            assert [row["session_id"] for row in sessions] == names[: number + 1]
            for row in sessions:
                (turn,) = ask(answers, "session", key=row["key"])["family"][0]["turns"]
                assert turn["asked"][0]["text"] == "Hi"
                assert [one["turn"] for one in ask(answers, "calls", key=row["key"])["calls"]] == [1]


def test_a_refresh_reads_the_new_calls_only(tmp_path: Path) -> None:
    read: list[int] = []

    def counted(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is call_of.__code__:
            read.append(frame.f_locals["x"].exchange)

    with closing(Answers(lambda: tmp_path / "live.db")) as answers:
        sys.setprofile(counted)
        try:
            for _ in islice(recorded(tmp_path, model_hop(40), 20), 20):
                for name in ("calls", "calls"):
                    ask(answers, name)
        finally:
            sys.setprofile(None)
    assert set(read) == set(range(1, 41))
    assert max(Counter(read).values()) <= 6, "an open call is read at each refresh, one that is over once"
