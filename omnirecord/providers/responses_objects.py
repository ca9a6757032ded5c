"""The objects in events of OpenAI Responses: the response, its output items, their parts, and usage.

Configuration that the server repeats from the request (`tools`, `text`, `reasoning`…) is open. An item or a part of a
type that is not here is open too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..contract.base import ByType, Shape

Status = Literal["in_progress", "completed", "incomplete"]


class OutputText(Shape):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[Any] | None = None


class Refusal(Shape):
    type: Literal["refusal"]
    refusal: str


class ReasoningText(Shape):
    type: Literal["reasoning_text"]
    text: str


class SummaryText(Shape):
    type: Literal["summary_text"]
    text: str


class Message(Shape):
    type: Literal["message"]
    id: str
    role: Literal["assistant"]
    status: Status
    content: list[Annotated[OutputText | Refusal, ByType()]]
    phase: Literal["commentary", "final_answer"] | None = None


class FunctionCall(Shape):
    type: Literal["function_call"]
    id: str | None = None
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None
    async_: Any = Field(None, alias="async")
    caller: Any = None
    status: Status | None = None


class CustomToolCall(Shape):
    """A call of a tool of the client whose input is free text."""

    type: Literal["custom_tool_call"]
    id: str | None = None
    call_id: str
    name: str
    input: str
    namespace: str | None = None
    async_: Any = Field(None, alias="async")
    caller: Any = None


class Reasoning(Shape):
    type: Literal["reasoning"]
    id: str
    summary: list[SummaryText]
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: Status | None = None


class WebSearchCall(Shape):
    type: Literal["web_search_call"]
    id: str
    status: Literal["in_progress", "searching", "completed", "failed", "incomplete"]
    action: Any = None


class FileSearchCall(Shape):
    type: Literal["file_search_call"]
    id: str
    queries: list[str]
    status: Literal["in_progress", "searching", "completed", "incomplete", "failed"]
    results: list[Any] | None = None


class CodeInterpreterCall(Shape):
    """A run of code at the server."""

    type: Literal["code_interpreter_call"]
    id: str
    container_id: str
    code: str | None = None
    outputs: list[Any] | None = None
    status: Literal["in_progress", "completed", "incomplete", "interpreting", "failed"]


class ImageGenerationCall(Shape):
    type: Literal["image_generation_call"]
    id: str
    result: str | None = None
    """Base64."""
    status: Literal["in_progress", "completed", "generating", "failed"]
    action: Any = None
    background: Any = None
    error: Any = None
    output_format: Any = None
    quality: Any = None
    revised_prompt: Any = None
    size: Any = None
    svg_usage: Any = None


class ComputerCall(Shape):
    """An action on a computer of the client."""

    type: Literal["computer_call"]
    id: str
    call_id: str
    action: Any = None
    actions: list[Any] | None = None
    pending_safety_checks: list[Any]
    status: Status


class ShellCall(Shape):
    """Commands for a shell of the client."""

    type: Literal["shell_call", "local_shell_call"]
    id: str
    call_id: str
    action: Any
    status: Status
    caller: Any = None


class ApplyPatchCall(Shape):
    """A change to files of the client."""

    type: Literal["apply_patch_call"]
    id: str
    call_id: str
    operation: Any
    status: Literal["in_progress", "completed"]
    created_by: str | None = None
    caller: Any = None


class McpCall(Shape):
    """A call of a tool of an MCP server, made by the API's server."""

    type: Literal["mcp_call"]
    id: str
    name: str
    arguments: str
    server_label: str
    approval_request_id: str | None = None
    error: Any = None
    output: str | None = None
    status: Literal["in_progress", "completed", "incomplete", "calling", "failed"] | None = None


class McpListTools(Shape):
    type: Literal["mcp_list_tools"]
    id: str
    server_label: str
    tools: list[Any]
    error: str | None = None


class McpApprovalRequest(Shape):
    type: Literal["mcp_approval_request"]
    id: str
    name: str
    arguments: str
    server_label: str


class Compaction(Shape):
    """A summary in the place of a longer history."""

    type: Literal["compaction"]
    id: str
    encrypted_content: str
    created_by: str | None = None


Item = Annotated[
    Message
    | FunctionCall
    | CustomToolCall
    | Reasoning
    | WebSearchCall
    | FileSearchCall
    | CodeInterpreterCall
    | ImageGenerationCall
    | ComputerCall
    | ShellCall
    | ApplyPatchCall
    | McpCall
    | McpListTools
    | McpApprovalRequest
    | Compaction
    | Shape,
    ByType(),
]
Part = Annotated[OutputText | Refusal | ReasoningText | Shape, ByType()]


class InputTokensDetails(Shape):
    cached_tokens: int
    cache_write_tokens: Any = None
    cache_write_tokens_details: Any = None


class OutputTokensDetails(Shape):
    reasoning_tokens: int


class Usage(Shape):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseError(Shape):
    code: Literal[
        "server_error",
        "rate_limit_exceeded",
        "invalid_prompt",
        "vector_store_timeout",
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "image_content_policy_violation",
        "invalid_image_mode",
        "image_file_too_large",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
        "bio_policy",
        "data_residency_mismatch",
        "misalignment_policy_violation",
    ]
    message: str
    misalignment: Any = None
    param: Any = None
    type: Any = None


class IncompleteDetails(Shape):
    reason: Literal["max_output_tokens", "content_filter", "max_messages", "steered"] | None = None


class Response(Shape):
    """A response: its state at the time of the event."""

    id: str
    object: Literal["response"]
    created_at: float
    """Seconds since 1970."""
    completed_at: float | None = None
    status: Literal["completed", "failed", "in_progress", "cancelled", "queued", "incomplete"] | None = None
    model: str
    output: list[Item]
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    usage: Usage | None = None
    instructions: Any = None
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool
    temperature: float | None = None
    top_p: float | None = None
    tool_choice: Any
    tools: list[Any]
    background: bool | None = None
    conversation: Any = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    moderation: Any = None
    previous_response_id: str | None = None
    prompt: Any = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    reasoning: Any = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None
    text: Any = None
    top_logprobs: int | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None

    image: Any = None
    input_transformations: Any = None
    prompt_cache_diagnostics: Any = None
    prompt_cache_options: Any = None

    # The API sends these, and the SDK does not name all of them.
    access_programs: Any = None
    billing: Any = None
    content_filters: Any = None
    """Of Azure."""
    frequency_penalty: Any = None
    presence_penalty: Any = None
    store: Any = None
    tool_usage: Any = None
