"""A scripted stand-in for model providers that speaks OpenAI Responses, Chat Completions and Anthropic Messages.

    async with ModelApis({"Hello": Answer("Hi there.")}) as provider:
        provider.url  # http://127.0.0.1:PORT/v1

The script is that of `tests.omnigent_rig.provider`, whose Responses it uses. A `Raw` step sends given bytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.omnigent_rig.provider import Answer, Failure, Item, Provider, Step, ToolCall, _words

DONE = b"data: [DONE]\n\n"
FIXED = {"created": 1_700_000_000, "system_fingerprint": "fp_1"}


@dataclass(frozen=True)
class Raw:
    """An answer byte by byte. `cut`: the connection breaks behind it."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})
    cut: bool = False


class ModelApis(Provider):
    """A provider with three APIs. `requests` has the bodies of all requests, `headers` those of the answered ones."""

    def __init__(self, script: Mapping[str, Step | Raw], default: Step | None = None) -> None:
        super().__init__(script, default)  # type: ignore[arg-type]  # `step_for` passes a `Raw` on
        self.headers: list[Mapping[str, str]] = []

    def add_routes(self, app: web.Application) -> None:
        super().add_routes(app)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_post("/v1/messages", self._message)

    def refusal(self, step: Failure) -> web.Response:
        return _refused({"error": _openai_error(step)}, step)

    async def answer(self, request: web.Request, body: Item, step: Answer | ToolCall | Raw) -> web.StreamResponse:
        self.headers.append(request.headers.copy())
        return await (_raw(request, step) if isinstance(step, Raw) else super().answer(request, body, step))

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body, step = await self._step(request, _items_of_chat)
        if isinstance(step, Failure):
            return self.refusal(step)
        if isinstance(step, Raw):
            return await _raw(request, step)
        turn = _Completion(len(self.requests), str(body["model"]), self.stalled)
        if not body.get("stream"):
            return web.json_response(turn.whole(step))
        with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return await _send(request, turn.frames(step, with_usage))

    async def _message(self, request: web.Request) -> web.StreamResponse:
        body, step = await self._step(request, _items_of_messages)
        if isinstance(step, Failure):
            return _refused({"type": "error", "error": {"type": step.code, "message": step.message}}, step)
        if isinstance(step, Raw):
            return await _raw(request, step)
        turn = _Message(len(self.requests), str(body["model"]), self.stalled)
        if not body.get("stream"):
            return web.json_response(turn.whole(step))
        return await _send(request, turn.frames(step))

    async def _step(self, request: web.Request, items_of: Any) -> tuple[Item, Answer | ToolCall | Failure | Raw]:
        body: Item = await request.json()
        self.requests.append(body)
        self.headers.append(request.headers.copy())
        return body, self.step_for(items_of(body))


class _CutError(Exception):
    """The connection breaks here."""


