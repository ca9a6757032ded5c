"""Events of Anthropic Messages, and the contract `anthropic-messages`.

A client reads the line `event:` of each frame, and skips a frame without it. A stream ends with `message_stop` or
`error`, and has no `[DONE]`. The truth is the SDK, with its beta models: `tests/providers/test_sdk_models.py` compares
each model with its own.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from ..contract import Api
from ..contract.events import ByType, Event, Shape, by_type, types_of
from ..contract.judge import Contract, of_models

NAME = "anthropic-messages"

StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "compaction", "refusal",
    "model_context_window_exceeded",
]  # fmt: skip


class TextBlock(Shape):
    type: Literal["text"]
    text: str
    citations: list[Any] | None = None


class ThinkingBlock(Shape):
    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedThinkingBlock(Shape):
    """The model's thinking, encrypted."""

    type: Literal["redacted_thinking"]
    data: str


class ToolUseBlock(Shape):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    caller: Any = None
    toolset_name: str | None = None


class ServerToolUseBlock(Shape):
    """A call of a tool that the server runs."""

    type: Literal["server_tool_use"]
    id: str
    name: Literal[
        "advisor", "web_search", "web_fetch", "code_execution", "bash_code_execution", "text_editor_code_execution",
        "tool_search_tool_regex", "tool_search_tool_bm25",
    ]  # fmt: skip
    input: dict[str, Any]
    caller: Any = None


class McpToolUseBlock(Shape):
    """A call of a tool of an MCP server, made by the API's server."""

    type: Literal["mcp_tool_use"]
    id: str
    name: str
    server_name: str
    input: dict[str, Any]


class ToolResultBlock(Shape):
    """The result of a tool that the server ran."""

    type: Literal[
        "advisor_tool_result", "bash_code_execution_tool_result", "code_execution_tool_result", "mcp_tool_result",
        "text_editor_code_execution_tool_result", "tool_search_tool_result", "web_fetch_tool_result",
        "web_search_tool_result",
    ]  # fmt: skip
    tool_use_id: str
    content: Any


ContentBlock = Annotated[
    TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ServerToolUseBlock | McpToolUseBlock
    | ToolResultBlock | Shape, ByType(),
]  # fmt: skip
"""A block of a message's content. One of a type that is not here is open."""


class TextDelta(Shape):
    type: Literal["text_delta"]
    text: str


class InputJsonDelta(Shape):
    """A piece of the input of a tool, as JSON text."""

    type: Literal["input_json_delta"]
    partial_json: str


class ThinkingDelta(Shape):
    type: Literal["thinking_delta"]
    thinking: str
    estimated_tokens: int | None = None


class SignatureDelta(Shape):
    type: Literal["signature_delta"]
    signature: str


class CitationsDelta(Shape):
    type: Literal["citations_delta"]
    citation: Any


class CompactionDelta(Shape):
    """A summary in the place of a longer history."""

    type: Literal["compaction_delta"]
    content: str | None = None
    encrypted_content: str | None = None


BlockDelta = Annotated[
    TextDelta | InputJsonDelta | ThinkingDelta | SignatureDelta | CitationsDelta | CompactionDelta | Shape, ByType()
]
"""A piece of a block. One of a type that is not here is open."""


class CacheCreation(Shape):
    ephemeral_1h_input_tokens: int
    ephemeral_5m_input_tokens: int


class OutputTokensDetails(Shape):
    thinking_tokens: int


class Usage(Shape):
    """The number of tokens at the beginning of a message."""

    input_tokens: int
    output_tokens: int
    cache_creation: CacheCreation | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: OutputTokensDetails | None = None
    inference_geo: str | None = None
    server_tool_use: Any = None
    service_tier: Literal["standard", "priority", "batch"] | None = None
    speed: Literal["standard", "fast"] | None = None
    iterations: list[Any] | None = None
    fallback_credit: Any = None


class DeltaUsage(Shape):
    """The number of tokens so far. The last one counts for the message."""

    output_tokens: int
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: OutputTokensDetails | None = None
    server_tool_use: Any = None
    iterations: list[Any] | None = None
    fallback_credit: Any = None


class Message(Shape):
    type: Literal["message"]
    id: str
    role: Literal["assistant"]
    model: str
    content: list[ContentBlock]
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    usage: Usage
    container: Any = None
    context_management: Any = None
    diagnostics: Any = None
    input_transformations: list[Any] | None = None


class MessageDelta(Shape):
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    container: Any = None


class ErrorObject(Shape):
    """Why the server failed: `overloaded_error`, `rate_limit_error`, `api_error`…"""

    type: str
    message: str


class MessagesEvent(Event):
    """The base of all events."""


class MessageStartEvent(MessagesEvent):
    type: Literal["message_start"]
    message: Message


class ContentBlockStartEvent(MessagesEvent):
    type: Literal["content_block_start"]
    index: int
    content_block: ContentBlock


class ContentBlockDeltaEvent(MessagesEvent):
    type: Literal["content_block_delta"]
    index: int
    delta: BlockDelta


class ContentBlockStopEvent(MessagesEvent):
    type: Literal["content_block_stop"]
    index: int


class MessageDeltaEvent(MessagesEvent):
    type: Literal["message_delta"]
    delta: MessageDelta
    usage: DeltaUsage
    context_management: Any = None
    input_transformations: list[Any] | None = None


class MessageStopEvent(MessagesEvent):
    type: Literal["message_stop"]


class PingEvent(MessagesEvent):
    type: Literal["ping"]


class ErrorEvent(MessagesEvent):
    type: Literal["error"]
    error: ErrorObject
    request_id: str | None = None


EVENTS = by_type(MessagesEvent)
ENDS = (*types_of(MessageStopEvent), *types_of(ErrorEvent))


@cache
def contract() -> Contract:
    return of_models(NAME, EVENTS, Api(NAME, event_line="required", end_marker=None, ends=ENDS))
