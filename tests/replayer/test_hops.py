"""A cassette with several hops: one replay serves all of them, each at an address of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

import omnirecord
from omnirecord.errors import ServerError, UsageError
from omnirecord.replayer.server import Replay
from tests.replayer.player.test_models import ANSWER, BODY, PATH, called
from tests.replayer.test_server import MESSAGE, STREAM, heard, post
from tests.support import forked
from tests.support.cassettes import SHIPPED, Made, conversation, event
from tests.support.later import later
from tests.support.stage import EVENTS, gists
from tests.support.wire import Answer, ask, connected, get

openai = later("openai")

BOTH = SHIPPED / "both_hops" / "both_text.jsonl"
CALL = json.dumps(BODY).encode()


def both() -> Made:
    """A session on the first hop, and a model call of one second on the hop `model`."""
    tape = conversation()
    tape.another_recording("model")
    called(tape, 0.0)
    return tape


async def call(url: str, body: bytes = CALL) -> Answer:
    return await ask(url, post(PATH, body))


async def test_each_hop_has_an_address_and_only_its_own_answers(tmp_path: Path) -> None:
    async with Replay(both().save(tmp_path / "t.db"), timing="instant") as server:
        assert dict(server.urls) == {"model": server.further["model"].url}
        url = server.urls["model"]
        answer = await call(url)
        assert gists(answer.body) == ANSWER
        missed = json.loads((await call(server.url)).body)["error"]
        assert f"the hop model has such requests: send them to {url}" in missed["message"]
        missed = json.loads((await ask(url, get(STREAM))).body)["error"]
        assert f"the first hop has such requests: send them to {server.url}" in missed["message"]
        assert [one.target for one in server.requests] == [PATH]
        assert [one.target for one in server.further["model"].requests] == [PATH, STREAM]
        assert server.further["model"].unplayed == []


async def test_an_answer_of_the_model_takes_its_own_time_while_the_first_hop_waits_at_a_gate(tmp_path: Path) -> None:
    async with (
        Replay(both().save(tmp_path / "t.db"), speed=4) as server,
        connected(server.url, get(STREAM)) as wire,
    ):
        await wire.head()
        await heard(wire, 2)
        begun = time.monotonic()
        answer = await call(server.urls["model"])
        assert time.monotonic() - begun >= 1  # 4 s were recorded
        assert gists(answer.body) == ANSWER
        await ask(server.url, MESSAGE)
        assert await heard(wire, 1) == ["running"]


async def test_a_reset_of_the_first_hop_resets_all_and_stopping_stops_all(tmp_path: Path) -> None:
    async with Replay(both().save(tmp_path / "t.db"), timing="instant") as server:
        url = server.urls["model"]
        await call(url)
        await server.reset()
        assert server.further["model"].requests == []
        assert [x.request.target for x in server.further["model"].unplayed] == [PATH]
    with pytest.raises(ConnectionError, match="Connect"):
        await call(url)


async def test_rules_for_matching_hold_for_every_hop_and_faults_for_the_first(tmp_path: Path) -> None:
    path = both().save(tmp_path / "t.db")
    other = json.dumps({**BODY, "instructions": "Be brief."}).encode()
    faults = [f"answer POST {EVENTS} with 503"]
    async with Replay(path, timing="instant", match=["ignore conversation instructions"], faults=faults) as server:
        assert gists((await call(server.urls["model"], other)).body) == ANSWER
        assert (await ask(server.url, post(EVENTS))).status.startswith(b"HTTP/1.1 503")


async def test_one_hop_alone_is_played_at_the_first_address(tmp_path: Path) -> None:
    async with Replay(both().save(tmp_path / "t.db"), timing="instant", only="model") as server:
        assert (dict(server.urls), server.further) == ({"model": server.url}, {})
        assert gists((await call(server.url)).body) == ANSWER


async def test_hops_that_all_have_names_are_served_too_and_the_first_has_the_first_address(tmp_path: Path) -> None:
    tape = Made()
    tape.another_recording("model")
    called(tape, 0.0)
    tape.another_recording("tools", "none")
    tape.stream("/tools", 1.0, (1.0, event("found")), method="POST", ending="eof")
    async with Replay(tape.save(tmp_path / "t.db"), timing="instant") as server:
        assert server.urls == {"model": server.url, "tools": server.further["tools"].url}
        assert gists((await call(server.url)).body) == ANSWER
        assert gists((await ask(server.urls["tools"], post("/tools"))).body) == ["found"]


def test_a_program_without_an_event_loop_reaches_every_hop(tmp_path: Path) -> None:
    with omnirecord.replay(both().save(tmp_path / "t.db"), timing="instant") as server:
        url = server.urls["model"]
        assert gists(asyncio.run(call(url)).body) == ANSWER
        model = server.further["model"]
        assert (model.url, len(model.requests), model.positions()) == (url, 1, [])
        model.pause()
        assert model.play() is not None
        server.assert_all_matched()
        asyncio.run(call(url, b"{}"))
        with pytest.raises(AssertionError, match="matched nothing"):
            server.assert_all_matched()


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ({"listens": {"modl": "127.0.0.1:0"}}, "--listen modl=: the further hops are model"),
        ({"listens": {"model": "127.0.0.1:0"}, "only": "model"}, "--listen model=: no further hop is played"),
        ({"listens": {"model": "6869"}}, "--listen model= '6869' is no HOST:PORT"),
        ({"listens": {"model": "0.0.0.0:0"}}, "reachable from elsewhere"),
        ({"listens": {"model": "127.0.0.1:6868"}, "port": 6868}, "--listen gives 127.0.0.1:6868 to two hops"),
    ],
)
async def test_an_address_that_no_hop_can_have_is_refused(chosen: dict[str, object], why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why):
        async with Replay(both().save(tmp_path / "t.db"), **chosen):  # type: ignore[arg-type]
            pass


async def test_an_address_in_use_is_named_with_its_option_and_frees_the_others(tmp_path: Path) -> None:
    path = both().save(tmp_path / "t.db")
    async with Replay(path) as other:
        place = other.url.removeprefix("http://")
        with pytest.raises(ServerError, match="is in use: choose another --listen model="):
            async with Replay(path, listens={"model": place}):
                pass
        async with Replay(path, listens={"model": "127.0.0.1:0"}) as server:
            assert server.urls["model"] != other.url


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_prints_an_address_for_each_hop(as_json: bool) -> None:
    options = ["--listen", "127.0.0.1:0", "--listen", "model=127.0.0.1:0", *(["--json"] if as_json else [])]
    done = forked.run(["serve", BOTH, *options], stopped_by=signal.SIGINT)
    if as_json:
        row = json.loads(done.out)
        assert list(row) == ["url", "cassette", "urls"]
        assert row["urls"]["model"] not in (row["url"], "")
    else:
        assert "both_text.jsonl at http://127.0.0.1:" in done.out.decode()
        assert ", model at http://127.0.0.1:" in done.out.decode()


async def test_the_sdk_of_openai_gets_the_recorded_answers_of_the_hop_to_the_model() -> None:
    async with Replay(BOTH, timing="instant") as server:
        calls = [x for x in server.further["model"].unplayed if x.request.target == "/v1/responses"]
        body = json.loads(server.further["model"]._plan.request_body(calls[0]))
        async with openai.AsyncOpenAI(base_url=f"{server.urls['model']}/v1", api_key="none") as client:
            names = ("model", "input", "instructions", "tools")
            stream = await client.responses.create(**{name: body[name] for name in names if name in body}, stream=True)
            said = [one.delta async for one in stream if one.type == "response.output_text.delta"]
    assert "flight recorder" in "".join(said)