@dataclass
class _Completion:
    """One answer of Chat Completions."""

    number: int
    model: str
    stalled: asyncio.Event

    async def frames(self, step: Answer | ToolCall, with_usage: bool) -> AsyncIterator[bytes]:
        yield self._chunk({"role": "assistant", "content": "" if isinstance(step, Answer) else None})
        if isinstance(step, ToolCall):
            call = {"index": 0, "id": f"call_{self.number:04}", "type": "function"}
            yield self._chunk({"tool_calls": [call | {"function": {"name": step.name, "arguments": ""}}]})
            for piece in _halves(_arguments(step)):
                yield self._chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
            reason = "tool_calls"
        else:
            for word in _words(step.text):
                await asyncio.sleep(step.delay_ms / 1000)
                yield self._chunk({"content": word})
            if step.stalls:
                self.stalled.set()
                await asyncio.Event().wait()
            if step.ends == "cut":
                raise _CutError
            if step.ends == "failed":
                error = {"message": "The server had an error.", "type": "server_error", "code": None, "param": None}
                yield _data({"error": error})
                return
            reason = "length" if step.ends == "incomplete" else "stop"
        yield self._chunk({}, reason)
        if with_usage:
            yield _data(self._base() | {"choices": [], "usage": self._usage()})
        yield DONE

    def whole(self, step: Answer | ToolCall) -> Item:
        if isinstance(step, ToolCall):
            function = {"name": step.name, "arguments": _arguments(step)}
            calls = [{"id": f"call_{self.number:04}", "type": "function", "function": function}]
            message, reason = {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
        else:
            message, reason = {"role": "assistant", "content": step.text, "refusal": None}, "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        return self._base() | {"object": "chat.completion", "choices": [choice], "usage": self._usage()}

    def _base(self) -> Item:
        own = {"id": f"chatcmpl-{self.number:04}", "object": "chat.completion.chunk", "model": self.model}
        return own | FIXED | {"service_tier": "default"}

    def _chunk(self, delta: Item, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _data(self._base() | {"choices": [choice], "usage": None})

    def _usage(self) -> Item:
        details = {"cached_tokens": 32, "audio_tokens": 0}
        return {
            "prompt_tokens": 40, "completion_tokens": 9, "total_tokens": 49, "prompt_tokens_details": details,
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }  # fmt: skip


@dataclass
class _Message:
    """One answer of Anthropic Messages."""

    number: int
    model: str
    stalled: asyncio.Event
    index: int = 0

    async def frames(self, step: Answer | ToolCall) -> AsyncIterator[bytes]:
        yield _named("message_start", message=self._message([], None))
        reason = "tool_use" if isinstance(step, ToolCall) else "end_turn"
        if isinstance(step, Answer) and step.reasoning:
            async for frame in self._block(
                {"type": "thinking", "thinking": "", "signature": ""},
                [{"type": "thinking_delta", "thinking": word} for word in _words(step.reasoning)]
                + [{"type": "signature_delta", "signature": "c2lnbmF0dXJl"}],
                step.delay_ms,
            ):
                yield frame
        yield _named("ping")
        if isinstance(step, ToolCall):
            pieces = [{"type": "input_json_delta", "partial_json": one} for one in ("", *_halves(_arguments(step)))]
            blocks = self._block(self._tool_use(step) | {"input": {}}, pieces, 0)
        else:
            words = [{"type": "text_delta", "text": word} for word in _words(step.text)]
            blocks = self._block({"type": "text", "text": ""}, words, step.delay_ms, step)
        async for frame in blocks:
            yield frame
        if isinstance(step, Answer) and step.ends == "failed":
            yield _named("error", error={"type": "overloaded_error", "message": "Overloaded"})
            return
        if isinstance(step, Answer) and step.ends == "incomplete":
            reason = "max_tokens"
        yield _named("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=self._usage(12))
        yield _named("message_stop")

    async def _block(
        self, start: Item, deltas: list[Item], delay_ms: float, step: Answer | None = None
    ) -> AsyncIterator[bytes]:
        yield _named("content_block_start", index=self.index, content_block=start)
        for delta in deltas:
            await asyncio.sleep(delay_ms / 1000)
            yield _named("content_block_delta", index=self.index, delta=delta)
        if step is not None and step.stalls:
            self.stalled.set()
            await asyncio.Event().wait()
        if step is not None and step.ends == "cut":
            raise _CutError
        if step is None or step.ends != "failed":
            yield _named("content_block_stop", index=self.index)
        self.index += 1

    def whole(self, step: Answer | ToolCall) -> Item:
        if isinstance(step, ToolCall):
            return self._message([self._tool_use(step)], "tool_use")
        return self._message([{"type": "text", "text": step.text}], "end_turn")

    def _tool_use(self, step: ToolCall) -> Item:
        return {"type": "tool_use", "id": f"toolu_{self.number:04}", "name": step.name, "input": _input(step)}

    def _message(self, content: list[Item], reason: str | None) -> Item:
        own = {"id": f"msg_{self.number:04}", "type": "message", "role": "assistant", "model": self.model}
        return own | {"content": content, "stop_reason": reason, "stop_sequence": None, "usage": self._usage(1)}

    def _usage(self, output: int) -> Item:
        return {
            "input_tokens": 40, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 32,
            "output_tokens": output,
        }  # fmt: skip


def _data(payload: Item) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def _named(type_: str, **fields: Any) -> bytes:
    return b"event: " + type_.encode() + b"\n" + _data({"type": type_} | fields)


def _arguments(step: ToolCall) -> str:
    return step.arguments if isinstance(step.arguments, str) else json.dumps(dict(step.arguments))


def _input(step: ToolCall) -> Item:
    found = json.loads(_arguments(step))
    assert isinstance(found, dict)
    return found


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def _openai_error(step: Failure) -> Item:
    return {"message": step.message, "type": step.code, "code": step.code, "param": None}


def _refused(body: Item, step: Failure) -> web.Response:
    """Return a refusal. The clients of both vendors retry it after a millisecond, or as the step says."""
    after = {"retry-after-ms": "1"} if step.retry_after is None else {"Retry-After": str(step.retry_after)}
    return web.json_response(body, status=step.status, headers={**after, "x-request-id": "req_0001"})


async def _raw(request: web.Request, step: Raw) -> web.StreamResponse:
    response = web.StreamResponse(status=step.status, headers=step.headers)
    await response.prepare(request)
    await response.write(step.body)
    if step.cut and request.transport is not None:
        await asyncio.sleep(0.05)  # the bytes before have to arrive
        request.transport.abort()
    return response


async def _send(request: web.Request, frames: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    try:
        async for frame in frames:
            await response.write(frame)
    except ConnectionError:
        pass  # the client left
    except _CutError:
        if request.transport is not None:
            request.transport.abort()
    return response


def _items_of_chat(body: Item) -> list[Item]:
    """Return the messages of a request as those of Responses."""
    return [{"type": "function_call_output"} if one.get("role") == "tool" else one for one in body["messages"]]


def _items_of_messages(body: Item) -> list[Item]:
    items: list[Item] = []
    for message in body["messages"]:
        content = message["content"]
        outputs = [one for one in content if one.get("type") == "tool_result"] if isinstance(content, list) else []
        items += [{"type": "function_call_output"}] * len(outputs) or [message]
    return items
