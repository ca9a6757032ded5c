"""A message that differs gets an error of its API that shows the word, from `serve` and from Python."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import omnirecord
from omnirecord.replayer.verify import verify
from tests.support.cassettes import Made
from tests.support.forked import Running
from tests.support.later import later

TEXT = Path(__file__).parent.parent.parent / "cassettes" / "text.jsonl"
ADVICE = "To ignore bodies: --match path"
EVENTS = "/v1/sessions/717aee700fc441c59c658a3c2f9a2430/events"


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": text}]}}


def chats() -> Made:
    tape = Made(contract="none")
    for at, name in enumerate(("alice", "bob"), 1):
        tape.post("/chat", float(at), body={"user": name, "text": "Hi"}, answer={"to": name})
    return tape


@asynccontextmanager
async def serving(*options: str) -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    command = ["serve", TEXT, "--listen", "127.0.0.1:0", "--timing", "instant", "--json", *options]
    process = Running(command)
    try:
        url = json.loads(await process.readline())["url"]
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            yield process, client
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()


async def test_serve_answers_another_message_with_an_error_that_shows_the_words_and_opens_no_gate() -> None:
    async with serving() as (process, client):
        missed = await client.post(EVENTS, json=said("What is a black box?"))
        assert (missed.status_code, missed.json()["error"]["code"]) == (404, "not_recorded")
        lines = missed.json()["error"]["message"].splitlines()[1:]
        assert lines == ["  body $.data.content[0].text: What is a [-flight-]{+black+} [-recorder-]{+box+}?", ADVICE]
        state = (await client.get("/-/omnirecord/state", headers={"X-Omnirecord": "1"})).json()
        assert state["unmatched"] == [f"POST {EVENTS}"]
        assert f"POST {EVENTS}" in state["unplayed"]
        assert (await client.post(EVENTS, json=said("What is a flight recorder?"))).status_code == 202
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
    assert all(line in errors.decode() for line in lines)


async def test_alice_gets_her_answer_and_carol_an_error_in_any_order(tmp_path: Path) -> None:
    path = chats().save(tmp_path / "chats.db")
    async with omnirecord.replay(path) as server, httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        for name in ("bob", "alice", "bob", "alice"):
            answer = await client.post("/chat", json={"text": "Hi", "user": name})
            assert answer.json() == {"to": name}
        missed = await client.post("/chat", json={"user": "carol", "text": "Hi"})
        assert missed.status_code == 404
        assert missed.json()["error"]["nearest"] == [
            {"request": "POST /chat", "differs": "body $.user: [-alice-]{+carol+}"},
            {"request": "POST /chat", "differs": "body $.user: [-bob-]{+carol+}"},
        ]


async def test_a_cassette_with_equal_and_with_different_bodies_is_verified(tmp_path: Path) -> None:
    assert (await verify(chats().save(tmp_path / "chats.db"), timing="instant")).equal


async def test_the_client_of_omnigent_raises_an_error_that_shows_the_words() -> None:
    client_package = later("omnigent_client", "needs the 'real' dependency group, and Python >= 3.12")
    async with (
        omnirecord.replay(TEXT, timing="instant") as server,
        client_package.OmnigentClient(base_url=server.url) as client,
    ):
        session = EVENTS.split("/")[3]
        with pytest.raises(client_package.OmnigentError, match=r"\[-flight-\]\{\+black\+\}") as missed:
            await client.sessions.post_event(session, said("What is a black box?"))
        assert (missed.value.status_code, missed.value.code) == (404, "not_recorded")
        for _ in range(2):
            await server.reset()
            await client.sessions.post_event(session, said("What is a flight recorder?"))
            assert server.unmatched == []
