"""Events of OpenAI Chat Completions, and the contract `openai-chat`.

The type of a chunk is its `object`; an `error` in the stream is of type `error`. A stream ends with `[DONE]`, or with
that error. The truth is the SDK: `tests/providers/test_sdk_models.py` compares each model with its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import takewhile
from typing import Annotated, Any, Literal

from ..contract import Api
from ..contract.base import Event, Shape
from ..contract.judge import Contract, of_models
from ..text import joined, quoted, text_in, tokens
from ..wire.strict_json import as_dict, as_int, as_list, as_text, text_of
from .answers import Answer, CallEnding
from .api import Asked, Data, ModelApi, Summary, TextKind
from .openai_errors import error_body

NAME = "openai-chat"
CHUNK = "chat.completion.chunk"
ERROR = "error"


class FunctionDelta(Shape):
    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(Shape):
    """A piece of a tool call. Pieces with the same `index` belong together; the first one has the `id`."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta | None = None


class Delta(Shape):
    role: Literal["developer", "system", "user", "assistant", "tool"] | None = None
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    function_call: FunctionDelta | None = None

    # APIs send these, and no model of the SDK names them.
    annotations: Any = None
    audio: Any = None
    reasoning: Any = None
    reasoning_content: Any = None


class Choice(Shape):
    index: int
    delta: Delta
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"] | None = None
    logprobs: Any = None

    # Azure sends these.
    content_filter_offsets: Any = None
    content_filter_results: Any = None


class CompletionTokensDetails(Shape):
    accepted_prediction_tokens: int | None = None
    audio_tokens: int | None = None
    reasoning_tokens: int | None = None
    rejected_prediction_tokens: int | None = None
    text_tokens: int | None = None


class PromptTokensDetails(Shape):
    audio_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    image_tokens: int | None = None
    text_tokens: int | None = None


class Usage(Shape):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class ChatCompletionChunk(Event):
    """A piece of a completion. The last one may have the usage and no choice."""

    type: str | None = CHUNK
    """No field of the API."""
    id: str
    object: Literal["chat.completion.chunk", ""]
    created: int
    """Seconds since 1970."""
    model: str
    choices: list[Choice]
    usage: Usage | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    system_fingerprint: str | None = None
    moderation: Any = None
    obfuscation: Any = None
    """Random characters that hide the length of a text. No model of the SDK names it."""
    prompt_filter_results: Any = None
    """Of Azure."""
    error: Annotated[Any, "its value decides the type, so it is literal in a shape"] = None


class ErrorEvent(Event):
    type: str | None = ERROR
    """No field of the API."""
    error: Annotated[Any, "likewise"]


EVENTS: Mapping[str, type[Event]] = {CHUNK: ChatCompletionChunk, ERROR: ErrorEvent}


def type_of(data: Mapping[str, Any], _event: str | None = None) -> str | None:
    """Return the type of a payload: `error` if it has one, else its `object`. Azure's first chunk has an empty one."""
    if data.get("error"):
        return ERROR
    found = data.get("object")
    return found or CHUNK if isinstance(found, str) else None


@cache
def contract() -> Contract:
    return of_models(NAME, EVENTS, Api(NAME, type_of, "object", event_line="ignored", ends=(ERROR,)))


