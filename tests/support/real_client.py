"""The real Omnigent client, led through one turn in each of the ways that it has, against a replay with faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from omnirecord.replayer.server import Replay
from tests.support.client_words import Turn, ending, told
from tests.support.later import later

omnigent_client = later("omnigent_client", "needs the 'real' dependency group, and Python >= 3.12")

CASSETTES = Path(__file__).parent.parent.parent / "cassettes"
STREAM_READ_S, REQUEST_S, READY_S = 0.5, 0.3, 0.1
"""Instead of the client's own 600, 30 and 1 s, where a test is of a wait."""
MESSAGE = {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": "Go on."}]}}
BUNDLE = b"the replay does not look into it"


def shorten(patch: pytest.MonkeyPatch, patience: int = 1) -> float:
    """Give the client short timeouts, or that many times as long ones; the one for requests is to be given to it."""
    patch.setattr(omnigent_client._sessions, "_SSE_TIMEOUT", httpx.Timeout(30.0, read=patience * STREAM_READ_S))
    patch.setattr(omnigent_client._sessions_chat, "_STREAM_READY_TIMEOUT_S", patience * READY_S)
    return patience * REQUEST_S


def cassette(name: str) -> Path:
    """Return the path of a shipped cassette."""
    return CASSETTES / f"{name}.jsonl"


async def sessions_stream(client: omnigent_client.OmnigentClient, name: str) -> Turn:
    """Say something once the stream is open, accept what is asked, leave when the session is at rest."""
    turn = Turn()
    with keeping(turn):
        session = await client.sessions.create(BUNDLE)
        await listen(client, session.id, turn, name, speaks=True)
    return turn


async def sessions_stream_again(client: omnigent_client.OmnigentClient, name: str) -> Turn:
    """The same, and then the stream once more."""
    turn = Turn(again=Turn())
    with keeping(turn):
        session = await client.sessions.create(BUNDLE)
        with keeping(turn):
            await listen(client, session.id, turn, name, speaks=True)
        assert turn.again is not None
        with keeping(turn.again):
            await listen(client, session.id, turn.again, name, speaks=False)
    return turn


async def listen(
    client: omnigent_client.OmnigentClient, session_id: str, turn: Turn, name: str, *, speaks: bool
) -> None:
    rest = "failed" if name == "failed" else "idle"
    post: asyncio.Task[object] | None = None
    try:
        async with aclosing(client.sessions.stream(session_id)) as events:
            async for event in events:
                if speaks and post is None:
                    post = asyncio.create_task(client.sessions.post_event(session_id, MESSAGE))
                turn.events.append((event.type, event.model_dump_json()))
                if event.type == "response.elicitation_request":
                    await accept(client, session_id, event.elicitation_id, turn)
                turn.rested = event.type == "session.status" and event.status == rest
                if turn.rested:
                    break
    finally:
        if post is not None:
            turn.asides += await raised("post_event", post)


async def accept(client: omnigent_client.OmnigentClient, session_id: str, elicitation_id: str, turn: Turn) -> None:
    """Once, however often it is asked."""
    if sum(type_ == "response.elicitation_request" for type_, _ in turn.events) == 1:
        answer = client.sessions.resolve_elicitation(session_id, elicitation_id, {"action": "accept"})
        turn.asides += await raised("resolve_elicitation", answer)


async def raised(name: str, request: Awaitable[object]) -> list[str]:
    try:
        await request
    except Exception as error:
        return [f"`{name}` {ending(error)}"]
    return []


async def sessions_chat_query(client: omnigent_client.OmnigentClient, _name: str) -> Turn:
    turn = Turn()
    with keeping(turn):
        chat = await client.sessions_chat(
            BUNDLE, hooks=omnigent_client.StreamHooks(on_elicitation_request=lambda _: True)
        )
        turn.text = (await chat.query("Go on.")).text
    return turn


class keeping(suppress):  # noqa: N801  # as those of contextlib
    """Keep in a turn what is raised, and go on behind the block."""

    def __init__(self, turn: Turn) -> None:
        super().__init__(Exception)
        self._turn = turn

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if isinstance(error, Exception):
            self._turn.error = error
        return bool(super().__exit__(kind, error, trace))


CALLERS: dict[str, Callable[[Any, str], Awaitable[Turn]]] = {
    "sessions.stream": sessions_stream,
    "sessions.stream, once more": sessions_stream_again,
    "SessionsChat.query": sessions_chat_query,
}


async def make_turn(
    caller: str, name: str, path: Path, faults: Sequence[str] = (), *, request_s: float = 30.0
) -> tuple[Turn, Replay]:
    """A turn, and the replay that it was made with. `request_s`: the client's timeout."""
    async with (
        Replay(path, timing="instant", faults=faults, match_on=[]) as server,
        omnigent_client.OmnigentClient(server.url, timeout=request_s) as client,
    ):
        return await CALLERS[caller](client, name), server


async def whole_turn(caller: str, name: str, path: Path) -> None:
    """Make the turn without faults that others are told beside, if that was not done yet."""
    if (caller, name) not in WHOLE:
        WHOLE[caller, name], _ = await make_turn(caller.removesuffix(", once more"), name, path)


async def outcome(caller: str, name: str, path: Path, faults: Sequence[str], *, request_s: float = 30.0) -> str:
    """What a caller did, in words; or that not all faults have happened to it."""
    turn, server = await make_turn(caller, name, path, faults, request_s=request_s)
    if server.faults != list(faults):
        return f"it left before the faults: {server.faults}"
    asked = [request.method for request in server.requests if request.target.endswith("/events")]
    unsent = caller == "SessionsChat.query" and not asked
    return told(turn, WHOLE[caller, name]) + ("; the message was never sent" if unsent else "")


WHOLE: dict[tuple[str, str], Turn] = {}
"""By caller and cassette, the turn without faults."""
