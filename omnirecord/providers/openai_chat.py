"""Events of OpenAI Chat Completions, and the contract `openai-chat`.

The type of a chunk is its `object`; an `error` in the stream is of type `error`. A stream ends with `[DONE]`, or with
that error. The truth is the SDK: `tests/providers/test_sdk_models.py` compares each model with its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from ..contract import Api
from ..contract.events import Event, Shape
from ..contract.judge import Contract, of_models

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
