"""A replay with a recorder behind it: what the recording does not answer, the upstream answers, and is recorded."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

import omnirecord
from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.cassette.open import open_store
from omnirecord.episodes.server import Episodes, with_body
from omnirecord.errors import CassetteInUse, UsageError
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.beyond import Question, Where
from omnirecord.replayer.matching.key import Incoming
from tests.omnigent_rig.provider import Answer, Step
from tests.support.later import later
from tests.support.model_clients import KEYS, anthropic_client, openai_client
from tests.support.providers import ModelApis
from tests.support.wire import bytes_on_disk, eventually

openai = later("openai")

SCRIPT: Mapping[str, Step] = {"One?": Answer("One."), "Two?": Answer("Two."), "Three?": Answer("Three.")}


def base(provider: ModelApis) -> str:
    return provider.url.removesuffix("/v1")


async def said(url: str, text: str) -> str:
    """Return the answer of a model to one message, asked by the SDK of OpenAI."""
    async with openai_client(url) as client:
        stream = await client.responses.create(model="m", input=text, stream=True)
        return "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])


async def said_by_anthropic(url: str, text: str) -> str:
    """Return the answer of a model to one message, asked by the SDK of Anthropic."""
    async with anthropic_client(url) as client:
        message = await client.messages.create(model="m", max_tokens=99, messages=[{"role": "user", "content": text}])
        return str(message.content[0].text)


async def recorded(db: Path, *texts: str) -> Path:
    """Record these calls."""
    async with ModelApis(SCRIPT) as provider, Proxy(base(provider), db, contract="auto") as proxy:
        for text in texts:
            await said(proxy.url, text)
    return db


def sources(episodes: Episodes) -> list[str]:
    return [served.source for _, served in episodes.served]


async def test_calls_of_the_cassette_are_answered_from_it_and_the_others_by_the_provider(tmp_path: Path) -> None:
    old, new = await recorded(tmp_path / "old.db", "One?", "Two?"), tmp_path / "new.db"
    before = old.read_bytes()
    async with ModelApis(SCRIPT) as provider:
        async with Episodes(old, {None: base(provider)}, into=new, timing="instant") as episodes:
            assert [await said(episodes.url, text) for text in ("One?", "Three?", "Two?")] == ["One.", "Three.", "Two."]
            assert await said_by_anthropic(episodes.url, "One?") == "One."
        assert [body.get("input") or body["messages"][0]["content"] for body in provider.requests] == ["Three?", "One?"]
    assert sources(episodes) == ["recorded", "live", "recorded", "live"]
    missed = episodes.served[1][1]
    assert "Three?" in missed.why
    assert missed.advice == 'To ignore such a difference: match="ignore conversation messages"'
    assert missed.advice not in missed.why
    assert old.read_bytes() == before
    with closing(open_store(new)) as store:
        assert [x.answered_from for x in store.exchanges()] == [1, None, 2, None]
        text = tmp_path / "new.jsonl"
        text.write_bytes(b"".join(jsonl_bytes(store)))
    with closing(open_store(text)) as store:
        assert [x.answered_from for x in store.exchanges()] == [1, None, 2, None]
    assert not any(key.encode() in bytes_on_disk(new) for key in KEYS.values())
    async with omnirecord.replay(new, timing="instant") as server:
        assert [await said(server.url, text) for text in ("One?", "Three?", "Two?")] == ["One.", "Three.", "Two."]
        assert await said_by_anthropic(server.url, "One?") == "One."
        assert (server.unmatched, server.unplayed) == ([], [])


async def test_without_a_new_cassette_the_new_calls_alone_are_appended(tmp_path: Path) -> None:
    db = await recorded(tmp_path / "a.db", "One?", "Two?")
    async with ModelApis(SCRIPT) as provider, Episodes(db, {None: base(provider)}, timing="instant") as episodes:
        assert [await said(episodes.url, text) for text in ("One?", "Three?")] == ["One.", "Three."]
    with closing(open_store(db)) as store:
        assert [(x.recording, x.answered_from) for x in store.exchanges()] == [(1, None), (1, None), (2, None)]
    async with omnirecord.replay(db, timing="instant") as server:
        for text in ("One?", "Two?", "Three?"):
            assert await said(server.url, text) == text.replace("?", ".")
        assert (server.unmatched, server.unplayed) == ([], [])


async def test_a_text_cassette_is_extended_by_one_replay_at_a_time(tmp_path: Path) -> None:
    text = tmp_path / "a.jsonl"
    omnirecord.scrub(await recorded(tmp_path / "a.db", "One?"), text)
    async with ModelApis(SCRIPT) as provider:
        async with Episodes(text, {None: base(provider)}, timing="instant") as episodes:
            with pytest.raises(CassetteInUse, match=r"a\.jsonl is being recorded by another omnirecord: name another"):
                await Episodes(text, {None: base(provider)}).__aenter__()
            assert await said(episodes.url, "Two?") == "Two."
        async with Episodes(text, {None: base(provider)}, timing="instant") as episodes:
            assert [await said(episodes.url, word) for word in ("One?", "Two?", "Three?")] == ["One.", "Two.", "Three."]
        assert len(provider.requests) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"a.db", "a.jsonl"}


async def test_new_calls_are_kept_if_a_text_cassette_cannot_be_written_at_the_end(tmp_path: Path) -> None:
    text = tmp_path / "a.jsonl"
    omnirecord.scrub(await recorded(tmp_path / "a.db", "One?"), text)
    async with ModelApis(SCRIPT) as provider:
        episodes = Episodes(text, {None: base(provider)}, timing="instant")
        await episodes.__aenter__()
        assert await said(episodes.url, "Two?") == "Two."
        text.unlink()
        text.mkdir()
        with pytest.raises(UsageError, match="Is a directory") as raised:
            await episodes.stop()
    words = re.search(r"The recording is kept: omnirecord export (\S+) -o (\S+)$", str(raised.value))
    assert words is not None
    assert words[2] == str(text)
    kept = Path(words[1])
    with closing(open_store(kept)) as store:
        assert len(store.exchanges()) == 2
    kept.unlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_text_cassette_that_cannot_be_written_is_refused_before_the_first_call(tmp_path: Path) -> None:
    text = tmp_path / "a.jsonl"
    omnirecord.scrub(await recorded(tmp_path / "a.db", "One?"), text)
    text.chmod(0o400)
    with pytest.raises(UsageError, match=r"cannot write .*a\.jsonl: Permission denied"):
        await Episodes(text, {None: "http://127.0.0.1:9"}).__aenter__()


async def test_a_live_call_that_before_record_leaves_out_replaces_no_recorded_one(tmp_path: Path) -> None:
    db = await recorded(tmp_path / "a.db", "One?", "Two?")
    recording = {"before_record": lambda _: None}
    async with ModelApis(SCRIPT) as provider, Episodes(db, {None: base(provider)}, recording=recording) as episodes:
        assert [await said(episodes.url, text) for text in ("One?", "Three?")] == ["One.", "Three."]
    with closing(open_store(db)) as store:
        assert len(store.exchanges()) == 2
    async with omnirecord.replay(db, timing="instant") as server:
        assert await said(server.url, "One?") == "One."
        assert len(server.unplayed) == 1


async def test_equal_calls_beyond_the_recorded_ones_go_to_the_provider(tmp_path: Path) -> None:
    old, new = await recorded(tmp_path / "old.db", "One?", "One?"), tmp_path / "new.db"
    async with ModelApis(SCRIPT) as provider, Episodes(old, {None: base(provider)}, into=new) as episodes:
        assert await asyncio.gather(*(said(episodes.url, "One?") for _ in range(3))) == ["One."] * 3
        assert len(provider.requests) == 1
    assert sorted(sources(episodes)) == ["live", "recorded", "recorded"]


async def test_the_provider_gets_each_byte_of_a_request_and_the_client_each_byte_of_a_live_answer(
    tmp_path: Path,
) -> None:
    old, new = await recorded(tmp_path / "old.db", "One?"), tmp_path / "new.db"
    body = json.dumps({"model": "m", "input": "Two?", "stream": True, "metadata": {"x": "é" * 300_000}}).encode()
    got: list[bytes] = []
    async with ModelApis(SCRIPT) as provider, httpx.AsyncClient(trust_env=False) as http:
        direct = await http.post(f"{base(provider)}/v1/responses", content=body)
        async with Episodes(old, {None: base(provider)}, into=new) as episodes:
            got.append((await http.post(f"{episodes.url}/v1/responses", content=body)).content)
        first, second = provider.requests
    assert first == second
    assert len(got[0]) == len(direct.content)  # the number of the response differs
    with closing(open_store(new)) as store:
        (x,) = store.exchanges()
        assert store.body(x.exchange, "request") == body
        assert b"".join(frame.raw or b"" for frame in store.frames(x)) == got[0]


async def test_a_live_stream_reaches_the_client_event_by_event_and_is_in_the_file_at_once(tmp_path: Path) -> None:
    old, new = await recorded(tmp_path / "old.db", "One?"), tmp_path / "new.db"
    script = {"Two?": Answer("Two.", stalls=True)}
    async with (
        ModelApis(script) as provider,
        Episodes(old, {None: base(provider)}, into=new) as episodes,
        openai_client(episodes.url) as client,
    ):
        stream = await client.responses.create(model="m", input="Two?", stream=True)
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
        await eventually(lambda: b"response.output_text.delta" in bytes_on_disk(new))
        await stream.close()
        await eventually(lambda: not episodes.open_exchanges)
    with closing(open_store(new)) as store:
        assert [x.ending for x in store.exchanges()] == ["client_left"]


async def test_a_decision_lets_a_changed_request_go_to_the_provider_at_once(tmp_path: Path) -> None:
    old, new = await recorded(tmp_path / "old.db", "One?", "Two?"), tmp_path / "new.db"

    def decide(question: Question) -> Where | Incoming:
        if question.exchange is None or question.exchange.exchange != 2:
            return "recording"
        body: dict[str, Any] = json.loads(question.request.body)
        return with_body(question.request, json.dumps({**body, "input": "Three?"}).encode())

    async with (
        ModelApis(SCRIPT) as provider,
        Episodes(old, {None: base(provider)}, into=new, decide=decide) as episodes,
    ):
        assert [await said(episodes.url, text) for text in ("One?", "Two?")] == ["One.", "Three."]
        with pytest.raises(openai.NotFoundError):
            await said(episodes.url, "Three?")
        assert [body["input"] for body in provider.requests] == ["Three?"]
        assert episodes.unplayed == []
    assert sources(episodes) == ["recorded", "live", "none"]


async def test_an_unreachable_provider_is_told_as_by_the_proxy(tmp_path: Path) -> None:
    old, new = await recorded(tmp_path / "old.db", "One?"), tmp_path / "new.db"
    async with Episodes(old, {None: "http://127.0.0.1:9"}, into=new) as episodes:
        with pytest.raises(openai.APIStatusError, match="omnirecord could not reach the upstream"):
            await said(episodes.url, "Two?")
    assert {(served.source, served.status) for _, served in episodes.served} == {("live", 502)}


async def test_an_upstream_without_a_hop_in_the_cassette_is_recorded_beside_it(tmp_path: Path) -> None:
    old, new = await recorded(tmp_path / "old.db", "One?"), tmp_path / "new.db"
    async with (
        ModelApis(SCRIPT) as provider,
        Episodes(old, {None: base(provider), "anthropic": base(provider)}, into=new) as episodes,
    ):
        assert await said(episodes.url, "One?") == "One."
        assert await said_by_anthropic(episodes.urls["anthropic"], "Two?") == "Two."
    assert [(hop, served.source) for hop, served in episodes.served] == [(None, "recorded"), ("anthropic", "live")]
    async with omnirecord.replay(new, timing="instant") as server:
        assert await said_by_anthropic(server.urls["anthropic"], "Two?") == "Two."


@pytest.mark.parametrize(
    ("name", "into", "told"),
    [
        ("a.jsonl#1", None, "exchanges are appended to a whole .db or .jsonl only. Name a new cassette"),
        ("a.db", "a.db", "a.db exists already"),
        ("a.db", "b.jsonl", "b.jsonl cannot be recorded into"),
        ("a.db", "b.txt", "b.txt is no .db, and a recording is an SQLite file: name it .*/b.db"),
    ],
)
async def test_a_cassette_that_cannot_be_written_is_refused(
    tmp_path: Path, name: str, into: str | None, told: str
) -> None:
    db = await recorded(tmp_path / "a.db", "One?")
    omnirecord.scrub(db, tmp_path / "a.jsonl")
    with pytest.raises(UsageError, match=told):
        async with Episodes(tmp_path / name, {None: "http://127.0.0.1:9"}, into=into and tmp_path / into):
            pass
