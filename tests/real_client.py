"""The real Omnigent client against a replay with faults, and what it did in a sentence that can be compared.

Each caller makes one turn in one way that the client has. The sentences are those of `docs/client-behaviour.md`;
`tests/fault_rows.py` has them by fault. "waits" is a wait that only a read timeout of the stream ends.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from omnigent_client import OmnigentClient, StreamHooks, _responses, _sessions, _sessions_chat

from omnirecord.replaying import Replay
from tests.cassettes import Made, completed, delta, heartbeat, status
from tests.fault_rows import CALLERS

FOLDER = Path(__file__).parent.parent / "cassettes"
STREAM_READ_S, REQUEST_S, READY_S = 0.8, 0.5, 0.1
"""Instead of the client's own 600, 30 and 1 s, so that a wait ends within a test."""
MESSAGE = {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": "Go on."}]}}
BUNDLE = b"a bundle: the replay does not look into it"
KNOWN = {
    "RemoteProtocolError": "peer closed connection without sending complete message body (incomplete chunked read)",
    "ReadError": "",
    "ReadTimeout": "",
}
"""By exception of httpx, its text."""


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Give the client short timeouts, in the proportions of its own."""
    for module in (_sessions, _responses):
        patch.setattr(module, "_SSE_TIMEOUT", httpx.Timeout(30.0, read=STREAM_READ_S))
    patch.setattr(_sessions_chat, "_STREAM_READY_TIMEOUT_S", READY_S)


def with_done() -> Made:
    """A session's stream with the end marker, which the live server was never seen to send: behind it another event."""
    tape = Made()
    session = {"id": "s", "session_id": "s", "agent_id": "a", "status": "idle", "created_at": 1}
    tape.post("/v1/sessions", 0.0, status=201, answer=session)
    tape.get("/v1/sessions/s", 0.5, session)
    reads = [heartbeat(), delta("Hi."), completed(), status("idle"), b"data: [DONE]\n\n", heartbeat()]
    tape.stream("s", 1.0, *((1.0 if n == 0 else 2.5 + n, data) for n, data in enumerate(reads)), ending="eof")
    tape.post("/v1/sessions/s/events", 2.0, status=202, body=MESSAGE, answer={"queued": True})
    return tape


def cassette(name: str, folder: Path) -> Path:
    """`folder`: for one that is made."""
    if name != "with [DONE]":
        return FOLDER / f"{name}.jsonl"
    path = folder / "with_done.db"
    return path if path.exists() else with_done().save(path)


@dataclass
class Turn:
    """What a caller got. `error`: what it raised. `aside`: what became of a request beside the stream."""

    events: list[tuple[str, str]] = field(default_factory=list)
    """Type and content."""
    text: str | None = None
    error: Exception | None = None
    rested: bool = False
    """It saw the status that it was waiting for, and left."""
    aside: str = ""


async def sessions_stream(client: OmnigentClient, name: str) -> Turn:
    """Listen, say something once the stream is open, accept what is asked, leave when the session is at rest."""
    turn, posts = Turn(), set()
    rest = {"failed": "failed", "with [DONE]": None}.get(name, "idle")
    asked: set[str] = set()
    try:
        session = await client.sessions.create(BUNDLE)
        async with aclosing(client.sessions.stream(session.id)) as events:
            async for event in events:
                if not turn.events:
                    posts.add(asyncio.create_task(client.sessions.post_event(session.id, MESSAGE)))
                turn.events.append((event.type, event.model_dump_json()))
                if event.type == "response.elicitation_request" and event.elicitation_id not in asked:
                    asked.add(event.elicitation_id)
                    await client.sessions.resolve_elicitation(session.id, event.elicitation_id, {"action": "accept"})
                turn.rested = event.type == "session.status" and event.status == rest
                if turn.rested:
                    break
    except Exception as error:
        turn.error = error
    for post in posts:
        turn.aside = await raised(post)
    return turn


async def raised(post: Awaitable[object]) -> str:
    try:
        await post
    except Exception as error:
        return f"`post_event` {ending(error)}"
    return ""


async def sessions_chat_query(client: OmnigentClient, _name: str) -> Turn:
    """The chat helper's `query`. It has a hook that accepts what is asked."""
    turn = Turn()
    try:
        chat = await client.sessions_chat(BUNDLE, hooks=StreamHooks(on_elicitation_request=lambda _: True))
        turn.text = (await chat.query("Go on.")).text
    except Exception as error:
        turn.error = error
    return turn


async def responses_stream(client: OmnigentClient, _name: str) -> Turn:
    turn = Turn()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning), suppress_into(turn):
        async with aclosing(client.responses.stream(model="helper", input="Go on.")) as events:
            async for event in events:
                turn.events.append((type(event).__name__, repr(event)))
    return turn


async def client_query(client: OmnigentClient, _name: str) -> Turn:
    turn = Turn()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning), suppress_into(turn):
        turn.text = (await client.query(model="helper", input="Go on.")).text
    return turn


