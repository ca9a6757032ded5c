"""Model calls as they are played: the hop, the time of an answer, retries and stalls. A conversation, clock in hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from omnirecord.errors import UsageError
from omnirecord.model import Recording
from omnirecord.replayer.player import Answering, Failing, Miss
from omnirecord.replayer.player.plan import hop_of, hops_of
from tests.support.cassettes import Made, event, heartbeat
from tests.support.stage import Listener, Stage

PATH = "/v1/responses"
BODY = {"model": "m", "input": "Hi", "stream": True}
ANSWER = ["created", "Hel", "lo", "completed"]


def called(tape: Made, at: float, body: Any = BODY, *, ending: Any = "eof") -> None:
    """Record a model call that was answered one second later, with an event each second."""
    events = [event("response.created"), event("x.delta", delta="Hel"), event("x.delta", delta="lo")]
    reads = [(at + 1 + n, data) for n, data in enumerate([*events, event("response.completed")])]
    tape.stream(PATH, at + 1, *reads, method="POST", asked=at, body=json.dumps(body).encode(), ending=ending)


def of_models(*bodies: Any) -> Made:
    tape = Made("auto")
    for number, body in enumerate(bodies or (BODY,)):
        called(tape, number * 10.0, body)
    return tape


def asks(stage: Stage, body: Any = BODY) -> Listener:
    return stage.opens(PATH, method="POST", body=json.dumps(body).encode())


def test_an_answer_begins_after_the_recorded_time() -> None:
    stage = Stage(of_models())
    listener = asks(stage)
    assert listener.playing.begins_at == 1_000_000_000
    stage.at(1.0)
    assert listener.hears() == ["created"]
    stage.at(2.9)
    assert listener.hears() == ["Hel"]
    stage.at(4.0)
    assert listener.hears() == ["lo", "completed"]


def test_an_instant_answer_begins_at_once() -> None:
    stage = Stage(of_models(), "instant")
    listener = asks(stage)
    assert listener.playing.begins_at == 0
    assert listener.hears() == ANSWER


def test_a_client_that_left_gets_the_same_answer_again() -> None:
    stage = Stage(of_models(BODY, BODY))
    first = asks(stage)
    stage.at(1.5)
    first.hears()
    first.leaves()
    assert asks(stage).playing.exchange.exchange == 1


def test_a_client_that_has_got_all_gets_the_next_answer() -> None:
    stage = Stage(of_models(BODY, BODY), "instant")
    first = asks(stage)
    first.hears()
    first.leaves()
    assert [asks(stage).playing.exchange.exchange for _ in range(2)] == [2, 1]


def test_a_cut_answer_comes_again_whole() -> None:
    stage = Stage(of_models(BODY, BODY), "instant", faults=("cut before response.completed short",))
    first = asks(stage)
    assert first.hears() == ANSWER[:-1]
    assert stage.player.streams.effects.ended(first.playing)
    first.leaves()
    again = asks(stage)
    assert (again.playing.exchange.exchange, again.hears()) == (1, ANSWER)


def test_a_stall_delays_one_connection() -> None:
    stage = Stage(of_models(), "instant", faults=("stall 20s at 2nd x.delta",))
    first = asks(stage)
    assert first.hears() == ANSWER[:2]
    assert first.next_in() == 20.0
    first.leaves()
    assert asks(stage).hears() == ANSWER
    stage.player.reset()
    assert asks(stage).hears() == ANSWER[:2]


def test_a_stall_that_was_not_reached_is_left_for_the_next_connection() -> None:
    stage = Stage(of_models(), faults=("stall 20s at response.completed",))
    first = asks(stage)
    stage.at(1.0)
    first.hears()
    first.leaves()
    second = asks(stage)
    stage.at(10.0)
    assert second.hears() == ANSWER[:-1]
    assert second.next_in() == 20.0


def test_a_stall_that_is_given_twice_or_each_time_happens_so_often() -> None:
    for faults, stalls in ((("stall 1s at response.completed",) * 2, 2), (("stall 1s at x.delta each time",), 3)):
        stage = Stage(of_models(), "instant", faults=faults)
        found = []
        for _ in range(3):
            listener = asks(stage)
            found.append(listener.hears() != ANSWER)
            listener.leaves()
        assert sum(found) == stalls


def test_the_first_requests_are_refused_and_do_not_use_up_an_answer() -> None:
    stage = Stage(of_models(), "instant", faults=(f"answer first two POST {PATH} with 429 retry after 1500ms",))
    refused = [stage.asks("POST", PATH, json.dumps(BODY).encode()) for _ in range(2)]
    assert [(one.status, one.retry_after_ns) for one in refused if isinstance(one, Failing)] == [
        (429, 1_500_000_000)
    ] * 2
    assert asks(stage).playing.exchange.exchange == 1


def of_two_hops() -> Made:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()))
    tape.another_recording("model")
    called(tape, 0.0)
    tape.get("/v1/models", 5.0, {"data": []})
    return tape


def test_the_first_hop_is_played_by_default() -> None:
    stage = Stage(of_two_hops())
    assert isinstance(stage.asks("POST", PATH, json.dumps(BODY).encode()), Miss)
    assert list(stage.plan.sessions) == ["s"]


def test_a_first_hop_without_requests_leaves_the_only_other_hop_to_play() -> None:
    tape = Made()
    tape.another_recording("model")
    called(tape, 0.0)
    assert asks(Stage(tape, "instant")).hears() == ANSWER
    assert hop_of(recordings(None, "model", "tools"), played={2, 3}) == "model"
    assert hop_of(recordings(None, "model"), played=set()) is None


def test_a_miss_names_the_hop_that_has_such_requests() -> None:
    missed = Stage(of_two_hops()).asks("POST", PATH, json.dumps(BODY).encode())
    assert isinstance(missed, Miss)
    assert missed.message == f"POST {PATH} was never recorded; the hop model has such requests: --only model"
    missed = Stage(of_two_hops(), only="model").asks("GET", "/v1/sessions/s/stream")
    assert isinstance(missed, Miss)
    assert missed.message.endswith("; the first hop has such requests: leave out --only")


def test_only_the_named_hop_is_played() -> None:
    stage = Stage(of_two_hops(), "instant", only="model")
    assert asks(stage).hears() == ANSWER
    assert isinstance(stage.asks("GET", "/v1/models"), Answering)
    assert isinstance(stage.asks("GET", "/v1/sessions/s/stream"), Miss)
    assert [x.request.target for x in stage.player.unplayed()] == []


def recordings(*hops: str | None) -> list[Recording]:
    return [Recording(n, "2026-01-01T00:00:00Z", "1", "auto", None, hop=hop) for n, hop in enumerate(hops, 1)]


def test_the_hop_to_play() -> None:
    assert hops_of(recordings("model", None, "tools", "model")) == [None, "model", "tools"]
    assert hop_of(recordings(None, "model")) is None
    assert hop_of(recordings("model")) == "model"
    assert hop_of(recordings("model", "tools")) == "model"
    assert hop_of(recordings(None, "model"), "model") == "model"
    assert hop_of([]) is None


@pytest.mark.parametrize(
    ("hops", "only", "why"),
    [
        ((None,), "model", "the cassette has no hop 'model': its hop has no name, so leave out --only"),
        ((None, "model"), "modl", "the cassette has no hop 'modl': it has model"),
    ],
)
def test_a_hop_that_cannot_be_chosen_is_refused(hops: tuple[str | None, ...], only: str | None, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        hop_of(recordings(*hops), only)
