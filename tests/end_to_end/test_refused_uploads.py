"""Requests that a server refuses before it has read their bodies, as the SDKs of OpenAI and Anthropic retry them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord.analysis.gather import model_calls
from tests.support import wire
from tests.support.command import invoke
from tests.support.later import later
from tests.support.wire import Upstream, Wire, opened

openai = later("openai")
anthropic = later("anthropic")

QUESTION = "What is in this file? " + "abcdefghij " * 800_000
"""8.8 MB: more than the sockets hold of what the server does not read."""
CHAT = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Words."}}],
}  # fmt: skip
MESSAGE = {
    "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "Words."}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip


def answer(status: str, value: Any, *more: str) -> bytes:
    body = json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(lines).encode() + body


class Busy:
    """A server that refuses the first request from its header section alone, and answers the next."""

    def __init__(self, value: Any) -> None:
        self.value, self.requests = value, 0

    async def __call__(self, connection: Wire) -> None:
        connection.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        _, headers = await connection.head()
        self.requests += 1
        if self.requests == 1:
            error = {"error": {"type": "rate_limit_error", "message": "too many"}}
            await connection.send(answer("429 Too Many Requests", error, "retry-after-ms: 10", "Connection: close"))
            await asyncio.sleep(0.3)
            return
        await connection.body(headers)
        await connection.send(answer("200 OK", self.value))


async def ask_openai(url: str) -> str:
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=2) as client:
        made = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": QUESTION}])
        return made.choices[0].message.content or ""


async def ask_anthropic(url: str) -> str:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=2) as client:
        made = await client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": QUESTION}])
        return str(made.content[0].text)  # type: ignore[union-attr]


@pytest.fixture(scope="module", params=[(ask_openai, CHAT), (ask_anthropic, MESSAGE)], ids=["openai", "anthropic"])
def recorded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Callable[[str], Any]]:
    ask, value = request.param
    db = tmp_path_factory.mktemp("refused") / "run.db"

    async def record() -> None:
        async with (
            Upstream(Busy(value)) as upstream,
            omnirecord.record(None, upstreams={"model": upstream.url}, db=db) as proxy,
        ):
            assert await ask(proxy.urls["model"]) == "Words."

    asyncio.run(record())
    return db, ask


def rows(db: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("ls", db, "--exchanges", "--json").splitlines()]


def run(*words: str | Path) -> str:
    result = invoke(*words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.stdout


def test_the_body_is_stored_as_far_as_it_came_and_is_called_cut(
    recorded: tuple[Path, Callable[[str], Any]], tmp_path: Path
) -> None:
    db, _ = recorded
    first, second = rows(db)
    assert (first["status"], second["status"]) == (429, 200)
    assert (first["request_cut"], second["request_cut"]) == (True, False)
    assert first["request_bytes"] < second["request_bytes"]
    assert wire.body(db, "request", 2).startswith(wire.body(db, "request", 1))
    said = f"(the body is cut: {first['request_bytes']} bytes of {second['request_bytes']} by Content-Length were sent"
    assert said in run("request", db, "1")
    assert said not in run("request", db, "2")
    run("export", db, "--format", "jsonl", "-o", tmp_path / "copy.jsonl")
    run("import", tmp_path / "copy.jsonl", "--db", tmp_path / "copy.db")
    run("scrub", db, "-o", tmp_path / "scrubbed.db")
    for copy in ("copy.jsonl", "copy.db", "scrubbed.db"):
        assert [row["request_cut"] for row in rows(tmp_path / copy)] == [True, False]


def test_the_retry_is_an_attempt_of_the_same_request(recorded: tuple[Path, Callable[[str], Any]]) -> None:
    with opened(recorded[0]) as store:
        first, second = model_calls(store).links
    assert (first.request, second.request) == (1, 1)
    assert (first.attempt, second.attempt) == (1, 2)
    found = [json.loads(line)["code"] for line in run("doctor", recorded[0], "--json").splitlines()]
    assert "model-failed" not in found


def test_a_replay_answers_the_whole_body_like_the_recording(recorded: tuple[Path, Callable[[str], Any]]) -> None:
    db, ask = recorded

    async def replay() -> None:
        async with omnirecord.replay(db, timing="instant", match_on=["body"]) as server:
            assert await ask(server.url) == "Words."
            assert [request.status for request in server.requests] == [429, 200]
            assert not server.unmatched

    asyncio.run(replay())


@pytest.mark.parametrize(("other", "number"), [(QUESTION, 1), (QUESTION[::-1], 2)])
def test_without_a_retry_count_an_equal_beginning_links_the_attempts(tmp_path: Path, other: str, number: int) -> None:
    async def ask(url: str, question: str) -> int:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": question}]}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        async with wire.connected(url, head) as connection:
            connection.writer.write(body)
            status, _ = await connection.head()
            return int(status.split()[1])

    async def record() -> None:
        async with (
            Upstream(Busy(CHAT)) as upstream,
            omnirecord.record(None, upstreams={"model": upstream.url}, db=tmp_path / "run.db") as proxy,
        ):
            assert [await ask(proxy.urls["model"], one) for one in (QUESTION, other)] == [429, 200]

    asyncio.run(record())
    with opened(tmp_path / "run.db") as store:
        assert [link.request for link in model_calls(store).links] == [1, number]
