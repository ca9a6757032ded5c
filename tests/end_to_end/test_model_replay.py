"""A recorded provider, played again to the unmodified clients of OpenAI and Anthropic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

import omnirecord
from omnirecord.errors import UsageError
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.verify import verify
from tests.omnigent_rig.provider import Answer
from tests.support.later import later
from tests.support.model_clients import HI, KEYS, SCRIPT, anthropic_client, openai_client, use_all
from tests.support.providers import ModelApis
from tests.support.wire import bytes_on_disk, eventually

anthropic = later("anthropic")
openai = later("openai")

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
TIMINGS = ("original", "compressed", "instant")


class Recorded:
    """The cassette of all uses, and what the clients got from the live provider."""

    def __init__(self, db: Path) -> None:
        self.db = db
        self.live: dict[str, object] = {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Recorded]:
    result = Recorded(tmp_path_factory.mktemp("models") / "model.db")
    async with ModelApis(SCRIPT) as provider, Proxy(base(provider), result.db, contract="auto") as proxy:
        result.live = await use_all(proxy.url)
    yield result


def base(provider: ModelApis) -> str:
    return provider.url.removesuffix("/v1")


async def record(db: Path, script: dict[str, Any], *bodies: dict[str, Any], path: str = "/v1/responses") -> Path:
    """Record some requests that come one after the other."""
    async with (
        ModelApis(script) as provider,
        Proxy(base(provider), db, contract="auto") as proxy,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        for body in bodies:
            assert (await http.post(f"{proxy.url}{path}", json=body)).status_code == 200
    return db


@pytest.mark.parametrize(
    "timing", [pytest.param(one, marks=[pytest.mark.long] * (one == "original")) for one in TIMINGS]
)
async def test_every_client_gets_from_a_replay_what_the_provider_sent(recorded: Recorded, timing: Any) -> None:
    async with omnirecord.replay(recorded.db, timing=timing) as server:
        assert await use_all(server.url) == recorded.live
        assert (server.unmatched, server.mismatches, server.unplayed) == ([], [], [])
        if timing == "instant":
            assert await use_all(server.url) == recorded.live  # and again


async def test_a_replay_of_a_recorded_replay_is_the_same_and_no_file_holds_a_key(
    recorded: Recorded, tmp_path: Path
) -> None:
    async with (
        omnirecord.replay(recorded.db, timing="instant") as server,
        Proxy(server.url, tmp_path / "again.db", contract="auto") as proxy,
    ):
        assert await use_all(proxy.url) == recorded.live
    async with omnirecord.replay(tmp_path / "again.db", timing="instant") as server:
        assert await use_all(server.url) == recorded.live
        assert not any(key in repr([server.requests, server.unmatched]) for key in KEYS.values())
    for db in (recorded.db, tmp_path / "again.db"):
        assert [key for key in KEYS.values() if key.encode() in bytes_on_disk(db)] == []


async def test_a_prompt_with_a_secret_is_not_recorded_and_still_matched(tmp_path: Path) -> None:
    secret = "ghp_aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF3gH6"
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps({"api_key": secret})}
    bodies: list[dict[str, Any]] = [
        {"model": "m", "input": f"My token is {secret}."},
        {"model": "m", "input": [{"role": "user", "content": "Go on."}, call], "api_key": secret},
    ]
    async with (
        ModelApis({}) as provider,
        Proxy(base(provider), tmp_path / "secret.db", contract="auto", redact="content") as proxy,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        for body in bodies:
            await http.post(f"{proxy.url}/v1/responses", json=body)
    assert secret.encode() not in bytes_on_disk(tmp_path / "secret.db")
    async with omnirecord.replay(tmp_path / "secret.db") as server, httpx.AsyncClient(trust_env=False) as http:
        for body in bodies:
            assert (await http.post(f"{server.url}/v1/responses", json=body)).status_code == 200


async def test_a_miss_does_not_tell_the_key_of_the_request(recorded: Recorded) -> None:
    async with omnirecord.replay(recorded.db, timing="instant") as server, openai_client(server.url) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.responses.create(model="m", input="What is this?")
        assert KEYS["openai"] not in str(caught.value) + server.unmatched[0].why


async def test_without_bodies_clients_get_the_recorded_answers_in_order(tmp_path: Path) -> None:
    async def ask(url: str, text: str) -> list[str]:
        async with openai_client(url) as client, anthropic_client(url) as other:
            response = await client.responses.create(model="m", input=text)
            said: Any = [{"role": "user", "content": text}]
            chat = await client.chat.completions.create(model="m", messages=said)
            message = await other.messages.create(model="c", max_tokens=9, messages=said)
            block: Any = message.content[0]
            return [response.output_text, str(chat.choices[0].message.content), block.text]

    script = {"Name a sea.": Answer("The Baltic."), "Name a river.": Answer("The Rhine.")}
    async with ModelApis(script) as provider, Proxy(base(provider), tmp_path / "t.db", contract="auto") as proxy:
        live = [await ask(proxy.url, text) for text in script]
    async with omnirecord.replay(tmp_path / "t.db", timing="instant", match_on=[]) as server:
        assert [await ask(server.url, text) for text in ("Name a lake.", "Name a sea.")] == live
        assert (server.unmatched, server.mismatches, server.unplayed) == ([], [], [])


async def test_the_streams_of_a_provider_are_verified(recorded: Recorded) -> None:
    result = await verify(recorded.db, timing="instant")
    assert result.differences == []
    assert result.streams >= 10


async def test_the_time_in_a_message_does_not_matter_to_any_client(tmp_path: Path) -> None:
    async def ask(url: str, time: str, text: str = "What is new?") -> list[str]:
        said: Any = [{"role": "user", "content": f"[{time}] {text}"}]
        async with openai_client(url) as client, anthropic_client(url) as other:
            response = await client.responses.create(model="m", input=said)
            chat = await client.chat.completions.create(model="m", messages=said)
            message = await other.messages.create(model="c", max_tokens=9, messages=said)
            block: Any = message.content[0]
            return [response.output_text, str(chat.choices[0].message.content), block.text]

    recorded_at = "2026-12-01 08:55:34"
    script = {f"[{recorded_at}] What is new?": Answer("All is calm.")}
    async with ModelApis(script) as provider, Proxy(base(provider), tmp_path / "t.db", contract="auto") as proxy:
        live = await ask(proxy.url, recorded_at)
    assert live == ["All is calm."] * 3
    async with omnirecord.replay(tmp_path / "t.db", timing="instant") as server:
        assert await ask(server.url, "2026-12-01 08:55:35") == live
        assert await ask(server.url, "2027-01-02 18:01:02") == live
        assert server.unmatched == []
        with pytest.raises(openai.NotFoundError, match=r"\[-new-\]\{\+old\+\}"):
            await ask(server.url, recorded_at, "What is old?")


# Misses


async def test_a_miss_is_an_error_of_the_api_that_is_not_retried(recorded: Recorded) -> None:
    async with omnirecord.replay(recorded.db, timing="instant") as server:
        async with openai_client(server.url) as client:
            with pytest.raises(openai.NotFoundError) as missed:
                await client.responses.create(model="m", input="Hi there", stream=True)
            assert missed.value.code == "not_recorded"
            assert "item 1 (user): Hi{+ there+}" in missed.value.message
        async with anthropic_client(server.url) as other:
            with pytest.raises(anthropic.NotFoundError) as missing:
                await other.messages.create(model="d", max_tokens=9, messages=HI)
            body: Any = missing.value.body
            assert body["error"]["type"] == "not_found_error"
            assert "model: [-c-]{+d+}" in body["error"]["message"]
        assert [one.status for one in server.requests] == [404, 404]
        assert len(server.unmatched) == 2
        assert server.unplayed


async def test_a_prompt_of_over_a_megabyte_is_matched_to_its_last_character(tmp_path: Path) -> None:
    story = "On evening 12 the keeper wrote /tmp/a1b2/log.txt in the book. " * 18_000
    bodies = [{"model": "m", "input": story + end} for end in ("one", "two")]
    db = await record(tmp_path / "large.db", {f"{story}one": Answer("first"), f"{story}two": Answer("second")}, *bodies)
    async with (
        omnirecord.replay(db, timing="instant") as server,
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        for body, text in zip(reversed(bodies), ("second", "first"), strict=True):
            answer = await http.post(f"{server.url}/v1/responses", json=body)
            assert answer.json()["output"][0]["content"][0]["text"] == text
        missed = await http.post(f"{server.url}/v1/responses", json={"model": "m", "input": story + "three"})
        assert missed.status_code == 404
        assert "[-one-]{+three+}" in missed.json()["error"]["message"] or "[-two-]" in missed.json()["error"]["message"]


async def test_parallel_equal_prompts_get_one_answer_each(tmp_path: Path) -> None:
    db = await record(tmp_path / "equal.db", SCRIPT | {}, *[{"model": "m", "input": "Hi"}] * 5)
    async with omnirecord.replay(db, timing="instant") as server, httpx.AsyncClient(trust_env=False) as http:
        posts = (http.post(f"{server.url}/v1/responses", json={"model": "m", "input": "Hi"}) for _ in range(5))
        ids = [answer.json()["id"] for answer in await asyncio.gather(*posts)]
        assert sorted(ids) == [f"resp_000{number}" for number in range(1, 6)]
        assert server.unplayed == []


# Faults


async def test_a_fault_is_told_in_the_shape_of_the_api_and_retried_by_its_client(recorded: Recorded) -> None:
    faults = [
        "answer first two POST /v1/responses with 429 retry after 20ms",
        "answer first 2 POST /v1/messages with 529 retry after 20ms",
        "answer first 2 POST /v1/chat/completions with reset",
    ]
    async with omnirecord.replay(recorded.db, timing="instant", faults=faults) as server:
        async with openai_client(server.url) as client, anthropic_client(server.url) as other:
            raw = await client.responses.with_raw_response.create(model="m", input="Hi")
            assert raw.retries_taken == 2
            said = await other.messages.with_raw_response.create(model="c", max_tokens=9, messages=HI)
            assert said.retries_taken == 2
            chat = await client.chat.completions.with_raw_response.create(model="m", messages=HI, stream=True)
            assert chat.retries_taken == 2
            chat.parse()
        assert [one.status for one in server.requests] == [429, 429, 200, 529, 529, 200, 0, 0, 200]
        assert len(server.faults) == 3


async def test_a_client_without_retries_gets_the_error_of_its_api(recorded: Recorded) -> None:
    faults = ["answer every POST /v1/* with 429 retry after 1500ms"]
    async with omnirecord.replay(recorded.db, timing="instant", faults=faults) as server:
        async with openai_client(server.url, max_retries=0) as client:
            with pytest.raises(openai.RateLimitError) as refused:
                await client.responses.create(model="m", input="Hi")
            assert refused.value.code == "rate_limit_exceeded"
            assert refused.value.response.headers["retry-after"] == "2"
            assert refused.value.response.headers["retry-after-ms"] == "1500"
        async with anthropic_client(server.url, max_retries=0) as other:
            with pytest.raises(anthropic.RateLimitError) as limited:
                await other.messages.create(model="c", max_tokens=9, messages=HI)
            body: Any = limited.value.body
            assert body["error"]["type"] == "rate_limit_error"


async def read_twice(url: str) -> list[str]:
    """Read a streamed answer as an agent does: again, if it was cut before its end."""
    got = []
    async with openai_client(url) as client:
        for _ in range(2):
            ends = False
            with suppress(httpx.TransportError, openai.APIConnectionError):
                async for event in await client.responses.create(model="m", input="Hi", stream=True):
                    ends = event.type == "response.completed"
            got.append("whole" if ends else "cut")
    return got


@pytest.mark.parametrize("how", ["", " short", " by reset"])
async def test_a_cut_happens_once_and_the_retry_gets_the_same_answer(recorded: Recorded, how: str) -> None:
    faults = [f"cut before response.completed{how}"]
    async with omnirecord.replay(recorded.db, timing="instant", faults=faults) as server:
        assert await read_twice(server.url) == ["cut", "whole"]
        assert len({one.exchange for one in server.requests}) == 1
        assert server.faults == faults


async def test_a_cut_of_a_chunk_without_an_event_line(recorded: Recorded) -> None:
    faults = ["cut before chat.completion.chunk with choices[0].finish_reason=stop short"]
    async with (
        omnirecord.replay(recorded.db, timing="instant", faults=faults) as server,
        openai_client(server.url) as client,
    ):
        stream = await client.chat.completions.create(
            model="m", messages=HI, stream=True, stream_options={"include_usage": True}
        )
        with pytest.raises((httpx.TransportError, openai.APIConnectionError)):
            [one async for one in stream]


async def test_a_stall_times_a_client_out_once(recorded: Recorded) -> None:
    faults = ["stall 20 s at 3rd response.output_text.delta"]
    async with omnirecord.replay(recorded.db, timing="instant", faults=faults) as server:
        async with openai_client(server.url, timeout=0.5) as client:
            with pytest.raises((httpx.TimeoutException, openai.APITimeoutError)):
                [one async for one in await client.responses.create(model="m", input="Hi", stream=True)]
            whole = [one async for one in await client.responses.create(model="m", input="Hi", stream=True)]
            assert whole[-1].type == "response.completed"
        assert len({one.exchange for one in server.requests}) == 1


async def test_a_client_that_leaves_in_the_middle_gets_the_same_answer_again(recorded: Recorded) -> None:
    slow = omnirecord.replay(recorded.db, timing="original", speed=0.03)  # else the answer is over before it leaves
    async with slow as server, openai_client(server.url) as client:
        stream = await client.responses.create(model="m", input="Hi", stream=True)
        assert (await anext(aiter(stream))).type == "response.created"
        await stream.close()
        await eventually(lambda: not server.wait_state().serves)
        server.set_speed(1)
        whole = [one async for one in await client.responses.create(model="m", input="Hi", stream=True)]
        assert whole[-1].type == "response.completed"
        assert [one.exchange for one in server.requests] == [1, 1]


# Hops


async def test_a_hop_that_is_not_there_is_refused(recorded: Recorded) -> None:
    with pytest.raises(UsageError, match="the cassette has no hop 'model': its hop has no name"):
        async with omnirecord.replay(recorded.db, only="model"):
            pass
