"""An AG-UI agent with a scripted answer, and a client: the events and their encoding are those of `ag-ui-protocol`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from ag_ui.core import (
    BaseEvent,
    CustomEvent,
    RunAgentInput,
    RunErrorEvent,
    RunFinishedEvent,
    RunStartedEvent,
    StateDeltaEvent,
    StateSnapshotEvent,
    StepFinishedEvent,
    StepStartedEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
    UserMessage,
)
from ag_ui.encoder import EventEncoder
from httpx_sse import aconnect_sse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from .served import served

FAILS = "fail"
"""The message that the agent answers with an error."""


async def _answer(asked: RunAgentInput) -> AsyncIterator[BaseEvent]:
    thread, run = asked.thread_id, asked.run_id
    text = str(asked.messages[-1].content)
    yield RunStartedEvent(thread_id=thread, run_id=run)
    yield StateSnapshotEvent(snapshot={"cities": []})
    yield StepStartedEvent(step_name="look up")
    yield ToolCallStartEvent(tool_call_id="call-1", tool_call_name="forecast")
    for part in ('{"city": ', '"Oslo"}'):
        yield ToolCallArgsEvent(tool_call_id="call-1", delta=part)
    yield ToolCallEndEvent(tool_call_id="call-1")
    await asyncio.sleep(0.2)
    if text == FAILS:
        yield RunErrorEvent(message="the station does not answer", code="station")
        return
    yield ToolCallResultEvent(message_id="message-1", tool_call_id="call-1", content="sunny", role="tool")
    yield StateDeltaEvent.model_validate({"delta": [{"op": "add", "path": "/cities/-", "value": "Oslo"}]})
    yield StepFinishedEvent(step_name="look up")
    yield TextMessageStartEvent(message_id="message-2", role="assistant")
    for word in ("Oslo ", "is ", "sunny."):
        await asyncio.sleep(0.05)
        yield TextMessageContentEvent(message_id="message-2", delta=word)
    yield TextMessageEndEvent(message_id="message-2")
    yield CustomEvent(name="rating", value={"asked": True})
    yield RunFinishedEvent(thread_id=thread, run_id=run)


async def _run(request: Request) -> StreamingResponse:
    asked, encoder = RunAgentInput.model_validate_json(await request.body()), EventEncoder()
    body = (encoder.encode(event) async for event in _answer(asked))
    return StreamingResponse(body, media_type=encoder.get_content_type())


@asynccontextmanager
async def agent() -> AsyncIterator[str]:
    """Yield the URL of a running agent."""
    async with served(Starlette(routes=[Route("/agent", _run, methods=["POST"])])) as url:
        yield url


async def ask(url: str, text: str, run: str = "run-1") -> list[dict[str, Any]]:
    """Send a message, and return all events."""
    asked = RunAgentInput(
        thread_id="thread-1", run_id=run, state={}, messages=[UserMessage(id="message-0", role="user", content=text)],
        tools=[], context=[], forwarded_props={},
    )  # fmt: skip
    body = asked.model_dump(mode="json", by_alias=True)
    async with httpx.AsyncClient(timeout=30) as http, aconnect_sse(http, "POST", f"{url}/agent", json=body) as source:
        return [event.json() async for event in source.aiter_sse()]
