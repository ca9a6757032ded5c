"""A scripted stand-in for the model provider: enough of the OpenAI Responses API for a real Omnigent runner.

It answers `POST /v1/responses` with server-sent events and `GET /v1/models` with an empty list. What it
answers is looked up by the text of the newest user message: an exact key of the script first, then the
longest key that the message starts with, then `default`. A `ToolCall` is answered once; when its output comes
back, `then` is next. Nothing here knows of Omnigent, and nothing is random: the same requests get the same bytes.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True)
class Answer:
    """A streamed text, word by word, after an optional reasoning of the same pace. `stalls`: its end never comes.

    `ends`: what follows the text: "completed", "failed", "incomplete" (both without the finished item), or "cut" for a
    connection that breaks."""

    text: str
    reasoning: str = ""
    delay_ms: float = 4
    stalls: bool = False
    ends: str = "completed"


@dataclass(frozen=True)
class ToolCall:
    """A call of one of the agent's tools, and what to say when its output is there.

    `arguments`: a text is sent as it is."""

    name: str
    arguments: Mapping[str, Any] | str
    then: Step = field(default_factory=lambda: Answer("Done."))


@dataclass(frozen=True)
class Failure:
    """A request refused by the provider: the caller retries 429 and 5xx, and not 400. `retry_after`: the field
    `Retry-After`, in seconds."""

    message: str
    status: int = 400
    code: str = "invalid_request_error"
    retry_after: int | None = None


@dataclass(frozen=True)
class InTurn:
    """Another step with each request for the same message, then the last one again and again. After the output of a
    tool, the last one goes on."""

    steps: tuple[Answer | Failure | ToolCall, ...]


class _CutError(Exception):
    """The connection breaks here."""


Step = Answer | ToolCall | Failure | InTurn
Item = dict[str, Any]


class Provider:
    """`async with Provider(script) as provider:` listens on a free loopback port at `provider.url`.

    `stalled` is set once an answer stalls.
    """

    def __init__(self, script: Mapping[str, Step], default: Step | None = None) -> None:
        self.script = script
        self.default = default or Answer("I have no script for that, so I can only say hello.")
        self.url = ""
        self.requests: list[Item] = []
        self.stalled = asyncio.Event()
        self._asked: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        self.add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/responses", self._respond)
        app.router.add_get("/v1/models", _list_models)

    def step_for(self, items: list[Item]) -> Answer | ToolCall | Failure:
        """What comes next in this conversation."""
        text, outputs = _newest_user_message(items)
        step = self.script.get(text) or self._by_prefix(text) or self.default
        for _ in range(outputs):
            step = step.steps[-1] if isinstance(step, InTurn) else step
            step = step.then if isinstance(step, ToolCall) else step
        if isinstance(step, InTurn):
            self._asked[text] += 1
            return step.steps[min(self._asked[text], len(step.steps)) - 1]
        return step

    def _by_prefix(self, text: str) -> Step | None:
        keys = [key for key in self.script if text.startswith(key)]
        return self.script[max(keys, key=len)] if keys else None

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        body: Item = await request.json()
        self.requests.append(body)
        step = self.step_for(_as_items(body.get("input")))
        if isinstance(step, Failure):
            return self.refusal(step)
        return await self.answer(request, body, step)

    def refusal(self, step: Failure) -> web.Response:
        error = {"message": step.message, "type": step.code, "code": step.code, "param": None}
        headers = {} if step.retry_after is None else {"Retry-After": str(step.retry_after)}
        return web.json_response({"error": error}, status=step.status, headers=headers)

    async def answer(self, request: web.Request, body: Item, step: Answer | ToolCall) -> web.StreamResponse:
        turn = _Turn(len(self.requests), str(body.get("model")), self.stalled)
        if not body.get("stream"):
            return web.json_response(turn.whole(step))
        return await _send(request, turn.events(step))


@dataclass
class _Turn:
    """The events of one response, numbered as the real API numbers them."""

    number: int
    model: str
    stalled: asyncio.Event
    output: list[Item] = field(default_factory=list)
    sequence: int = 0

    async def events(self, step: Answer | ToolCall) -> AsyncIterator[Item]:
        yield self._event("response.created", response=self._response("in_progress"))
        yield self._event("response.in_progress", response=self._response("in_progress"))
        parts = self._call(step) if isinstance(step, ToolCall) else self._text(step)
        async for event in parts:
            yield event
        status = step.ends if isinstance(step, Answer) else "completed"
        yield self._event(f"response.{status}", response=self._response(status))

    def whole(self, step: Answer | ToolCall) -> Item:
        item = self._call_item(step) if isinstance(step, ToolCall) else self._message([step.text])
        self.output.append(item)
        return self._response("completed")

    async def _text(self, step: Answer) -> AsyncIterator[Item]:
        if step.reasoning:
            async for event in self._reasoning(step):
                yield event
        at, message = len(self.output), self._message([])
        where: Item = {"output_index": at, "item_id": message["id"], "content_index": 0}
        yield self._event("response.output_item.added", output_index=at, item=message)
        yield self._event("response.content_part.added", part=_text_part(""), **where)
        for word in _words(step.text):
            await asyncio.sleep(step.delay_ms / 1000)
            yield self._event("response.output_text.delta", delta=word, logprobs=[], **where)
        if step.stalls:
            self.stalled.set()
            await asyncio.Event().wait()
        if step.ends == "cut":
            raise _CutError
        if step.ends != "completed":
            return
        yield self._event("response.output_text.done", text=step.text, logprobs=[], **where)
        yield self._event("response.content_part.done", part=_text_part(step.text), **where)
        yield self._item_done(self._message([step.text]))

    async def _reasoning(self, step: Answer) -> AsyncIterator[Item]:
        at, item = len(self.output), {"id": f"rs_{self.number:04}", "type": "reasoning", "summary": []}
        where: Item = {"output_index": at, "item_id": item["id"], "summary_index": 0}
        part = {"type": "summary_text", "text": step.reasoning}
        yield self._event("response.output_item.added", output_index=at, item=item)
        yield self._event("response.reasoning_summary_part.added", part=part | {"text": ""}, **where)
        for word in _words(step.reasoning):
            await asyncio.sleep(step.delay_ms / 1000)
            yield self._event("response.reasoning_summary_text.delta", delta=word, **where)
        yield self._event("response.reasoning_summary_text.done", text=step.reasoning, **where)
        yield self._event("response.reasoning_summary_part.done", part=part, **where)
        yield self._item_done(item | {"summary": [part]})

    async def _call(self, step: ToolCall) -> AsyncIterator[Item]:
        item = self._call_item(step)
        where: Item = {"output_index": len(self.output), "item_id": item["id"]}
        started = item | {"status": "in_progress", "arguments": ""}
        yield self._event("response.output_item.added", output_index=len(self.output), item=started)
        yield self._event("response.function_call_arguments.delta", delta=item["arguments"], **where)
        yield self._event("response.function_call_arguments.done", arguments=item["arguments"], **where)
        yield self._item_done(item)

    def _call_item(self, step: ToolCall) -> Item:
        arguments = step.arguments if isinstance(step.arguments, str) else json.dumps(dict(step.arguments))
        ids = {"id": f"fc_{self.number:04}", "call_id": f"call_{self.number:04}"}
        return ids | {
            "type": "function_call",
            "status": "completed",
            "name": step.name,
            "arguments": arguments,
        }

    def _message(self, texts: list[str]) -> Item:
        status = "completed" if texts else "in_progress"
        content = [_text_part(text) for text in texts]
        message = {"type": "message", "role": "assistant", "status": status, "content": content}
        return {"id": f"msg_{self.number:04}"} | message

    def _item_done(self, item: Item) -> Item:
        self.output.append(item)
        return self._event("response.output_item.done", output_index=len(self.output) - 1, item=item)

    def _event(self, kind: str, **fields: Any) -> Item:
        self.sequence += 1
        return {"type": kind, "sequence_number": self.sequence - 1} | fields

    def _response(self, status: str) -> Item:
        words = sum(len(json.dumps(item).split()) for item in self.output)
        usage = {"input_tokens": 40, "output_tokens": words, "total_tokens": 40 + words}
        details = {
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        fixed = {"object": "response", "created_at": 1_700_000_000, "error": None, "incomplete_details": None}
        fixed |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}}
        if status == "failed":
            fixed["error"] = {"code": "server_error", "message": "The model failed in the middle of its answer."}
        if status == "incomplete":
            fixed["incomplete_details"] = {"reason": "max_output_tokens"}
        return fixed | {
            "id": f"resp_{self.number:04}",
            "model": self.model,
            "status": status,
            "output": list(self.output),
            "usage": usage | details if status == "completed" else None,
        }


async def _send(request: web.Request, events: AsyncIterator[Item]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    try:
        async for event in events:
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    except ConnectionError:
        pass  # the runner left: that is what an interrupt looks like from here
    except _CutError:
        if request.transport is not None:
            request.transport.abort()
    return response


async def _list_models(_: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": []})


def _as_items(value: object) -> list[Item]:
    if isinstance(value, list):
        return [item for item in value if isinstance(item, dict)]
    return [{"role": "user", "content": str(value)}]


def _newest_user_message(items: list[Item]) -> tuple[str, int]:
    """The text of the newest user message, and how many tool outputs came after it."""
    outputs = 0
    for item in reversed(items):
        if item.get("role") == "user":
            return _text_of(item.get("content")), outputs
        outputs += item.get("type") == "function_call_output"
    return "", outputs


def _text_of(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content)


def _text_part(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _words(text: str) -> list[str]:
    """Words with the space before them, as models stream them."""
    return re.findall(r"\s*\S+|\s+$", text)
