"""Stories of healthy sessions with events that are rare: the server's inlet for native harnesses, and changes of a
session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
from omnigent_client import OmnigentClient

from tests.omnigent_rig import agents, script
from tests.omnigent_rig.driver import TIMEOUT_S, Conversation
from tests.omnigent_rig.troubles import Bench

INTERNAL = {"Origin": "omnigent://internal"}
EXTERNAL: tuple[tuple[str, dict[str, Any]], ...] = (
    ("session_title", {"title": "A flight recorder"}),
    ("session_todos", {"todos": [{"content": "Explain", "status": "completed", "activeForm": "Explaining"}]}),
    ("model_change", {"model": "stand-in-2"}),
    ("permission_mode_change", {"permission_mode": "plan"}),
    ("permission_mode_change", {"permission_mode": "default"}),
    ("reasoning_effort_change", {"reasoning_effort": "high"}),
    ("codex_collaboration_mode_change", {"mode": "plan"}),
    ("codex_approval_mode_change", {"terminal_launch_args": ["--full-auto"]}),
    ("mcp_startup", {"servers": {"files": {"status": "starting"}}}),
    ("mcp_startup", {"servers": {"files": {"status": "ready"}}}),
    ("btw_sidechat", {"question": "What time is it?", "answer": "Late."}),
    ("compaction_status", {"status": "in_progress"}),
    ("compaction_status", {"status": "completed"}),
    ("compaction_status", {"status": "in_progress"}),
    ("compaction_status", {"status": "failed"}),
    ("session_usage", {"context_tokens": 1200, "context_window": 128_000}),
)
NATIVE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("session_status", {"status": "running"}),
    ("output_reasoning_delta", {"delta": "The user greets.", "started": True}),
    ("output_text_delta", {"delta": "Hello ", "message_id": "m1", "index": 0, "final": False}),
    ("output_text_delta", {"delta": "from a terminal.", "message_id": "m1", "index": 1, "final": True}),
    ("assistant_message", {"agent": "helper", "text": "Hello from a terminal."}),
    ("tool_output_delta", {"call_id": "call_t1", "delta": "compiling\n"}),
    ("session_status", {"status": "idle"}),
    ("session_status", {"status": "running"}),
    ("output_text_delta", {"delta": "I was about to", "message_id": "m2", "index": 0, "final": False}),
    ("session_interrupted", {}),
    ("session_status", {"status": "idle"}),
)


async def rare_events(bench: Bench) -> None:
    """A turn, then every rare event that the server's inlet and its routes give, then another turn."""
    async with bench.conversation(agents.WITH_SHELL) as talk, _http() as http:
        await talk.ask(script.GO_ON)
        url = f"{bench.url}/v1/sessions/{talk.session_id}"
        for event in _external(EXTERNAL):
            await _send(http, "POST", f"{url}/events", event)
        for change in ({"title": "Renamed"}, {"reasoning_effort": "low"}, {"archived": True}, {"archived": False}):
            await _send(http, "PATCH", url, change)
        files = f"{url}/resources/environments/default/filesystem"
        await _send(http, "PUT", f"{files}/notes.txt", {"content": "Calm seas.\n", "encoding": "utf-8"})
        await _send(http, "PUT", f"{url}/read-state", {"last_seen": 1_700_000_000, "unread": False})
        await talk.ask(script.COUNT)


async def native_harness(bench: Bench) -> None:
    """Two turns that a native harness reports through the inlet, the second one interrupted."""
    async with bench.conversation(agents.HELPER) as talk, _http() as http:
        for event in _external(NATIVE):
            await _send(http, "POST", f"{bench.url}/v1/sessions/{talk.session_id}/events", event)
            await asyncio.sleep(0.05)
        await talk.stream.wait_for("session.interrupted")
        await talk.stream.wait_for_rest()
        await talk.look()


async def terminal_while_booting(bench: Bench) -> None:
    """A client asks for the terminals of a session before it has a runner, as the web UI does: 503, then an answer."""
    async with OmnigentClient(base_url=bench.url, headers=INTERNAL) as client, _http() as http:
        session = await client.sessions.create(agents.bundle(agents.WITH_SHELL))
        terminals = f"{bench.url}/v1/sessions/{session.id}/resources/terminals"
        await http.get(terminals)
        await client.sessions.bind_runner(session.id, runner_id=bench.stack.runner_id)
        talk = Conversation(client, bench.url, session.id)
        await talk.stream.wait_for("session.heartbeat")
        await http.get(terminals)
        await talk.ask(script.GO_ON)
        await talk.stream.leave()


def _http() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, headers=INTERNAL, timeout=TIMEOUT_S)


def _external(events: tuple[tuple[str, dict[str, Any]], ...]) -> Iterator[dict[str, Any]]:
    for name, data in events:
        yield {"type": f"external_{name}", "data": data}


async def _send(http: httpx.AsyncClient, method: str, url: str, body: dict[str, Any]) -> None:
    answer = await http.request(method, url, json=body)
    if not answer.is_success:
        print(f"{method} {url} {body}: {answer.status_code} {answer.text[:300]}")  # noqa: T201