class suppress_into(suppress):  # noqa: N801  # as contextlib's
    """Keep what was raised in a turn."""

    def __init__(self, turn: Turn) -> None:
        super().__init__(Exception)
        self._turn = turn

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if isinstance(error, Exception):
            self._turn.error = error
        return bool(super().__exit__(kind, error, trace))


MAKERS: dict[str, Callable[[OmnigentClient, str], Awaitable[Turn]]] = {
    "sessions.stream": sessions_stream,
    "SessionsChat.query": sessions_chat_query,
    "responses.stream": responses_stream,
    "client.query": client_query,
}


async def one(caller: str, name: str, path: Path, faults: Sequence[str]) -> tuple[Turn, Replay]:
    """A turn, and the replay that it was with."""
    async with (
        Replay(path, timing="instant", faults=faults) as server,
        OmnigentClient(server.url, timeout=REQUEST_S) as client,
    ):
        turn = await MAKERS[caller](client, name)
    return turn, server


async def outcomes(name: str, path: Path, faults: Sequence[str]) -> dict[str, str]:
    """By caller, what it did, told beside what it does without faults. Every fault has made a difference to each."""

    async def outcome(caller: str) -> str:
        (whole, _), (turn, server) = await asyncio.gather(
            one(caller, name, path, ()), one(caller, name, path, faults)
        )  # fmt: skip
        assert server.faults, f"{caller}: none of {faults} happened"
        said = told(turn, whole)
        sent = any(asked.method == "POST" and asked.status < 400 for asked in server.requests[1:])
        return said if sent or not caller.startswith("SessionsChat") else f"{said}; the message was not sent"

    said = await asyncio.gather(*map(outcome, CALLERS[name]))
    return dict(zip(CALLERS[name], said, strict=True))


def told(turn: Turn, whole: Turn) -> str:
    """In words."""
    if turn.text is not None:
        return f"returns {answered(turn.text, whole.text or '')}"
    if whole.text is not None:
        return ending(turn.error)
    parts = [heard(turn.events, whole.events)]
    if not turn.rested:
        parts.append(f"then {ending(turn.error)}")
    return "; ".join([", ".join(parts), *filter(None, [turn.aside])])


def ending(error: Exception | None) -> str:
    """How a call or an iteration ended."""
    if error is None:
        return "ends without an error"
    if isinstance(error, httpx.HTTPError):
        assert str(error) == KNOWN[type(error).__name__]
        if isinstance(error, httpx.ReadTimeout):
            request = error.request
            return "waits" if is_stream(request) else f"waits 30 s for {request.method} {short(request.url.path)}"
        return f"raises `httpx.{type(error).__name__}`"
    return f"raises `{type(error).__name__}`: {error}"


def is_stream(request: httpx.Request) -> bool:
    return request.url.path.endswith(("/stream", "/v1/responses"))


def short(path: str) -> str:
    """Without the ids."""
    return "/".join(part if len(part) < 20 else "…" for part in path.split("/"))


def heard(events: list[tuple[str, str]], whole: list[tuple[str, str]]) -> str:
    """Which of the events that came without faults came with them."""
    if events == whole:
        return "all events"
    if not events:
        return "no event"
    if events == whole[: len(events)]:
        return f"all up to {named(events[-1], whole)}"
    lost, more = list((Counter(whole) - Counter(events)).elements()), Counter(events) - Counter(whole)
    if not lost and not more:
        return "all, in another order"
    if not more:
        return f"all but {listed(lost, whole)}"
    if not lost:
        return f"all, {listed(list(more), whole)} twice"
    return f"all, {listed(lost, whole)} as changed"


def listed(events: list[tuple[str, str]], whole: list[tuple[str, str]]) -> str:
    if len(events) > 2:
        return f"{len(events)} events"
    return " and ".join(named(event, whole) for event in sorted(events, key=whole.index))


def named(event: tuple[str, str], whole: list[tuple[str, str]]) -> str:
    """With its number, where there are several of its type."""
    alike = [one for one in whole if one[0] == event[0]]
    if len(alike) < 2:
        return f"`{event[0]}`"
    return f"`{event[0]}` no. {alike.index(event) + 1}"


def answered(text: str, whole: str) -> str:
    """A text beside the whole one."""
    if text == whole and text:
        return "the answer"
    if not text:
        return "an empty text"
    if whole.startswith(text):
        return f"the first {len(text)} of {len(whole)} characters"
    if sorted(text.split()) == sorted(whole.split()):
        return "the answer with its words in another order"
    head = len(shared_head(text, whole))
    tail = len(shared_head(text[head:][::-1], whole[head:][::-1]))
    gone, come = whole[head : len(whole) - tail], text[head : len(text) - tail]
    return f"the answer with {json.dumps(come)} twice" if come and not gone else f"the answer without {json.dumps(gone)}"


def shared_head(one: str, other: str) -> str:
    return one[: next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))]


async def until_quiet(events: AsyncIterator[Any]) -> list[Any]:
    """All that comes until nothing more does."""
    came: list[Any] = []
    with suppress(httpx.ReadTimeout):
        async for event in events:
            came.append(event)
    return came
