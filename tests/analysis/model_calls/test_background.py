"""OpenAI Responses with `background`: the answer, or its rest, comes with a later request of the same call."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from omnirecord.analysis.follow.sessions import GrowingSession, GrowingSessions
from omnirecord.analysis.forgetting import forgotten
from omnirecord.analysis.gather import model_calls
from omnirecord.analysis.search import search
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Writer
from omnirecord.providers.register import later_id
from tests.support.cassettes import Made, completed, created, delta

Data = dict[str, Any]
MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Rain."}]}
USAGE = {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}


def answer(status: str, name: str = "resp_1", **more: Any) -> Data:
    return {"id": name, "object": "response", "model": "m", "status": status, "output": [], "usage": None, **more}


def asked(*states: str) -> Made:
    """Two requests, and the states that the client gets for the first, a second apart."""
    tape = Made("openai-responses")
    tape.post("/v1/responses", 0, body={"model": "m", "input": "Hi", "background": True}, answer=answer("queued"))
    tape.post("/v1/responses", 0.5, body={"model": "m", "input": "Other"}, answer=answer("completed", "resp_2"))
    for number, state in enumerate(states, 1):
        more = {"output": [MESSAGE], "usage": USAGE} if state == "completed" else {}
        tape.get("/v1/responses/resp_1", number, answer(state, **more))
    return tape


def test_a_call_in_the_background_ends_with_the_last_answer_that_the_client_got(tmp_path: Path) -> None:
    file = asked("in_progress", "completed").save(tmp_path / "made.db")
    with closing(open_store(file)) as store:
        call = model_calls(store).links[0].call
        assert (call.ending, call.text, call.ended_ns) == ("completed", "Rain.", 2_000_000_000)
        assert call.usage is not None
        assert (call.usage.input_tokens, call.usage.output_tokens) == (9, 2)


def test_an_answer_that_the_client_did_not_wait_for_has_the_state_that_it_saw_last() -> None:
    for states, said in (((), "queued"), (("in_progress",), "in progress"), (("cancelled",), None)):
        call = model_calls(asked(*states).store()).links[0].call
        assert call.is_in_background is (said is not None)
        assert call.ending == ("failed" if said is None else "unknown")


def test_the_requests_for_an_answer_belong_to_its_conversation(tmp_path: Path) -> None:
    file = asked("in_progress", "completed").save(tmp_path / "made.db")
    with closing(open_store(f"{file}#1")) as store:
        assert [x.exchange for x in store.exchanges()] == [1, 3, 4]
    with closing(open_store(file)) as store:
        assert forgotten(store, ["conversation-1"]).exchanges == {1, 3, 4}


def test_a_text_that_only_a_later_request_brought_is_found_in_its_call(tmp_path: Path) -> None:
    before, file = list(asked("in_progress").rows()), tmp_path / "made.db"
    with closing(Writer(file)) as writer:
        writer.write(before)
        assert search(file, "rain").total == 0
        writer.write([row for row in asked("in_progress", "completed", "completed").rows() if row not in before])
        found = search(file, "rain")
    assert [(hit.exchange, hit.row["type"], hit.call and hit.call.call.exchange) for hit in found.hits] == [
        (4, "answer.assistant", 1)
    ]
    assert found.hits[0].calls == 1  # both requests are for one call
    of_first, of_second, of_calls = (
        search(f"{file}#1", "rain"),
        search(f"{file}#2", "rain"),
        search(file, "rain", calls=True),
    )
    assert (of_first.total, of_second.total, of_calls.total) == (1, 0, 1)


def test_a_request_names_the_answer_by_its_path() -> None:
    assert later_id("/openai/v1/responses/resp_1?stream=false") == "resp_1"
    assert later_id("/v1/responses/resp_1/cancel") == "resp_1"
    assert later_id("/v1/responses/resp_1/input_items") is None
    assert later_id("/v1/responses") is None


def test_a_follower_reads_a_call_again_when_its_answer_comes(tmp_path: Path) -> None:
    before, file = list(asked("in_progress").rows()), tmp_path / "made.db"
    growing = GrowingSessions(GrowingSession)
    with closing(Writer(file)) as writer:
        writer.write(before)
        with closing(open_store(file)) as store:
            growing.look(store)
        assert [link.call.ending for link in growing.calls.links] == ["unknown", "completed"]
        writer.write([row for row in asked("in_progress", "completed").rows() if row not in before])
        with closing(open_store(file)) as store:
            growing.look(store)
        assert [link.call.text for link in growing.calls.links] == ["Rain.", ""]


def streamed(*, cut: bool) -> Made:
    """A call whose answer a later request streams: all of it, or what follows its first delta."""
    tape = Made("openai-responses")
    body = {"model": "m", "input": "Hi", "background": True, "stream": cut}
    begun = [(0.1, created("resp_1")), (0.2, delta("Ra", 2))]
    if cut:
        asked = {"method": "POST", "body": json.dumps(body).encode(), "ending": "upstream_lost", "end": 0.3}
        tape.stream("/v1/responses", 0.0, *begun, **asked)  # type: ignore[arg-type]
    else:
        tape.post("/v1/responses", 0, body=body, answer=answer("queued"))
    rest = [(1.1, delta("in. Wind.", 3)), (1.5, completed("resp_1"))]
    after = [] if cut else [(at + 0.85, event) for at, event in begun]
    target = f"/v1/responses/resp_1?stream=true&starting_after={2 if cut else 0}"
    tape.stream(target, 1.0, *sorted([*after, *rest]), ending="eof", end=2.0)
    return tape


def test_a_later_stream_brings_the_answer_of_a_call_in_the_background() -> None:
    call = model_calls(streamed(cut=False).store()).links[0].call
    assert (call.ending, call.text, call.ended_ns, call.stream) == ("completed", "Rain. Wind.", 1_500_000_000, 1)
    assert [one.text for one in call.deltas] == ["Ra", "in. Wind."]


def test_a_later_stream_brings_the_rest_of_an_answer_that_was_cut() -> None:
    call = model_calls(streamed(cut=True).store()).links[0].call
    assert (call.ending, call.text, call.ended_ns, call.stream) == ("completed", "Rain. Wind.", 1_500_000_000, 1)
    assert (call.first_token_ns, call.events) == (200_000_000, 4)


def test_a_plain_request_brings_the_rest_of_an_answer_that_was_cut() -> None:
    tape = streamed(cut=True)
    tape.get("/v1/responses/resp_1", 3, answer("completed", output=[MESSAGE], usage=USAGE))
    call = model_calls(tape.store()).links[0].call
    assert (call.ending, call.text, call.ended_ns) == ("completed", "Rain.", 3_000_000_000)
    assert [one.text for one in call.deltas] == ["Ra"]


def test_a_text_of_a_later_stream_is_found_in_its_call(tmp_path: Path) -> None:
    for cut in (True, False):
        file = streamed(cut=cut).save(tmp_path / f"{cut}.db")
        found = search(file, "wind")
        assert [hit.call and hit.call.call.exchange for hit in found.hits] == [1], cut
