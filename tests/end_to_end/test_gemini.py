"""Google Gemini with its real client: recorded without an option, read by each command, and played again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

import omnirecord
from omnirecord import open_cassette, record
from omnirecord.providers.google_gemini import CHUNK, ERROR, FINISHED, FinishedResponse, GenerateContentResponse
from tests.support import forked
from tests.support.gemini import KEY, MODEL, SCRIPT, GeminiApi, client, retried, retrying, stream, use_all
from tests.support.later import later
from tests.support.wire import bytes_on_disk, eventually

errors = later("google.genai.errors")

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
PATH = f"/v1beta/models/{MODEL}"
VERTEX = f"/v1/projects/p/locations/l/publishers/google/models/{MODEL}"


class Recorded:
    """The cassette of all uses, and what the clients got from the live provider."""

    def __init__(self, db: Path) -> None:
        self.db = db
        self.live: dict[str, object] = {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    result = Recorded(tmp_path_factory.mktemp("gemini") / "gemini.db")
    async with proxied(result.db) as url:
        result.live = await use_all(url)
    return result


@asynccontextmanager
async def proxied(db: Path) -> AsyncIterator[str]:
    """A recorder in front of the provider, with the default contract; yields its URL."""
    async with GeminiApi(SCRIPT) as provider, record(provider.url, db) as proxy:
        yield proxy.url


async def record_texts(db: Path, *texts: str) -> Path:
    """Record a streamed call for each text; the client may fail."""
    async with proxied(db) as url:
        for text in texts:
            with suppress(Exception):  # of the client, or of the HTTP library that it comes with
                await stream(url, text)
    return db


def printed(db: Path, *command: str) -> str:
    """Return what a command prints about a cassette."""
    done = forked.run([command[0], str(db), *command[1:]], db.parent)
    assert done.errors == b""
    return done.out.decode()


def codes(db: Path) -> set[str]:
    return {one.code for one in omnirecord.doctor(db)}


def calls(db: Path) -> list[dict[str, Any]]:
    """Return the model calls in the JSON of `show`."""
    rows = map(json.loads, printed(db, "show", "--json").splitlines())
    return [call for row in rows for call in row["model_calls"]]


async def test_the_default_contract_knows_each_event(recorded: Recorded) -> None:
    with open_cassette(recorded.db) as cassette:
        frames = [frame for one in cassette.streams() for frame in one.frames()]
        assert {one.exchange.ending for one in cassette.streams()} == {"done"}
    assert {frame.verdict for frame in frames} == {"valid"}
    assert {frame.type for frame in frames} == {CHUNK, FINISHED}
    result = omnirecord.validate(recorded.db)
    assert (result.ok, result.contract) == (True, "google-gemini")


async def test_events_are_models_of_the_api(recorded: Recorded) -> None:
    with open_cassette(recorded.db) as cassette:
        first, *_, last = next(iter(cassette.streams())).events()
    assert type(first) is GenerateContentResponse
    assert isinstance(last, FinishedResponse)
    assert last.usageMetadata is not None
    assert last.usageMetadata.thoughtsTokenCount == 5


@pytest.mark.parametrize("timing", ["instant", "compressed"])
async def test_the_client_gets_from_a_replay_what_the_provider_sent(recorded: Recorded, timing: Any) -> None:
    async with omnirecord.replay(recorded.db, timing=timing) as server:
        assert await use_all(server.url) == recorded.live
        assert (server.unmatched, server.mismatches, server.unplayed) == ([], [], [])


async def test_a_miss_is_an_error_of_the_api(recorded: Recorded) -> None:
    async with omnirecord.replay(recorded.db, timing="instant") as server:
        with pytest.raises(errors.ClientError) as caught:
            await stream(server.url, "What is this?")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    assert "item 1 (user)" in str(caught.value)
    assert KEY not in str(caught.value)


async def test_a_fault_is_an_error_that_the_client_retries(tmp_path: Path) -> None:
    db = await record_texts(tmp_path / "t.db", "Hi")
    with open_cassette(db) as cassette:
        target = cassette.exchanges()[0].request.target
    faults = [f"answer POST {target.partition('?')[0]} with 503"]
    async with omnirecord.replay(db, timing="instant", faults=faults) as server:
        with pytest.raises(errors.ServerError, match="503 UNAVAILABLE"):
            await stream(server.url)
        one = retrying(server.url)
        pieces = one.aio.models.generate_content_stream(model=MODEL, contents="Hi")
        assert "".join([piece.text or "" async for piece in await pieces]) == "Hello there, friend of the sea."


async def test_tokens_tools_and_texts_are_shown(recorded: Recorded) -> None:
    found = calls(recorded.db)
    assert {call["api"] for call in found} == {"google-gemini"}
    assert {call["model"] for call in found} == {MODEL}
    ended = [call for call in found if call["ending"] == "completed"]
    counts = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "total_tokens")
    assert {tuple(call["usage"][name] for name in counts) for call in ended} == {(40, 14, 32, 5, 54)}
    text = printed(recorded.db, "show")
    for line in (
        "You: Hi", "thought: A greeting.", "Assistant: Hello there, friend of the sea.", "System: Be brief.",
        'asks for tool weather {"city": "Rome"}', "tool output: sunny", "Assistant: It is sunny in Rome.",
        "40 in, 14 out tokens (32 cached, 5 reasoning)",
    ):  # fmt: skip
        assert line in " ".join(text.split()), text
    assert " weather" in printed(recorded.db, "events")
    assert "Rome" in printed(recorded.db, "search", "sunny")


async def test_a_429_that_a_retry_made_good_is_no_error(tmp_path: Path) -> None:
    async with proxied(tmp_path / "t.db") as url:
        assert await retried(url) == ["Sorry for the wait.", "There is room again."]
    found = omnirecord.doctor(tmp_path / "t.db")
    assert {one.code for one in found} == {"model-rate-limited", "model-retried"}
    assert "error" not in {one.severity for one in found}
    assert [(call["request"], call["attempt"], call["ending"]) for call in calls(tmp_path / "t.db")] == [
        (1, 1, "refused"), (1, 2, "completed"), (1, 1, "refused"), (1, 2, "completed"),
    ]  # fmt: skip
    assert calls(tmp_path / "t.db")[0]["reason"] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    ("text", "stream_ending", "ending", "reason", "found"),
    [
        ("Hi", "done", "completed", "STOP", set()),
        ("Bomb", "done", "incomplete", "SAFETY", {"model-truncated"}),
        ("Short", "done", "incomplete", "MAX_TOKENS", {"model-truncated"}),
        ("Fail", "done", "failed", "UNAVAILABLE", {"model-failed"}),
        ("Cut", "upstream_lost", "cut", "upstream_lost", {"model-failed"}),
        ("Closed", "eof", "cut", "eof", {"model-failed"}),
    ],
)
async def test_an_ending_is_told(
    text: str, stream_ending: str, ending: str, reason: str, found: set[str], tmp_path: Path
) -> None:
    db = await record_texts(tmp_path / "t.db", text)
    with open_cassette(db) as cassette:
        assert [one.exchange.ending for one in cassette.streams()] == [stream_ending]
        types = [frame.type for one in cassette.streams() for frame in one.frames()]
    assert types[-1] == {"Fail": ERROR, "Cut": CHUNK, "Closed": CHUNK}.get(text, FINISHED)
    (call,) = calls(db)
    assert (call["ending"], call["reason"]) == (ending, reason)
    assert codes(db) == found


async def test_an_imported_body_is_known_by_its_events(recorded: Recorded, tmp_path: Path) -> None:
    raw, copy = tmp_path / "t.sse", tmp_path / "copy.db"
    exported = forked.run(["export", str(recorded.db), "--stream", "1", "-o", str(raw)], tmp_path)
    assert exported.code == 0, exported.errors
    assert forked.run(["import", str(raw), "--db", str(copy)], tmp_path).code == 0
    (call,) = calls(copy)
    assert (call["api"], call["ending"]) == ("google-gemini", "completed")


@pytest.mark.parametrize("path", [PATH, VERTEX, PATH.replace("models/", "tunedModels/")])
@pytest.mark.parametrize("query", ["", "?alt=sse", "?key=" + KEY, "?alt=sse&key=" + KEY])
async def test_each_path_is_that_of_the_api_with_events_and_as_an_array(path: str, query: str, tmp_path: Path) -> None:
    db, body = tmp_path / "t.db", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    target = f"{path}:streamGenerateContent{query}"
    async with proxied(db) as url, httpx.AsyncClient(trust_env=False) as http:
        live = await http.post(f"{url}{target}", json=body)
    (call,) = calls(db)
    assert (call["api"], call["model"], call["ending"]) == ("google-gemini", MODEL, "completed")
    assert call["usage"]["total_tokens"] == 54
    assert "Assistant: Hello there, friend of the sea." in printed(db, "show")
    async with omnirecord.replay(db, timing="instant") as server, httpx.AsyncClient(trust_env=False) as http:
        assert (await http.post(f"{server.url}{target}", json=body)).content == live.content
        another = target.replace("Seventeen", "Eighteen")
        assert (await http.post(f"{server.url}{another}", json=body)).content == live.content


async def test_no_file_and_no_output_holds_the_key(tmp_path: Path) -> None:
    db, body = tmp_path / "t.db", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    async with GeminiApi(SCRIPT) as provider, record(provider.url, db) as proxy:
        await stream(proxy.url)
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.post(f"{proxy.url}{PATH}:generateContent?key={KEY}", json=body)
        assert provider.keys == [KEY, KEY]
    assert KEY.encode() not in bytes_on_disk(db)
    for command in (["show"], ["show", "--json"], ["ls"], ["events"], ["stats"], ["export", "-o", "t.jsonl"]):
        assert KEY not in printed(db, *command)
    assert KEY not in (tmp_path / "t.jsonl").read_text()


async def test_the_commands_read_such_a_cassette(recorded: Recorded, tmp_path: Path) -> None:
    for name in ("ls", "events", "validate", "doctor", "stats", "show", "sessions"):
        done = forked.run([name, str(recorded.db)], tmp_path)
        assert (done.code, done.errors) == (0, b""), name
    assert b"everything fits" in forked.run(["validate", str(recorded.db)], tmp_path).out
    text = tmp_path / "gemini.jsonl"
    assert forked.run(["export", str(recorded.db), "-o", str(text)], tmp_path).code == 0
    assert omnirecord.validate(text).ok
    async with omnirecord.replay(text, timing="instant") as server:
        assert await use_all(server.url) == recorded.live


async def test_a_client_that_leaves_is_no_failure_of_the_provider(tmp_path: Path) -> None:
    db = tmp_path / "t.db"
    async with proxied(db) as url:
        one = client(url)
        async for _ in await one.aio.models.generate_content_stream(model=MODEL, contents="Wait"):
            break
        await one.aio.aclose()
        await eventually(lambda: calls(db)[0]["cut_by"] == "client", 60)
    assert [one.severity for one in omnirecord.doctor(db)] == ["note"]
