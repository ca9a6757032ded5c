"""Model calls in `show`: below their turn, by themselves, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord import stats
from omnirecord.analysis.gather import gathered, whole_sessions
from omnirecord.analysis.listing import session_rows
from omnirecord.analysis.sessions import summaries
from omnirecord.analysis.stats import measured
from omnirecord.analysis.transcript import lines_of, rows_of
from omnirecord.analysis.transcript.follow import Following
from omnirecord.analysis.transcript.sentences import Page
from omnirecord.cassette.export import jsonl_bytes
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Store, Writer
from omnirecord.cli.sessions import lines_of as sessions_lines
from tests.support.cassettes import SHIPPED, Made
from tests.support.hop_tapes import both_hops, model_hop
from tests.support.live_rows import live_rows

ASKED: dict[str, Any] = {"model": "m", "input": "Hi", "stream": True}
RETRIED = SHIPPED / "both_hops" / "both_retried.jsonl"


def event(type_: str, **fields: Any) -> bytes:
    return f"event: {type_}\ndata: {json.dumps({'type': type_, **fields})}\n\n".encode()


def only_calls() -> Made:
    """A model hop without a client's hop: a good answer, a refused call, and one for a tool's output."""
    made = Made()
    made.another_recording("model", "openai-responses")
    done = event("response.completed", response={"id": "r", "status": "completed", "usage": {"input_tokens": 9}})
    reads = ((1.2, event("response.output_text.delta", delta="Hello\x1b[2J")), (1.3, done))
    made.stream("/v1/responses", 1.0, *reads, method="POST", body=json.dumps(ASKED).encode(), ending="eof")
    made.post("/v1/responses", 2.0, status=400, body=ASKED, answer={"error": {"code": "bad", "message": "No."}})
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "42"}
    items = [{"role": "user", "content": "Look"}, call, output]
    made.stream("/v1/responses", 3.0, *reads[1:], method="POST", body=json.dumps(ASKED | {"input": items}).encode())
    return made


def test_a_turn_has_its_calls_and_where_its_time_went() -> None:
    with closing(open_store(RETRIED)) as store:
        lines = "\n".join(lines_of(store, None, Page(200)))
        (row,) = rows_of(store, None)
    assert lines.count(" model stand-in") == 6  # five calls, and the model of the turn
    assert "!! model stand-in: 429 refused" in lines
    assert "model stand-in, attempt 3: 200 completed" in lines
    assert "in 3 calls (5 attempts), waiting to retry" in lines
    assert [call["attempt"] for call in row["model_calls"]] == [1, 1, 2, 3, 1]
    spent = row["time_spent"]
    assert spent["total_ns"] == sum(
        spent[f"{part}_ns"] for part in ("model", "retry_wait", "tool", "approval", "harness")
    )


def test_a_cassette_without_a_model_hop_has_no_calls() -> None:
    with closing(open_store(SHIPPED / "tool.jsonl")) as store:
        (row,) = rows_of(store, None)
        assert "took" not in "\n".join(lines_of(store, None))
    assert (row["model_calls"], row["time_spent"]) == ([], None)


def test_calls_alone_tell_prompt_answer_tokens_and_ending() -> None:
    with closing(only_calls().store()) as store:
        lines = list(lines_of(store, None))
    text = "\n".join(lines)
    assert lines[0].startswith("Finished at ")
    assert lines[1].startswith("Conversation #1 · recording 2 · hop model · 1 call · ")
    assert "You: Hi\n" in text
    assert "Assistant: Hello\\x1b[2J" in text
    assert "9 in tokens" in text
    assert "= 400 refused after 0.00 s: bad: No." in text
    assert "tool output: 42" in text
    assert "-- 2 earlier parts of the conversation" in text


def test_an_error_of_an_unknown_form_is_quoted() -> None:
    made = Made()
    made.another_recording("model", "openai-responses")
    made.post("/v1/responses", 1.0, status=502, body=ASKED, answer=["bad gateway"])
    with closing(made.store()) as store:
        assert '             = 502 refused after 0.00 s: ["bad gateway"]' in list(lines_of(store, None))


def test_calls_alone_have_an_object_each_with_the_keys_of_a_turn() -> None:
    with closing(only_calls().store()) as store:
        rows = list(rows_of(store, None))
    with closing(open_store(RETRIED)) as store:
        (turn,) = rows_of(store, None)
    assert len(rows) == 3
    assert all(list(row) == list(turn) for row in rows)
    assert [row["turn"] for row in rows] == [1, 1, 1]
    assert [row["session_id"] for row in rows] == ["conversation-1", "conversation-2", "conversation-3"]
    assert [len(row["model_calls"]) for row in rows] == [1, 1, 1]


def test_a_stream_of_a_provider_is_a_conversation_and_no_session_of_omnigent() -> None:
    names = ["conversation-1", "conversation-2", "conversation-3"]
    with closing(only_calls().store()) as store:
        assert list(gathered(store)) == []
        assert [row["session_id"] for row in session_rows(store)] == names
        assert [one.session_id for one in measured(store)] == names


def written(folder: Path, tape: Made, looks: int) -> Iterator[list[str]]:
    """The lines of each look at a cassette that is written in so many parts, and of the end."""
    (folder / "a.jsonl").write_bytes(b"".join(jsonl_bytes(tape.store())))
    left = live_rows(folder / "a.jsonl")
    size = len(left) // looks + 1
    with closing(Writer(folder / "a.db")) as writer:
        store = Store.open(folder / "a.db")
        following = Following(None, Page(10_000))
        for number in range(looks):
            writer.write(left[number * size : (number + 1) * size])
            store.refresh()
            following.look(store)
            yield list(map(str, following.news()))
        store.refresh()
        following.look(store)
        yield list(map(str, following.news()))
    store.refresh()
    following.look(store)
    yield list(map(str, following.news(last=True)))
    store.close()


def test_a_followed_turn_has_its_model_calls_as_they_end_and_where_its_time_went(tmp_path: Path) -> None:
    looks = list(written(tmp_path, both_hops(), 40))
    lines = [line for look in looks for line in look]
    calls = [line[15:] for line in lines if "model gpt-5" in line]
    whole = [str(line)[15:] for line in lines_of(both_hops().store(), None, Page(10_000)) if "model gpt-5" in line]
    assert calls == whole
    assert len(calls) == 3
    (refused,) = (number for number, look in enumerate(looks) if any("429 refused" in line for line in look))
    (ended,) = (number for number, look in enumerate(looks) if any("= completed" in line for line in look))
    assert refused < ended
    assert any("s: model 5.70 s in 2 calls (3 attempts), waiting" in line for line in looks[ended])


def test_each_followed_conversation_has_a_head_and_its_calls_come_as_they_end(tmp_path: Path) -> None:
    looks = [look for look in written(tmp_path, model_hop(3), 30) if look]
    heads = [line for look in looks for line in look if "Conversation #" in line]
    assert heads[0] == "Conversation #1 · recording 1 · hop model · from 2026-01-02 03:04:06 UTC"
    assert [line[:26] for line in heads[1:]] == [f"#{n}       | Conversation #{n}" for n in (2, 3)]
    answers = [number for number, look in enumerate(looks) if any("Answer" in line for line in look)]
    assert len(answers) == 3, "each in a look of its own"


def test_a_followed_recording_lists_no_stream_of_a_provider_as_a_session(tmp_path: Path) -> None:
    with closing(open_store(only_calls().save(tmp_path / "a.db"))) as store:
        following = Following(None)
        following.look(store)
        lines = list(map(str, following.news(last=True)))
    assert not any("Session" in line or "stream" in line for line in lines)
    lines = [line.rpartition(" | ")[2] for line in lines]
    assert [line[13:28] for line in lines if "= " in line] == ["= 200 completed", "= 400 refused a", "= 200 completed"]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_follower_that_begins_before_the_model_hop_tells_the_calls_as_show_does(
    tmp_path: Path, at_once: bool
) -> None:
    made = Made()
    made.another_recording("model", "openai-responses")
    counted = {"body": ASKED, "sent": (("x-stainless-retry-count", "0"),)}
    made.request("POST", "/v1/responses", 1.0, status=429, answer={"error": {"message": "No."}}, **counted)
    made.request("POST", "/v1/responses", 2.0, answer={"id": "r", "status": "completed", "output": []}, **counted)
    (tmp_path / "a.jsonl").write_bytes(b"".join(jsonl_bytes(made.store())))
    client, *rest = live_rows(tmp_path / "a.jsonl")
    with closing(Writer(tmp_path / "a.db")) as writer:
        with closing(Store.open(tmp_path / "a.db")) as store:
            following = Following(None)
            followed = list[str]()
            for rows in ([client], *([rest] if at_once else [[row] for row in rest]), []):
                writer.write(rows)
                store.refresh()
                following.look(store)
                followed += map(str, following.news())
        shown = list(map(str, lines_of(made.store(), None)))
    for lines in (followed, shown):
        assert sum("Conversation #" in line for line in lines) == 2, lines
        assert sum("= 429 refused after 0.00 s: No." in line for line in lines) == 1, lines


def test_a_stream_of_another_api_on_a_named_hop_is_still_told() -> None:
    made = Made()
    made.another_recording("other", "none")
    made.stream("/events", 1.0, (1.1, b"data: hello\n\n"))
    with closing(made.store()) as store:
        assert len(list(gathered(store))) == 1


def test_a_stream_of_an_unknown_path_has_no_turns_in_any_command(tmp_path: Path) -> None:
    made = Made()
    made.another_recording("model", "auto")
    response = {"id": "r", "status": "completed", "output": []}
    events = event("response.created", response={"id": "r"}) + event("response.completed", response=response)
    made.stream("/V1/RESPONSES/", 1.0, (1.1, events), method="POST", ending="eof")
    with closing(made.store()) as store:
        (counted,) = measured(store)
        assert (counted.turns, counted.events) == ((), 2)
        assert [one.turns for one in whole_sessions(store)] == [()]
        assert "Requests of an unknown API" in "\n".join(lines_of(store, None))
    assert stats(made.save(tmp_path / "a.db"))[0].turns == ()


@pytest.mark.parametrize("width", [40, 60, 200])
def test_no_line_is_wider_than_asked(width: int) -> None:
    with closing(only_calls().store()) as store:
        assert max(map(len, lines_of(store, None, Page(width)))) <= width


@pytest.mark.parametrize("is_long", [False, True])
def test_each_conversation_prints_its_instructions_or_where_long_ones_are(is_long: bool) -> None:
    made = Made()
    made.another_recording("model", "openai-responses")
    instructions = "Be brief." * (20 if is_long else 1)
    for second, text in enumerate(("Hi", "Hi", "Bye"), 1):
        more = {"instructions": instructions, "input": text, "stream": False}
        made.post("/v1/responses", second, body=ASKED | more, answer={"id": f"resp_{second}", "status": "completed"})
    with closing(made.store()) as store:
        told = [line.strip() for line in lines_of(store, None, Page(500)) if "System: " in line]
    whole, other = f"System: {instructions}", "System: as in #1"
    assert told == ([whole, other, other] if is_long else [whole] * 3)


def test_a_program_that_started_again_with_its_history_has_a_line_before_the_repeated_call() -> None:
    made = Made()
    made.another_recording("model", "openai-responses")
    history = [
        {"role": role, "content": text} for role, text in (("user", "Hi"), ("assistant", "Yes."), ("user", "Go"))
    ]
    for second, items in enumerate((history[:1], history, history), 1):
        message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]}
        answer = {"id": f"resp_{second}", "status": "completed", "output": [message]}
        made.post("/v1/responses", second, body=ASKED | {"input": items, "stream": False}, answer=answer)
    store = made.store()
    lines = [*lines_of(store, None, Page(100))]
    assert (
        lines[lines.index("-- the request of call 2 once more: the program started again, or went back") + 1][:3]
        == "  3"
    )
    assert [call["repeats"] for row in rows_of(store, None) for call in row["model_calls"]] == [None, None, 2]
    (listed,) = summaries(store)
    assert listed.row("a.db")["repeated_calls"] == [3]
    told = "#1: call 3 repeats an earlier call, as the program started again or went back"
    assert list(sessions_lines([(Path("a.db"), [listed])], 200))[-1] == told


def test_calls_alone_mark_the_calls_that_did_not_end_well() -> None:
    with closing(only_calls().store()) as store:
        marked = [line for line in lines_of(store, None) if "!! " in line]
    assert [line.split("!! ")[1] for line in marked] == ["model m (openai-responses)"]
