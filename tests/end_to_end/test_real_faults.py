"""What the real Omnigent client does under each fault, line by line as `docs/client-behaviour.md` has it, and the rest
of what is said there."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from omnirecord.replayer.server import Replay
from tests.support.cassettes import Made, heartbeat
from tests.support.client_page import Row, rows, statuses
from tests.support.client_words import KNOWN
from tests.support.later import later
from tests.support.real_client import (
    BUNDLE,
    MESSAGE,
    REQUEST_S,
    STREAM_READ_S,
    cassette,
    make_turn,
    outcome,
    shorten,
    whole_turn,
)

omnigent_client = later("omnigent_client", "needs the 'real' dependency group, and Python >= 3.12")

pytestmark = pytest.mark.real

CASES = [(row, caller) for row in rows() for caller in row.does]
TEXT = cassette("text")


def named(value: Any) -> str | None:
    return " and ".join(value.faults) if isinstance(value, Row) else None


@pytest.mark.parametrize(("row", "caller"), CASES, ids=named)
async def test_the_client_does_what_the_page_says(row: Row, caller: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told, request_s, patience = "", 30.0, 1
    path = cassette(row.cassette)
    await whole_turn(caller, row.cassette, path)
    waits = "waits" in row.does[caller] or row.faults[-1].startswith("freeze")
    while told != row.does[caller] and patience <= (4 if waits else 1):
        if waits:  # a short timeout is too short on a machine that is very busy, but then a longer one is not
            request_s = shorten(monkeypatch, patience)
        async with asyncio.timeout(30):
            told = await outcome(caller, row.cassette, path, row.faults, request_s=request_s)
        patience *= 4
    assert told == row.does[caller]


# Requests

Ask = Callable[[Any, str], Awaitable[object]]


async def first_event(client: omnigent_client.OmnigentClient, session_id: str) -> object:
    async with aclosing(client.sessions.stream(session_id)) as events:
        return await anext(events)


async def resolve(client: omnigent_client.OmnigentClient, session_id: str) -> object:
    async with aclosing(client.sessions.stream(session_id)) as events:
        post = asyncio.create_task(client.sessions.post_event(session_id, MESSAGE))
        asked = [e async for e in until(events, "response.elicitation_request")][-1]
        try:
            return await client.sessions.resolve_elicitation(session_id, asked.elicitation_id, {"action": "accept"})
        finally:
            post.cancel()  # it may not be answered for long
            await asyncio.gather(post, return_exceptions=True)


async def until(events: Any, type_: str) -> Any:
    async for event in events:
        yield event
        if event.type == type_:
            return


async def chat(client: omnigent_client.OmnigentClient, _session_id: str) -> object:
    made = await client.sessions_chat(BUNDLE)
    return await made.query("Go on.")


ASKS: dict[str, tuple[str, str, Ask]] = {
    "sessions.create": ("text", "POST /v1/sessions", lambda client, _: client.sessions.create(BUNDLE)),
    "sessions.get": ("text", "2nd GET /v1/sessions/*", lambda client, name: client.sessions.get(name)),
    "sessions.stream": ("text", "GET /v1/sessions/*/stream", first_event),
    "post_event": (
        "text",
        "POST /v1/sessions/*/events",
        lambda client, name: client.sessions.post_event(name, MESSAGE),
    ),
    "resolve_elicitation": ("approval", "POST /v1/sessions/*/elicitations/*/resolve", resolve),
    "SessionsChat.query": ("text", "POST /v1/sessions/*/events", chat),
}


@pytest.mark.parametrize(
    ("status", "name", "ask"),
    [
        pytest.param(status, name, ask, marks=[pytest.mark.long] * (number % 3 != kind % 3))
        for number, (status, name) in enumerate(statuses().items())
        for kind, ask in enumerate(ASKS)
    ],
)
async def test_a_status_raises_what_the_page_says_and_is_not_tried_again(status: int, name: str, ask: str) -> None:
    tape, requests, call = ASKS[ask]
    fault = f"answer {requests} with {status}"
    async with (
        Replay(cassette(tape), timing="instant", faults=[fault], match_on=[]) as server,
        omnigent_client.OmnigentClient(server.url, timeout=10.0) as client,
    ):
        known = ask not in ("sessions.create", "SessionsChat.query")
        session_id = (await client.sessions.create(BUNDLE)).id if known else ""
        with pytest.raises(omnigent_client.OmnigentError) as caught:
            await call(client, session_id)
        assert sum(request.status == status and request not in server.unmatched for request in server.requests) == 1
        if ask != "resolve_elicitation":  # the question is asked once
            await call(client, session_id)
    assert (type(caught.value).__name__, caught.value.status_code, caught.value.code) == (name, status, "fault")
    assert str(caught.value) == f"omnirecord: {status}, since the fault {fault!r} says so"


# Without a fault


async def test_a_failed_turn_is_an_empty_text_to_the_chat() -> None:
    turn, _ = await make_turn("SessionsChat.query", "failed", cassette("failed"))
    assert (turn.text, turn.error) == ("", None)


async def test_a_chat_whose_message_is_asked_about_never_hears_the_question() -> None:
    asked: list[object] = []
    async with (
        Replay(cassette("approval"), timing="instant") as server,
        omnigent_client.OmnigentClient(server.url, timeout=REQUEST_S) as client,
    ):
        made = await client.sessions_chat(
            BUNDLE, hooks=omnigent_client.StreamHooks(on_elicitation_request=asked.append)
        )
        with pytest.raises(httpx.ReadTimeout) as caught:
            await made.query("Please summarise the release notes.")
    assert caught.value.request.method == "POST"
    assert caught.value.request.url.path.endswith("/events")
    assert asked == []


async def test_a_chat_that_was_interrupted_waits_though_the_session_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, 2)
    seen: list[str] = []
    async with (
        Replay(cassette("interrupt"), timing="instant") as server,
        omnigent_client.OmnigentClient(server.url, timeout=REQUEST_S) as client,
    ):
        made = await client.sessions_chat(BUNDLE)
        with pytest.raises(httpx.ReadTimeout) as caught:
            await interrupted(made, seen)
    assert caught.value.request.url.path.endswith("/stream")
    assert seen[-4:-1] == ["session.interrupted ", "session.status idle", "session.status idle"]


async def interrupted(made: omnigent_client.SessionsChat, seen: list[str]) -> None:
    """After the fifth delta."""
    async with aclosing(made.send("Tell me a long story about a lighthouse.")) as events:
        async for event in events:
            seen.append(f"{event.type} {getattr(event, 'status', '')}")
            if sum(one.startswith("response.output_text.delta") for one in seen) == 5 and "delta" in seen[-1]:
                await made.cancel()


async def test_heartbeats_keep_a_wait_alive_beyond_the_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, 2)
    tape = Made()
    tape.stream("s", 0.0, *((n * STREAM_READ_S, heartbeat()) for n in range(4)), ending="eof")
    async with Replay(tape.save(tmp_path / "beats.db")) as server, omnigent_client.OmnigentClient(server.url) as client:
        began = asyncio.get_running_loop().time()
        seen = [event.type async for event in client.sessions.stream("s")]
        assert asyncio.get_running_loop().time() - began > 2.5 * STREAM_READ_S
    assert seen == ["session.heartbeat"] * 4


# What the snapshot knows


async def snapshot(name: str, *faults: str) -> tuple[Any, dict[str, Any]]:
    """After a turn with this fault, as the client gives it and as it came."""
    async with (
        Replay(cassette(name), timing="instant", faults=faults, match_on=[]) as server,
        omnigent_client.OmnigentClient(server.url) as client,
    ):
        session = await client.sessions.create(BUNDLE)
        async with aclosing(client.sessions.stream(session.id)) as events:
            await anext(events)
            await client.sessions.post_event(session.id, MESSAGE)
            async for event in events:
                if event.type == "session.status" and event.status in ("idle", "failed"):
                    break
        async with httpx.AsyncClient() as http:
            raw = (await http.get(f"{server.url}/v1/sessions/{session.id}")).json()
        return await client.sessions.get(session.id), raw


async def test_the_snapshot_has_the_answer_whose_end_was_lost() -> None:
    seen, _ = await snapshot("text", "drop response.completed")
    whole, _ = await make_turn("SessionsChat.query", "text", TEXT)
    assert seen.status == "idle"
    assert [item["data"]["content"][0]["text"] for item in seen.items][-1] == whole.text


async def test_the_snapshot_of_a_failed_turn_says_so() -> None:
    seen, _ = await snapshot("failed", "drop response.failed")
    assert seen.status == "failed"


async def test_what_is_asked_is_in_the_snapshot_but_not_in_the_clients() -> None:
    seen, raw = await snapshot("text", "drop response.completed")
    assert "pending_elicitations" in raw
    assert not any("elicitation" in field.name for field in dataclasses.fields(seen))


# What is logged, and how long it waits


async def test_broken_json_is_a_warning_and_an_unknown_type_is_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "omnigent_client")
    unknown = 'set type of 3rd response.output_text.delta to "x"'
    await make_turn("SessionsChat.query", "text", TEXT, ["corrupt 2nd response.output_text.delta", unknown])
    told = [(one.name, one.levelname, one.getMessage()[:24]) for one in caplog.records if "omnigent_client" in one.name]
    assert told == [
        ("omnigent_client.sessions", "WARNING", "Failed to parse SSE data"),
        ("omnigent_client.sessions", "DEBUG", "Skipping unparseable ses"),
    ]


def test_the_timeouts_are_those_that_the_page_tells() -> None:
    assert httpx.Timeout(30.0, read=600.0) == omnigent_client._timeouts._SSE_TIMEOUT
    assert omnigent_client._sessions._SSE_TIMEOUT is omnigent_client._timeouts._SSE_TIMEOUT
    assert inspect.signature(omnigent_client.OmnigentClient).parameters["timeout"].default == 30.0
    assert omnigent_client._sessions_chat._STREAM_READY_TIMEOUT_S == 1.0


def test_what_httpx_raises_is_no_omnigent_error_and_the_page_has_its_texts() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "client-behaviour.md").read_text()
    for name, text in KNOWN.items():
        assert not issubclass(getattr(httpx, name), omnigent_client.OmnigentError)
        assert f"| `httpx.{name}` | {f'`{text}`' if text else 'empty'} |" in page


async def test_the_chat_posts_after_its_patience_though_no_stream_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, 2)
    turn, server = await make_turn("SessionsChat.query", "text", TEXT, ["slow GET /v1/sessions/*/stream by 11min"])
    assert isinstance(turn.error, httpx.ReadTimeout)
    assert [request.method for request in server.requests][-2:] == ["GET", "POST"]


async def test_a_session_whose_first_snapshot_fails_is_made_all_the_same() -> None:
    turn, server = await make_turn("sessions.stream", "text", TEXT, ["answer GET /v1/sessions/* with 503"])
    assert isinstance(turn.error, omnigent_client._errors.ServerError)
    assert [(request.method, request.status) for request in server.requests] == [("POST", 201), ("GET", 503)]
