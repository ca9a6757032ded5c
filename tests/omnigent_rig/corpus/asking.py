"""Stories in which an approval or a request goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
from omnigent_client import OmnigentClient, OmnigentError

from tests.omnigent_rig import agents, script
from tests.omnigent_rig.driver import TIMEOUT_S, Conversation, Event, Listener, user_message
from tests.omnigent_rig.troubles import Bench, is_heartbeat

INTERNAL = {"Origin": "omnigent://internal"}
POST_TIMEOUT_S = 5.0
"""After this the client closes its own POST, as the Python client does after 30 s."""
EXPIRY_S = 60.0


@contextlib.asynccontextmanager
async def asked(bench: Bench, post_timeout: float = POST_TIMEOUT_S) -> AsyncIterator[tuple[Conversation, str]]:
    """Inside, the message is posted by a request with this timeout, and the agent has asked: the question's id."""
    async with bench.conversation(agents.ASKS_FIRST) as talk:
        post = asyncio.create_task(_post(talk, script.SUMMARISE, post_timeout))
        try:
            request = await talk.stream.wait_for("response.elicitation_request")
            yield talk, request["elicitation_id"]
            await post
        finally:
            post.cancel()


async def approval_post_closed(bench: Bench) -> None:
    """No answer to a question; the client closes its own POST after 5 s, and the server denies at that moment."""
    async with asked(bench) as (talk, _):
        await talk.stream.wait_for_end()
        await talk.look()


async def approval_expired(bench: Bench) -> None:
    """The same; the client listens on until the question is resolved without an action, 30 s after the denial."""
    async with asked(bench) as (talk, _):
        await talk.stream.wait_for_end()
        await talk.stream.wait_for("response.elicitation_resolved", timeout=EXPIRY_S)
        await talk.look()


async def approval_too_late(bench: Bench) -> None:
    """The same; the user accepts after the denial."""
    async with asked(bench) as (talk, question):
        await talk.stream.wait_for_end()
        await _resolve(bench, talk.session_id, question, "accept")
        await talk.stream.wait_for(is_heartbeat)
        await talk.look()


async def approval_after_restart(bench: Bench) -> None:
    """The server is killed while it waits for an answer, and starts again; the user accepts, and nothing follows."""
    async with asked(bench, TIMEOUT_S) as (talk, question):
        await bench.stack.stop_server(signal.SIGKILL)
        await talk.stream.wait_for_close()
        await bench.stack.start_server()
        await talk.stream.leave()
        talk.stream = Listener(talk.client, talk.session_id)
        await talk.stream.wait_for("session.heartbeat")
        await _resolve(bench, talk.session_id, question, "accept")
        await talk.stream.wait_for(is_heartbeat, count=2)
        await talk.look()


async def approval_declined(bench: Bench) -> None:
    """The user declines."""
    async with asked(bench, TIMEOUT_S) as (talk, question):
        await _resolve(bench, talk.session_id, question, "decline")
        await talk.stream.wait_for(is_heartbeat)
        await talk.look()


async def approval_answered_twice(bench: Bench) -> None:
    """Two clients answer: one accepts, the other declines half a second later."""
    async with asked(bench, TIMEOUT_S) as (talk, question):
        await _resolve(bench, talk.session_id, question, "accept")
        await _resolve(bench, talk.session_id, question, "decline")
        await talk.stream.wait_for_turn()
        await talk.look()


async def approval_pending(bench: Bench) -> None:
    """A second client opens the session while a question waits, and no one answers it until both leave."""
    async with asked(bench, 30.0) as (talk, _):
        async with OmnigentClient(bench.url) as guest:
            other = Listener(guest, talk.session_id)
            await other.wait_for(is_heartbeat)
            await guest.sessions.get(talk.session_id)
            await other.wait_for(is_heartbeat)
            await other.leave()
        await talk.stream.leave()


