"""`CASSETTE#2`: one conversation of a cassette with model calls of real clients."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

import omnirecord
from omnirecord.cassette.conversations import conversation_named, placed_calls
from omnirecord.cassette.open import import_file, named_part, open_store
from omnirecord.errors import UsageError
from tests.support import forked
from tests.support.cassettes import SHIPPED

DAY = SHIPPED / "agents" / "day.jsonl"
BOTH = SHIPPED / "both_hops" / "both_text.jsonl"
CONVERSATIONS = {
    1: [1, 2], 2: [3, 4], 3: [5, 6], 4: [7, 8, 9], 5: [10, 11, 12], 6: [13, 14], 7: [15, 16], 8: [17, 19], 9: [18, 20],
    10: [21],
}  # fmt: skip
"""The exchanges of each conversation, as `tests.support.agents` made them."""


def exchanges_of(source: Path | str) -> list[int]:
    with closing(open_store(source)) as store:
        return [x.exchange for x in store.exchanges()]


def test_the_calls_of_an_agent_are_one_conversation_in_each_api() -> None:
    found: dict[int, list[int]] = {}
    with closing(open_store(DAY)) as store:
        for call, place in placed_calls(store):
            found.setdefault(place.conversation, []).append(call.exchange)
    assert found == CONVERSATIONS


def test_only_the_parallel_equal_calls_are_ambiguous() -> None:
    with closing(open_store(DAY)) as store:
        unsure = {call.exchange: place.candidates for call, place in placed_calls(store) if place.candidates}
    assert unsure == {19: (8, 9), 20: (8, 9)}


def test_a_call_that_was_refused_and_repeated_is_one_call_with_two_attempts() -> None:
    with closing(open_store(f"{DAY}#7")) as store:
        places = [(call.status, place.call, place.attempt) for call, place in placed_calls(store)]
    assert places == [(429, 1, 1), (200, 1, 2)]


@pytest.mark.parametrize("number", CONVERSATIONS)
def test_a_cassette_with_a_number_is_that_conversation(number: int) -> None:
    assert exchanges_of(f"{DAY}#{number}") == CONVERSATIONS[number]
    assert exchanges_of(f"{DAY}#conversation-{number}") == CONVERSATIONS[number]
    with closing(open_store(f"{DAY}#{number}")) as store:
        assert {place.conversation for _, place in placed_calls(store)} == {number}


def test_an_unknown_number_is_a_sentence_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no conversation 11: there are #1 to #10"):
        open_store(f"{DAY}#11")
    with closing(open_store(f"{DAY}#2")) as part, pytest.raises(UsageError, match="there is only #2"):
        conversation_named(part, "3")


def test_a_number_in_a_cassette_without_model_calls_is_the_beginning_of_a_session_id() -> None:
    with pytest.raises(UsageError, match="no session begins with '9': there are"):
        open_store(f"{SHIPPED / 'text.jsonl'}#9")


def test_a_number_that_begins_the_id_of_a_session_too_has_to_be_completed(tmp_path: Path) -> None:
    text = BOTH.read_text()
    name = json.loads(next(line for line in text.splitlines() if '"session_id": "' in line))["session_id"]
    copy = tmp_path / "both.jsonl"
    copy.write_text(text.replace(name, f"1{name[1:]}"))
    with pytest.raises(UsageError, match=f"1 is a conversation, and the session 1{name[1:]} begins with it"):
        open_store(f"{copy}#1")
    with closing(open_store(f"{copy}#conversation-1")) as store:
        assert {x.session_id for x in store.exchanges()} == {None}
    with closing(open_store(f"{copy}#1{name[1:8]}")) as store:
        assert {x.session_id for x in store.exchanges()} == {f"1{name[1:]}"}


def test_an_import_and_an_export_keep_one_conversation(tmp_path: Path) -> None:
    db = tmp_path / "one.db"
    import_file(f"{DAY}#4", db)
    assert len(exchanges_of(db)) == 3
    done = forked.run(["export", f"{DAY}#4", "-o", "four.jsonl"], tmp_path)
    assert (done.code, done.errors) == (0, b"")
    assert exchanges_of(f"{tmp_path / 'four.jsonl'}#1") == [7, 8, 9]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["show"], "asks for tool weather"),
        (["doctor"], "(exchange 15)"),
        (["stats"], "2 calls"),
        (["query", "SELECT count(*) AS n FROM exchanges"], "2"),
        (["events"], "stream"),
        (["search", "sunny"], "turn 1 of conversation #1"),
        (["diff", f"{DAY}#2"], "no difference in 2 model calls"),
    ],
)
def test_commands_read_one_conversation(words: list[str], wanted: str, tmp_path: Path) -> None:
    number = 7 if words[0] in ("doctor", "events") else 1
    done = forked.run([words[0], f"{DAY}#{number}", *words[1:]], tmp_path)
    assert wanted in done.out.decode(), done


@pytest.mark.parametrize("only", [None, "model"])  # the only hop of a run is the hop to the model
def test_a_replay_of_one_conversation_expects_only_its_calls(only: str | None) -> None:
    with omnirecord.replay(f"{DAY}#5", timing="instant", only=only, allow_no_requests=True) as server:
        assert [one.exchange for one in server.unplayed] == [10, 11, 12]


def test_a_conversation_is_a_cassette_and_a_session_is_none() -> None:
    assert named_part(f"{DAY}#2") == (Path(f"{DAY}#2"), None)
    assert named_part(f"{SHIPPED / 'text.jsonl'}#9") == (SHIPPED / "text.jsonl", "9")
    assert named_part(DAY) == (DAY, None)
    for name in ("2", "#2"):  # as an option gives it
        assert named_part(DAY, name) == (Path(f"{DAY}#2"), None)
    assert named_part(DAY, "conversation-2") == (Path(f"{DAY}#conversation-2"), None)


def test_a_session_argument_and_a_session_option_take_the_number_of_a_conversation(tmp_path: Path) -> None:
    whole = forked.run(["show", f"{DAY}#2"], tmp_path)
    assert forked.run(["show", str(DAY), "#2"], tmp_path).out == whole.out != b""
    found = forked.run(["events", str(DAY), "--session", "conversation-7", "--json"], tmp_path)
    assert (found.code, found.out) == (0, forked.run(["events", f"{DAY}#7", "--json"], tmp_path).out)
    other = forked.run(["doctor", str(DAY), "x"], tmp_path)
    assert b"a conversation of model calls has a number, as in CASSETTE#1" in other.errors


def test_one_of_several_hops_to_models_has_to_be_named() -> None:
    why = "no hop 'model': it has openai, anthropic, google; to replay all of them, leave out --only"
    with pytest.raises(UsageError, match=why), omnirecord.replay(DAY, only="model"):
        pass


def test_a_verification_compares_the_answers_that_are_no_streams(tmp_path: Path) -> None:
    done = forked.run(["verify", f"{DAY}#1", "--timing", "instant"], tmp_path)
    assert (done.code, done.errors) == (0, b"")
    assert done.out.startswith(b"2 plain answers, ")
    both = forked.run(["verify", str(DAY), "--timing", "instant", "--json"], tmp_path)
    assert (both.code, json.loads(both.out)["streams"], json.loads(both.out)["calls"]) == (0, 5, 16)


def test_a_conversation_is_not_followed(tmp_path: Path) -> None:
    for words in ([f"{DAY}#2"], [str(DAY), "--session", "conversation-2"]):
        done = forked.run(["tail", *words], tmp_path)
        assert (done.code, done.out) == (2, b"")
        assert b"a conversation is not followed: omnirecord show " in done.errors
