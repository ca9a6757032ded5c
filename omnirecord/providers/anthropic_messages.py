"""Events of Anthropic Messages, and the contract `anthropic-messages`.

A client reads the line `event:` of each frame, and skips a frame without it. A stream ends with `message_stop` or
`error`, and has no `[DONE]`. The truth is the SDK, with its beta models: `tests/providers/test_sdk_models.py` compares
each model with its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Literal

from ..contract import Api
from ..contract.base import ByType, Event, Shape, by_type, types_of
from ..contract.judge import Contract, of_models
from ..text import joined, text_in, tokens
from ..wire.strict_json import as_dict, as_int, as_list, as_text
from .answers import Answer, CallUsage, count_of
from .api import Asked, Data, ModelApi, Summary, TextKind, first_of
from .parts import content_items

NAME = "anthropic-messages"

StopReason = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "compaction",
    "refusal",
    "model_context_window_exceeded",
]


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
        "advisor",
        "web_search",
        "web_fetch",
        "code_execution",
        "bash_code_execution",
        "text_editor_code_execution",
        "tool_search_tool_regex",
        "tool_search_tool_bm25",
    ]
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
        "advisor_tool_result",
        "bash_code_execution_tool_result",
        "code_execution_tool_result",
        "mcp_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "web_fetch_tool_result",
        "web_search_tool_result",
    ]
    tool_use_id: str
    content: Any


ContentBlock = Annotated[
    TextBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ServerToolUseBlock
    | McpToolUseBlock
    | ToolResultBlock
    | Shape,
    ByType(),
]
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


class MessagesAnswer(Answer):
    """An answer of Anthropic Messages."""

    _INCOMPLETE = frozenset({"max_tokens", "model_context_window_exceeded", "refusal"})

    def __init__(self) -> None:
        super().__init__()
        self._counted: dict[str, Any] = {}

    def event(self, data: dict[str, Any]) -> None:
        type_ = data.get("type")
        index = as_int(data.get("index")) or 0
        if type_ == "message_start":
            self._message(as_dict(data.get("message")))
        elif type_ == "content_block_start":
            block = as_dict(data.get("content_block"))
            if block.get("type") == "tool_use":
                self.tool(index, as_text(block.get("id")), as_text(block.get("name")))
            self.say(as_text(block.get("text")), (index, 0))
        elif type_ == "content_block_delta":
            delta = as_dict(data.get("delta"))
            self.say(as_text(delta.get("text")), (index, 0))
            self.think(as_text(delta.get("thinking")))
            self.argue(index, as_text(delta.get("partial_json")))
        elif type_ == "content_block_stop" and index in self.tools:
            self.tools[index].at_ns = self.at_ns
        elif type_ == "message_delta":
            self._count(data.get("usage"))
            self._stop(as_text(as_dict(data.get("delta")).get("stop_reason")))
        elif type_ == "message_stop":
            self.end("completed", None)
        elif type_ == "error":
            self.fail(data.get("error"))

    def whole(self, data: dict[str, Any]) -> None:
        self._message(data)
        for index, block in enumerate(map(as_dict, as_list(data.get("content")))):
            if block.get("type") == "tool_use":
                self.asked(index, as_text(block.get("id")), as_text(block.get("name")), block.get("input"))
            elif block.get("type") == "text":
                self.say(as_text(block.get("text")), (index, 0), whole=True)
            self.think(as_text(block.get("thinking")), whole=True)
        self._stop(as_text(data.get("stop_reason")))
        if data.get("type") == "error":
            self.fail(data.get("error"))

    def _message(self, message: dict[str, Any]) -> None:
        self.id = as_text(message.get("id"))
        self.model = as_text(message.get("model"))
        self._count(message.get("usage"))

    def _stop(self, reason: str | None) -> None:
        if reason:
            self.end("incomplete" if reason in self._INCOMPLETE else "completed", reason)

    def _count(self, usage: Any) -> None:
        """Add counts: later ones replace earlier ones, and a count that is left out stays."""
        self._counted |= {key: value for key, value in as_dict(usage).items() if value is not None}
        if not self._counted:
            return
        keys = "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"
        uncached, said, cached, kept = (count_of(self._counted.get(key)) for key in keys)
        asked = None if uncached is None else uncached + (cached or 0) + (kept or 0)
        total = None if asked is None or said is None else asked + said
        self.usage = CallUsage(asked, said, cached, None, total, uncached)


def _usage(usage: Any) -> str:
    data = as_dict(usage)
    return tokens(data.get("input_tokens"), data.get("output_tokens"))


def _message_start(data: Data) -> str:
    message = as_dict(data.get("message"))
    return joined([text_in(message.get("id")), text_in(message.get("model")), _usage(message.get("usage"))], " · ")


def _message_delta(data: Data) -> str:
    reason = as_dict(data.get("delta")).get("stop_reason")
    return joined([text_in(reason), _usage(data.get("usage"))], " · ")


def _block(data: Data) -> str:
    block = as_dict(data.get("content_block"))
    return joined([text_in(block.get("type")), text_in(block.get("name"))])


def _block_delta(data: Data) -> str:
    delta = as_dict(data.get("delta"))
    return first_of("text", "partial_json", "thinking")(delta) or text_in(delta.get("type"))


_OWN_PARTS = ("tool_use", "tool_result", "thinking", "image")
"""Types of parts of messages that no other API has."""
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


_SUMMARIES: Mapping[str, Summary] = {
    "message_start": _message_start,
    "message_delta": _message_delta,
    "message_stop": lambda _: "",
    "content_block_start": _block,
    "content_block_delta": _block_delta,
    "content_block_stop": lambda data: text_in(f"block {data.get('index')}"),
    "ping": lambda _: "",
}


class Messages(ModelApi):
    name = NAME
    path = "/v1/messages"
    parameters = frozenset(
        {
            "cache_control",
            "compaction",
            "container",
            "context_management",
            "diagnostics",
            "fallbacks",
            "inference_geo",
            "max_tokens",
            "mcp_servers",
            "messages",
            "metadata",
            "model",
            "output_config",
            "output_format",
            "service_tier",
            "speed",
            "stop_sequences",
            "stream",
            "system",
            "temperature",
            "thinking",
            "thread",
            "tool_choice",
            "tools",
            "top_k",
            "top_p",
            "user_profile_id",
            "workspace_id",
        }
    )
    answer = MessagesAnswer
    summaries = _SUMMARIES
    own_types = frozenset(EVENTS.keys() - {"error", "ping"})

    def contract(self) -> Contract:
        return contract()

    def likeness(self, data: Data, target: str) -> int:  # noqa: ARG002
        """Only here `system` is a field, and tools have an `input_schema`."""
        if not (data.get("messages") and self.asks(data)):
            return 0
        has_fields = "system" in data or "anthropic_version" in data
        tools = map(as_dict, as_list(data.get("tools")))
        parts = (as_dict(part) for one in data["messages"] for part in as_list(one.get("content")))
        is_own = (
            has_fields
            or any("input_schema" in tool for tool in tools)
            or any(part.get("type") in _OWN_PARTS for part in parts)
        )
        return 2 if is_own else 0

    def asked(self, data: Data, target: str) -> Asked:
        instructions = [one.text for one in content_items("system", data.get("system"))]
        return replace(super().asked(data, target), instructions=instructions)

    def deltas(self, data: Data) -> Iterator[tuple[TextKind, str]]:
        delta = as_dict(data.get("delta"))
        if text := as_text(delta.get("text")):
            yield "text", text
        if thought := as_text(delta.get("thinking")):
            yield "reasoning", thought

    def error(self, status: int, message: str, code: str | None = None) -> Data:  # noqa: ARG002
        kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}


API = Messages()