async def patch_refused(bench: Bench) -> None:
    """A client makes a session and binds it to a runner that does not exist: 400, and it gives up."""
    async with OmnigentClient(base_url=bench.url, headers=INTERNAL) as client:
        session = await client.sessions.create(agents.bundle(agents.HELPER))
        with contextlib.suppress(OmnigentError):
            await client.sessions.bind_runner(session.id, runner_id="runner_token_0000000000000000")
        await client.sessions.get(session.id)


async def message_unbound(bench: Bench) -> None:
    """A message to a session that no runner is bound to: the server refuses it."""
    async with OmnigentClient(base_url=bench.url, headers=INTERNAL) as client:
        session = await client.sessions.create(agents.bundle(agents.HELPER))
        stream = Listener(client, session.id)
        await stream.wait_for("session.heartbeat")
        with contextlib.suppress(OmnigentError):
            await client.sessions.post_event(session.id, user_message(script.EXPLAIN))
        await stream.wait_for(is_heartbeat)
        await client.sessions.get(session.id)
        await stream.leave()


async def message_malformed(bench: Bench) -> None:
    """A message whose body is not JSON, and one without its content: the server refuses both."""
    async with bench.conversation(agents.HELPER) as talk:
        url = f"{bench.url}/v1/sessions/{talk.session_id}/events"
        async with httpx.AsyncClient(trust_env=False, headers=INTERNAL | {"Content-Type": "application/json"}) as http:
            await http.post(url, content=b'{"type": "message", "data": {"role": "user", ')
            await http.post(url, json={"type": "message", "data": "Hello"})
        await talk.look()


async def session_unknown(bench: Bench) -> None:
    """A client asks for a session that the server does not have, as an old browser tab does: 404 each time."""
    async with httpx.AsyncClient(trust_env=False, base_url=bench.url) as http:
        for path in ("", "/items?limit=100&order=desc", "/stream", "/agent"):
            await http.get(f"/v1/sessions/0123456789abcdef0123456789abcdef{path}")


async def gzip_refused(bench: Bench) -> None:
    """A client compresses its message, and the server does not decode it: 400."""
    async with bench.conversation(agents.HELPER) as talk:
        await _say_gzipped(talk, script.EXPLAIN)
        await talk.stream.wait_for(is_heartbeat)
        await talk.look()


async def gzip_turn_failed(bench: Bench) -> None:
    """A client compresses its message, a proxy in front of the server decodes it, and the turn fails."""
    async with bench.conversation(agents.HELPER) as talk:
        await _say_gzipped(talk, script.REFUSED)
        await talk.stream.wait_for_turn()
        await talk.look()


async def gzip_turns(bench: Bench) -> None:
    """The same with two turns that end well."""
    async with bench.conversation(agents.WITH_SHELL) as talk:
        for text in (script.GO_ON, script.COUNT):
            await _say_gzipped(talk, text)
            await talk.stream.wait_for_turn()
            await talk.look()


async def _say_gzipped(talk: Conversation, text: str) -> None:
    body = gzip.compress(json.dumps(user_message(text)).encode())
    headers = INTERNAL | {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with httpx.AsyncClient(trust_env=False, headers=headers, timeout=TIMEOUT_S) as http:
        await http.post(f"{talk.base_url}/v1/sessions/{talk.session_id}/events", content=body)


async def _post(talk: Conversation, text: str, timeout: float) -> httpx.Response | None:
    async with httpx.AsyncClient(trust_env=False, timeout=timeout, headers=INTERNAL) as http:
        with contextlib.suppress(httpx.HTTPError):
            url = f"{talk.base_url}/v1/sessions/{talk.session_id}/events"
            return await http.post(url, json=user_message(text))
    return None


async def _resolve(bench: Bench, session_id: str, question: str, action: str) -> Event:
    url = f"{bench.url}/v1/sessions/{session_id}/elicitations/{question}/resolve"
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S, headers=INTERNAL) as http:
        answer: Any = (await http.post(url, json={"action": action})).json()
    return dict(answer)
