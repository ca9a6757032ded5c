"""The contract that judges without an option: by the path, in recordings of today and of the former default."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite import Store
from omnirecord.recorder.proxy.server import Proxy
from tests.omnigent_rig.provider import Answer
from tests.support import forked
from tests.support.cassettes import SHIPPED, event
from tests.support.lakes import shipped
from tests.support.later import later
from tests.support.model_clients import HI, KEYS, SCRIPT, chat_stream, messages_stream, openai_client, responses_stream
from tests.support.providers import ModelApis
from tests.support.wire import END, STREAM, answering, ask, chunk, get, recorded

agents = later("tests.other_apis.ag_ui_agent")
openai = later("openai")
TEXT = "Hello there, friend of the sea."
USES = (responses_stream, chat_stream, messages_stream)
APIS = ["openai-responses", "openai-chat", "anthropic-messages"]
READERS = ("show", "doctor", "sessions", "stats", "validate", "ls", "events")
FALSE = re.compile("unknown|invalid|malformed|without \\[DONE\\]|is not in the contract|other-api")


@asynccontextmanager
async def provided(db: Path, **options: Any) -> AsyncIterator[str]:
    async with ModelApis(SCRIPT) as provider, Proxy(provider.url.removesuffix("/v1"), db, **options) as proxy:
        yield proxy.url


_KEPT: dict[str | None, bytes] = {}
"""Recordings by the contract that was given."""


async def model_calls(db: Path, contract: str | None = None) -> Path:
    """Put a recording of a streamed call to each API into a file. It is made once."""
    if contract not in _KEPT:
        async with provided(db, contract=contract) as url:
            for use in USES:
                assert TEXT in str(await use(url))
        _KEPT[contract] = db.read_bytes()
    db.write_bytes(_KEPT[contract])
    return db


async def as_before(db: Path) -> Path:
    """Record the same calls as an older omnirecord did: with its default, and without saying so."""
    await model_calls(db, contract="omnigent")
    unsaid(db)
    return db


def unsaid(db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("DELETE FROM meta WHERE key GLOB 'contract_given:*'")


def said(db: Path, *commands: str) -> dict[str, bytes]:
    done = {name: forked.run([name, str(db)], db.parent) for name in commands or READERS}
    assert {name: (one.code, one.errors) for name, one in done.items()} == dict.fromkeys(done, (0, b""))
    return {name: one.out for name, one in done.items()}


def stream_facts(store: Store) -> list[tuple[str, set[str], dict[str, int]]]:
    return [(x.ending, {one.verdict for one in store.frames(x)}, store.tally(x)[0]) for x in store.streams()]


async def test_a_model_api_needs_no_option(tmp_path: Path) -> None:
    db = await model_calls(tmp_path / "model.db")
    told = said(db)
    assert {name: FALSE.findall(out.decode()) for name, out in told.items()} == {name: [] for name in told}
    assert b"Conversation #1 \xc2\xb7 recording 1" in told["show"]
    assert told["doctor"] == b"nothing to report\n"
    result = omnirecord.validate(db)
    assert (result.contract.replace(" and ", ", ").split(", "), result.ok) == (APIS, True)
    with closing(open_store(db)) as store:
        assert [(one.contract, one.contract_given) for one in store.recordings()] == [("auto", False)]
        assert {ending for ending, _, _ in stream_facts(store)} == {"done"}


async def test_a_recording_with_the_former_default_reads_like_one_of_today(tmp_path: Path) -> None:
    now, before = await model_calls(tmp_path / "model.db"), await as_before(tmp_path / "before.db")
    content = before.read_bytes()
    told = said(before)
    assert {name: FALSE.findall(out.decode()) for name, out in told.items()} == {name: [] for name in told}
    assert told["doctor"] == b"nothing to report\n"
    with closing(open_store(now)) as one, closing(open_store(before)) as other:
        assert stream_facts(one) == stream_facts(other)
        assert [len(list(other.outline(x))) for x in other.streams()]
    columns = "s.ending, s.not_valid, e.verdict, e.type"
    sql = f"SELECT {columns} FROM streams s JOIN events e USING (stream) ORDER BY e.stream, e.seq"
    rows = [forked.run(["query", str(db), sql, "--json"], tmp_path).out for db in (now, before)]
    assert rows[0] == rows[1]
    assert before.read_bytes() == content


async def test_the_lake_judges_again_what_the_former_default_judged(tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    lake = shipped(str(tmp_path / "lake"), await as_before(tmp_path / "before.db"))
    sql = "SELECT DISTINCT verdict FROM events ORDER BY 1"
    done = forked.run(["lake", "sql", lake.url, sql, "--format", "csv"], tmp_path)
    assert done.out.split() == [b"verdict", b"sentinel", b"valid"]
    for name in ("doctor", "validate"):
        assert forked.run(["lake", name, lake.url, "--json", "--jobs", "1"], tmp_path).code == 0


async def test_a_given_contract_is_kept(tmp_path: Path) -> None:
    db = await model_calls(tmp_path / "given.db", contract="omnigent")
    assert "other-api" in [one.code for one in omnirecord.doctor(db)]
    text = tmp_path / "given.jsonl"
    assert forked.run(["export", str(db), "--format", "jsonl", "-o", str(text)], tmp_path).code == 0
    assert json.loads(text.read_text().splitlines()[0])["recordings"][0]["contract_given"] is True
    assert "other-api" in [one.code for one in omnirecord.doctor(text)]


async def test_the_older_stream_of_omnigent_is_told_by_the_origin_of_its_clients(tmp_path: Path) -> None:
    body = event("response.created", response={"id": "r", "status": "queued", "model": "m", "created_at": 1})
    response = STREAM + chunk(body + b"data: [DONE]\n\n") + END
    async with recorded(answering(response), tmp_path) as (proxy, _):
        await ask(proxy.url, get("/v1/responses", "Origin: omnigent://internal"))
        await ask(proxy.url, get("/v1/responses"))
    with closing(open_store(proxy.db)) as store:
        assert [store.judge_of(x).name for x in store.streams()] == ["omnigent", "openai-responses"]
        assert [next(store.frames(x)).verdict for x in store.streams()] == ["valid", "invalid"]


def test_the_shipped_older_stream_stays_omnigents() -> None:
    assert omnirecord.validate(SHIPPED / "responses.jsonl").contract == "omnigent"


@pytest.mark.parametrize("before", [False, True])
async def test_nothing_is_said_against_the_events_of_another_api(before: bool, tmp_path: Path) -> None:
    db = tmp_path / "agent.db"
    given = "omnigent" if before else None
    async with agents.agent() as url, omnirecord.record(url, db=db, contract=given) as proxy:
        await agents.ask(proxy.url, "What is the weather in Oslo?")
    if before:
        unsaid(db)
    told = said(db)
    assert told["doctor"].startswith(b"nothing to report\n")
    assert b"17 events against none: everything fits" in told["validate"]
    assert not FALSE.findall(told["events"].decode() + told["ls"].decode() + told["stats"].decode())


async def test_a_reader_takes_the_contract_of_a_gateway_whose_path_tells_no_api(tmp_path: Path) -> None:
    db = tmp_path / "gateway.db"
    choices = {"delta": {"content": "Hello."}, "finish_reason": None}, {"delta": {}, "finish_reason": "stop"}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    parts = [json.dumps({**head, "choices": [{"index": 0, **one}]}) for one in choices]
    answer = "".join(f"data: {one}\n\n" for one in [*parts, "[DONE]"]).encode()
    async with recorded(answering(STREAM + chunk(answer) + END), tmp_path) as (proxy, _):
        await ask(proxy.url, post("/llm", {"model": "m", "stream": True, "messages": HI}))
    proxy.db.rename(db)
    assert said(db, "show")["show"].startswith(b"Requests of an unknown API")
    says = {"show": b"Assistant: Hello.", "doctor": b"nothing to report", "sessions": b"#1", "stats": b"1 call"}
    for name, words in says.items():
        done_now = forked.run([name, str(db), "--contract", "openai-chat"], tmp_path)
        assert (done_now.code, done_now.errors) == (0, b"")
        assert words in done_now.out
        refused = forked.run([name, str(db), "--contract", "no-such"], tmp_path)
        assert refused.code == 2
        assert b"There is no contract 'no-such'" in refused.errors


async def test_a_replay_compares_conversations_without_an_option(tmp_path: Path) -> None:
    db = await model_calls(tmp_path / "model.db")
    async with omnirecord.replay(db, timing="instant") as server:
        for use in USES:
            assert TEXT in str(await use(server.url))
        async with openai_client(server.url, max_retries=0) as client:
            with pytest.raises(openai.NotFoundError, match="Bye"):
                await client.responses.create(model="m", input="Bye", stream=True)


@pytest.mark.parametrize("api", APIS)
async def test_an_imported_body_has_the_contract_that_fits_it(api: str, tmp_path: Path) -> None:
    db = await model_calls(tmp_path / "model.db")
    with omnirecord.open_cassette(db) as cassette:
        body = next(one.body() for one in cassette.streams() if api_of(one) == api)
    (tmp_path / "body.sse").write_bytes(body)
    import_file(tmp_path / "body.sse", tmp_path / "imported.db")
    assert omnirecord.validate(tmp_path / "imported.db").contract == api
    assert omnirecord.doctor(tmp_path / "imported.db") == []
    assert b"Assistant: Hello there, friend of the sea." in said(tmp_path / "imported.db", "show")["show"]


def test_an_imported_body_of_another_api_is_judged_by_none(tmp_path: Path) -> None:
    (tmp_path / "body.sse").write_bytes(b'data: {"session_id": "1", "token": "Hi"}\n\ndata: bye\n\n')
    import_file(tmp_path / "body.sse", tmp_path / "imported.db")
    assert omnirecord.validate(tmp_path / "imported.db").contract == "none"
    assert omnirecord.doctor(tmp_path / "imported.db") == []


def api_of(stream: Any) -> str:
    ends = {"responses": APIS[0], "completions": APIS[1], "messages": APIS[2]}
    return ends[stream.exchange.request.target.partition("?")[0].rpartition("/")[2]]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
async def test_no_key_of_a_provider_reaches_the_disk(sign: signal.Signals, tmp_path: Path) -> None:
    """By the command that the README shows, with the keys of all SDKs in headers, queries and bodies."""
    keys = {
        **KEYS,
        "azure": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        "google": "AIzaSyA-SeventeenSecretsOfGoogle0000000",
        "query": "SecretsInTheQuery00000000000000",
        "ephemeral": "ek_68SecretsOfARealtimeSession00000",
        "body": "SecretsInTheBody000000000000000",
    }
    db = tmp_path / "model.db"
    async with ModelApis(SCRIPT, Answer("Hello.")) as provider:
        command = ["proxy", "--upstream", provider.url.removesuffix("/v1"), "--listen", "127.0.0.1:0", "--db", str(db)]
        running = forked.Running(command)
        url = re.search(r" at (http://\S+) into", (await running.readline()).decode())[1]  # type: ignore[index]
        for use in USES:
            await use(url)
        for one in requests(keys):
            await ask(url, one)
        await asyncio.sleep(0.5)  # the recorder commits every 100 ms
        found = in_files(tmp_path, keys)
        running.send_signal(sign)
        await running.communicate()
    with closing(open_store(db)) as store:
        assert len(store.exchanges()) == len(USES) + len(requests(keys))
    assert [*found, *in_files(tmp_path, keys)] == []


def in_files(folder: Path, keys: dict[str, str]) -> list[str]:
    return [name for name, key in keys.items() for one in folder.iterdir() if key.encode() in one.read_bytes()]


def post(path: str, body: Any, *headers: str) -> bytes:
    content = json.dumps(body)
    length, type_ = f"Content-Length: {len(content)}", "Content-Type: application/json"
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: a", length, type_, *headers, "", content]).encode()


def requests(keys: dict[str, str]) -> list[bytes]:
    gemini = "/v1beta/models/gemini:streamGenerateContent"
    chat = {"model": "m", "messages": HI}
    return [
        post("/openai/deployments/gpt/chat/completions?api-version=1", chat, f"api-key: {keys['azure']}"),
        post(f"{gemini}?alt=sse", {}, f"x-goog-api-key: {keys['google']}"),
        post(f"{gemini}?key={keys['query']}", {}),
        post("/v1/realtime/client_secrets", {"client_secret": {"value": keys["ephemeral"]}}),
        post("/v1/responses", {"model": "m", "input": "Hi", "api_key": keys["body"]}),
    ]