class ChatAnswer(Answer):
    """An answer of Chat Completions."""

    _INCOMPLETE = frozenset({"length", "content_filter"})

    def event(self, data: dict[str, Any]) -> None:
        self._read(data, "delta")

    def whole(self, data: dict[str, Any]) -> None:
        self._read(data, "message")

    def _read(self, data: dict[str, Any], key: str) -> None:
        self.head(data, "prompt_tokens", "completion_tokens")
        if data.get("error"):
            self.fail(data["error"])
        for choice in map(as_dict, as_list(data.get("choices"))):
            index = as_int(choice.get("index")) or 0
            said = as_dict(choice.get(key))
            self._say(said, index, whole=key == "message")
            reason = as_text(choice.get("finish_reason"))
            if reason and index == 0:
                self._finish("incomplete" if reason in self._INCOMPLETE else "completed", reason)

    def done(self) -> None:
        self._finish("completed", None)

    def _finish(self, ending: CallEnding, reason: str | None) -> None:
        for tool in self.tools.values():
            tool.at_ns = self.at_ns if tool.at_ns is None else tool.at_ns
        self.end(ending, reason)

    def _say(self, said: dict[str, Any], choice: int, *, whole: bool) -> None:
        self.think(as_text(said.get("reasoning_content")) or as_text(said.get("reasoning")), whole=whole)
        content = said.get("content")
        self.say(content if isinstance(content, str) else text_of(content), (choice, 0), whole=whole)
        self.say(as_text(said.get("refusal")), (choice, 1), whole=whole)
        for number, tool in enumerate(map(as_dict, as_list(said.get("tool_calls")))):
            index = as_int(tool.get("index"))
            key = (choice, number if index is None else index)
            function = as_dict(tool.get("function"))
            custom = as_dict(tool.get("custom"))
            call_id = as_text(tool.get("id"))
            name = as_text(function.get("name")) or as_text(custom.get("name"))
            self.tool(key, call_id, name)
            self.argue(key, as_text(function.get("arguments")) or as_text(custom.get("input")))
        if whole:
            self.first_ns = None


def _chunk(data: Data) -> str:
    usage = as_dict(data.get("usage"))
    choices = [as_dict(one) for one in as_list(data.get("choices"))]
    used = tokens(usage.get("prompt_tokens"), usage.get("completion_tokens"))
    return joined([*map(_choice, choices[:8]), used], " · ")


def _choice(choice: Data) -> str:
    delta = as_dict(choice.get("delta"))
    calls = [as_dict(as_dict(one).get("function")) for one in as_list(delta.get("tool_calls"))]
    called = [joined([text_in(call.get("name")), text_in(call.get("arguments"))]) for call in calls]
    role = text_in(delta.get("role"))
    text = "" if role and not delta.get("content") else quoted(delta.get("content"))
    return joined([role, text, quoted(delta.get("refusal")), *called, text_in(choice.get("finish_reason"))])


_SUMMARIES: Mapping[str, Summary] = {CHUNK: _chunk}


class Chat(ModelApi):
    name = NAME
    path = "/v1/chat/completions"
    parameters = frozenset(
        {
            "audio",
            "frequency_penalty",
            "function_call",
            "functions",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
            "max_tokens",
            "messages",
            "metadata",
            "modalities",
            "model",
            "moderation",
            "n",
            "parallel_tool_calls",
            "prediction",
            "presence_penalty",
            "prompt_cache_key",
            "prompt_cache_retention",
            "reasoning_effort",
            "response_format",
            "safety_identifier",
            "seed",
            "service_tier",
            "stop",
            "store",
            "stream",
            "stream_options",
            "temperature",
            "tool_choice",
            "tools",
            "top_k",
            "top_logprobs",
            "top_p",
            "user",
            "verbosity",
            "web_search_options",
        }
    )
    answer = ChatAnswer
    summaries = _SUMMARIES
    own_types = frozenset({CHUNK})

    def contract(self) -> Contract:
        return contract()

    def likeness(self, data: Data, target: str) -> int:
        if target.partition("?")[0].endswith(("/embeddings", "/moderations")):  # their bodies look like one
            return 0
        return 1 if data.get("messages") and self.asks(data) else 0

    def asked(self, data: Data, target: str) -> Asked:
        drafts = list(self.drafts(data))
        opening = [draft.text for draft in takewhile(lambda draft: draft.kind == "system", drafts)]
        return replace(super().asked(data, target), instructions=opening, drafts=drafts[len(opening) :])

    def deltas(self, data: Data) -> Iterator[tuple[TextKind, str]]:
        for choice in as_list(data.get("choices"))[:1]:
            delta = as_dict(as_dict(choice).get("delta"))
            if text := as_text(delta.get("content")):
                yield "text", text
            if thought := as_text(delta.get("reasoning_content")):
                yield "reasoning", thought

    def has_more(self, data: Data) -> bool:
        return any(as_dict(one).get("finish_reason") for one in as_list(data.get("choices")))

    def error(self, status: int, message: str, code: str | None = None) -> Data:
        return error_body(status, message, code)


API = Chat()
