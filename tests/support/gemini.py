"""A scripted stand-in for Google Gemini, and its real client `google-genai` in every way of use.

    async with GeminiApi(SCRIPT) as provider:
        provider.url  # http://127.0.0.1:PORT

The script is that of `tests.omnigent_rig.provider`. The forms of the answers are those of the public API reference:
events without a name, no `[DONE]`, the `finishReason` in the last piece, and the usage in each.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

from tests.omnigent_rig.provider import Answer, Failure, InTurn, Item, Provider, Step, ToolCall, _words
from tests.support.later import later

genai = later("google.genai")

KEY = "AIzaSyD-Seventeen_Secrets_Of_Google0000"
MODEL = "gemini-2.5-flash"
STATUSES = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}


@dataclass(frozen=True)
class Blocked:
    """A prompt that the provider blocks. `reason`: its `blockReason`."""

    reason: str = "SAFETY"


SCRIPT: Mapping[str, Step | Blocked] = {
    "Hi": Answer("Hello there, friend of the sea.", reasoning="A greeting.", delay_ms=2),
    "Weather?": ToolCall("weather", {"city": "Rome"}, then=Answer("It is sunny in Rome.", delay_ms=2)),
    "Busy?": InTurn((Failure("Quota exceeded.", 429), Answer("Sorry for the wait."))),
    "Overloaded?": InTurn((Failure("The model is overloaded.", 503), Answer("There is room again."))),
    "Wrong": Failure("Invalid value.", 400),
    "Short": Answer("One two three", ends="incomplete"),
    "Fail": Answer("One two three", ends="failed"),
    "Closed": Answer("One two three", ends="closed"),
    "Wait": Answer("One two three", stalls=True),
    "Cut": Answer("One two three", ends="cut"),
    "Bomb": Blocked(),
}


class GeminiApi(Provider):
    """A provider with the paths of the Gemini API and of Vertex AI. `keys` has the key of each request."""

    def __init__(self, script: Mapping[str, Step | Blocked]) -> None:
        super().__init__(script)  # type: ignore[arg-type]  # `step_for` passes a `Blocked` on
        self.keys: list[str] = []

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.url = self.url.removesuffix("/v1")
        return self

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/{version}/{resource:.*}", self._answer_to)

    async def _answer_to(self, request: web.Request) -> web.StreamResponse:
        body: Item = await request.json()
        self.requests.append(body)
        self.keys.append(request.headers.get("x-goog-api-key") or request.query.get("key", ""))
        model, _, verb = request.path.rpartition("/")[2].rpartition(":")
        if verb == "countTokens":
            return web.json_response({"totalTokens": 7, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}]})
        if verb == "batchEmbedContents":
            return web.json_response({"embeddings": [{"values": [0.25, 0.5]} for _ in body["requests"]]})
        step: Any = self.step_for(_items(body))
        if isinstance(step, Failure):
            return _refused(step)
        turn = _Turn(len(self.requests), model, self.stalled)
        if verb == "generateContent":
            return web.json_response(turn.whole(step))
        as_events = request.query.get("alt") == "sse"
        return await _send(request, turn.pieces(step), as_events=as_events)


class _CutError(Exception):
    """The connection breaks here."""


@dataclass
class _Turn:
    """One answer."""

    number: int
    model: str
    stalled: asyncio.Event

    async def pieces(self, step: Answer | ToolCall | Blocked) -> AsyncIterator[Item]:
        if isinstance(step, Blocked):
            yield self._blocked(step)
            return
        if isinstance(step, ToolCall):
            yield self._piece([self._call(step)], "STOP")
            return
        for word in _words(step.reasoning) if step.reasoning else ():
            yield self._piece([{"text": word, "thought": True}])
        for word in _words(step.text):
            await asyncio.sleep(step.delay_ms / 1000)
            yield self._piece([{"text": word}])
        if step.stalls:
            self.stalled.set()
            await asyncio.Event().wait()
        if step.ends == "cut":
            raise _CutError
        if step.ends == "closed":
            return
        if step.ends == "failed":
            yield {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
            return
        yield self._piece([{"text": ""}], "MAX_TOKENS" if step.ends == "incomplete" else "STOP")

    def whole(self, step: Answer | ToolCall | Blocked) -> Item:
        if isinstance(step, Blocked):
            return self._blocked(step)
        if isinstance(step, ToolCall):
            return self._piece([self._call(step)], "STOP")
        thought = [{"text": step.reasoning, "thought": True}] if step.reasoning else []
        return self._piece([*thought, {"text": step.text}], "MAX_TOKENS" if step.ends == "incomplete" else "STOP")

    def _call(self, step: ToolCall) -> Item:
        return {"functionCall": {"name": step.name, "args": step.arguments}, "thoughtSignature": "c2lnbmF0dXJl"}

    def _piece(self, parts: list[Item], reason: str | None = None) -> Item:
        candidate: Item = {"content": {"parts": parts, "role": "model"}, "index": 0}
        return self._base({"candidates": [candidate | ({"finishReason": reason} if reason else {})]})

    def _blocked(self, step: Blocked) -> Item:
        return self._base({"promptFeedback": {"blockReason": step.reason}})

    def _base(self, own: Item) -> Item:
        usage: Item = {"promptTokenCount": 40, "totalTokenCount": 40}
        if "candidates" in own:
            usage = {
                "promptTokenCount": 40, "candidatesTokenCount": 9, "totalTokenCount": 54,
                "cachedContentTokenCount": 32, "thoughtsTokenCount": 5,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 40}],
            }  # fmt: skip
        return own | {"usageMetadata": usage, "modelVersion": self.model, "responseId": f"resp-{self.number:04}"}


def _refused(step: Failure) -> web.Response:
    error = {"code": step.status, "message": step.message, "status": STATUSES[step.status]}
    return web.json_response({"error": error}, status=step.status)


async def _send(request: web.Request, pieces: AsyncIterator[Item], *, as_events: bool) -> web.StreamResponse:
    """Send the pieces as events; otherwise as the elements of a JSON array, each when it is there."""
    kind = "text/event-stream" if as_events else "application/json; charset=UTF-8"
    response = web.StreamResponse(headers={"Content-Type": kind})
    await response.prepare(request)
    try:
        before = b"["
        async for piece in pieces:
            data = json.dumps(piece, indent=None if as_events else 2).encode()
            await response.write(b"data: " + data + b"\r\n\r\n" if as_events else before + data)
            before = b"\n,\r\n"
        if not as_events:
            await response.write(b"\n]\n")
    except ConnectionError:
        pass  # the client left
    except _CutError:
        await asyncio.sleep(0.05)  # the bytes before have to arrive
        if request.transport is not None:
            request.transport.abort()
    return response


def _items(body: Item) -> list[Item]:
    """Return the contents of a request as the items of Responses."""
    items: list[Item] = []
    for content in body["contents"]:
        parts = content["parts"]
        outputs = [one for one in parts if "functionResponse" in one]
        text = "".join(one.get("text", "") for one in parts)
        items += [{"type": "function_call_output"}] * len(outputs) or [{"role": content["role"], "content": text}]
    return items


TOOL: Any = {
    "function_declarations": [
        {
            "name": "weather",
            "description": "The weather of a city.",
            "parameters_json_schema": {
                "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
            },
        }
    ]
}  # fmt: skip
Use = Callable[[str], Awaitable[object]]


def client(url: str, **options: Any) -> Any:
    """Return a client. `options`: its HTTP options."""
    return genai.Client(api_key=KEY, http_options={"base_url": url, **options})


def retrying(url: str) -> Any:
    return client(url, retry_options={"attempts": 3, "initial_delay": 0.01, "max_delay": 0.02})


async def stream(url: str, text: str = "Hi") -> list[str]:
    """Return the text and the reason of the end."""
    said, reason, one = "", "", client(url)
    async for piece in await one.aio.models.generate_content_stream(model=MODEL, contents=text):
        said += piece.text or ""
        reason = str(piece.candidates[0].finish_reason) if piece.candidates else ""
    return [said, reason]


async def whole(url: str, text: str = "Hi") -> str:
    return str((await client(url).aio.models.generate_content(model=MODEL, contents=text)).text)


async def tool(url: str) -> list[object]:
    """A streamed call, and the answer to its output."""
    one, types = client(url), genai.types
    models = one.aio.models
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text="Weather?")])]
    config = {"tools": [TOOL], "system_instruction": "Be brief.", "temperature": 0.5}
    pieces = [
        piece async for piece in await models.generate_content_stream(model=MODEL, contents=contents, config=config)
    ]
    call = pieces[0].function_calls[0]
    contents.append(pieces[0].candidates[0].content)
    output = types.Part.from_function_response(name=call.name, response={"result": "sunny"})
    contents.append(types.Content(role="user", parts=[output]))
    second = await models.generate_content(model=MODEL, contents=contents, config=config)
    return [call.name, call.args, second.text]


async def retried(url: str) -> list[str]:
    """A 429 and a 503, each retried by the client."""
    one = retrying(url)
    models = one.aio.models
    answers = [await models.generate_content(model=MODEL, contents=text) for text in ("Busy?", "Overloaded?")]
    return [answer.text for answer in answers]


async def blocked(url: str) -> list[object]:
    answer = await client(url).aio.models.generate_content(model=MODEL, contents="Bomb")
    return [answer.text, str(answer.prompt_feedback.block_reason)]


async def counted(url: str) -> int:
    return int((await client(url).aio.models.count_tokens(model=MODEL, contents="Hi")).total_tokens)


async def embedded(url: str) -> list[float]:
    found = await client(url).aio.models.embed_content(model="gemini-embedding-001", contents="Hi")
    return list(found.embeddings[0].values)


async def synchronous(url: str) -> list[str]:
    """The client without async, in a thread."""

    def ask() -> list[str]:
        one = client(url)  # it closes when nothing refers to it
        models = one.models
        pieces = models.generate_content_stream(model=MODEL, contents="Hi")
        return ["".join(piece.text or "" for piece in pieces), models.generate_content(model=MODEL, contents="Hi").text]

    return await asyncio.to_thread(ask)


USES: Mapping[str, Use] = {
    use.__name__: use for use in (stream, whole, tool, retried, blocked, counted, embedded, synchronous)
}


async def use_all(url: str) -> dict[str, object]:
    """Return what every use got."""
    return {name: await use(url) for name, use in USES.items()}
