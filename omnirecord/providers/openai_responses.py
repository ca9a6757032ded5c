"""Events of OpenAI Responses, and the contract `openai-responses`.

    contract().judge(frame).verdict
    EVENTS["response.completed"]

A stream ends with `response.completed`, `response.failed`, `response.incomplete` or `error`. It has no `[DONE]`, but
clients accept one. The truth is the SDK: `tests/providers/test_sdk_models.py` compares each model with its own. The API
also adds `obfuscation` to deltas, which no model of the SDK names: random characters that hide the length of a text.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from ..contract import Api
from ..contract.base import Event, by_type, types_of
from ..contract.judge import Contract, of_models
from .responses_objects import Item, Part, Response, SummaryText

NAME = "openai-responses"


class NumberedEvent(Event):
    sequence_number: int


class _OfResponse(NumberedEvent):
    response: Response


class CreatedEvent(_OfResponse):
    type: Literal["response.created"]


class QueuedEvent(_OfResponse):
    type: Literal["response.queued"]


class InProgressEvent(_OfResponse):
    type: Literal["response.in_progress"]


class CompletedEvent(_OfResponse):
    type: Literal["response.completed"]


class FailedEvent(_OfResponse):
    type: Literal["response.failed"]


class IncompleteEvent(_OfResponse):
    type: Literal["response.incomplete"]


class ErrorEvent(NumberedEvent):
    """The server failed: the end of the stream. It puts the error into the event itself, or into `error`."""

    type: Literal["error"]
    code: str | None = None
    message: str | None = None
    param: str | None = None
    error: dict[str, Any] | None = None


class _OfOutput(NumberedEvent):
    output_index: int


class OutputItemAddedEvent(_OfOutput):
    type: Literal["response.output_item.added"]
    item: Item


class OutputItemDoneEvent(_OfOutput):
    type: Literal["response.output_item.done"]
    item: Item


class _OfItem(_OfOutput):
    item_id: str


class _OfContent(_OfItem):
    content_index: int


class ContentPartAddedEvent(_OfContent):
    type: Literal["response.content_part.added"]
    part: Part


class ContentPartDoneEvent(_OfContent):
    type: Literal["response.content_part.done"]
    part: Part


class OutputTextDeltaEvent(_OfContent):
    type: Literal["response.output_text.delta"]
    delta: str
    obfuscation: Any = None
    logprobs: list[Any] | None = None


class OutputTextDoneEvent(_OfContent):
    type: Literal["response.output_text.done"]
    text: str
    logprobs: list[Any] | None = None


class AnnotationAddedEvent(_OfContent):
    type: Literal["response.output_text.annotation.added"]
    annotation: Any = None
    annotation_index: int


class RefusalDeltaEvent(_OfContent):
    type: Literal["response.refusal.delta"]
    delta: str
    obfuscation: Any = None


class RefusalDoneEvent(_OfContent):
    type: Literal["response.refusal.done"]
    refusal: str


class ReasoningTextDeltaEvent(_OfContent):
    type: Literal["response.reasoning_text.delta"]
    delta: str
    obfuscation: Any = None


class ReasoningTextDoneEvent(_OfContent):
    type: Literal["response.reasoning_text.done"]
    text: str


class _OfSummary(_OfItem):
    summary_index: int


class ReasoningSummaryPartAddedEvent(_OfSummary):
    type: Literal["response.reasoning_summary_part.added"]
    part: SummaryText


class ReasoningSummaryPartDoneEvent(_OfSummary):
    type: Literal["response.reasoning_summary_part.done"]
    part: SummaryText
    status: Any = None


class ReasoningSummaryTextDeltaEvent(_OfSummary):
    type: Literal["response.reasoning_summary_text.delta"]
    delta: str
    obfuscation: Any = None


class ReasoningSummaryTextDoneEvent(_OfSummary):
    type: Literal["response.reasoning_summary_text.done"]
    text: str


class FunctionCallArgumentsDeltaEvent(_OfItem):
    type: Literal["response.function_call_arguments.delta"]
    delta: str
    obfuscation: Any = None


class FunctionCallArgumentsDoneEvent(_OfItem):
    type: Literal["response.function_call_arguments.done"]
    name: str | None = None
    arguments: str


class McpCallArgumentsDeltaEvent(_OfItem):
    type: Literal["response.mcp_call_arguments.delta"]
    delta: str
    obfuscation: Any = None


class McpCallArgumentsDoneEvent(_OfItem):
    type: Literal["response.mcp_call_arguments.done"]
    arguments: str


class CustomToolCallInputDeltaEvent(_OfItem):
    type: Literal["response.custom_tool_call_input.delta"]
    delta: str
    obfuscation: Any = None


class CustomToolCallInputDoneEvent(_OfItem):
    type: Literal["response.custom_tool_call_input.done"]
    input: str


class CodeDeltaEvent(_OfItem):
    type: Literal["response.code_interpreter_call_code.delta"]
    delta: str
    obfuscation: Any = None


class CodeDoneEvent(_OfItem):
    type: Literal["response.code_interpreter_call_code.done"]
    code: str


class PartialImageEvent(_OfItem):
    type: Literal["response.image_generation_call.partial_image"]
    partial_image_b64: str
    partial_image_index: int
    background: Any = None
    output_format: Any = None
    quality: Any = None
    size: Any = None


class CompactingEvent(_OfItem):
    """The server makes a summary in the place of a longer history."""

    type: Literal["response.compaction.compacting"]


class _OfCommand(_OfOutput):
    command_index: int


class ShellCommandEvent(_OfCommand):
    type: Literal["response.shell_call_command.added", "response.shell_call_command.done"]
    command: str


class ShellCommandDeltaEvent(_OfCommand):
    type: Literal["response.shell_call_command.delta"]
    delta: str
    obfuscation: Any = None


class ShellOutputDeltaEvent(_OfCommand):
    type: Literal["response.shell_call_output_content.delta"]
    item_id: str
    delta: dict[str, Any]


class ShellOutputDoneEvent(_OfCommand):
    type: Literal["response.shell_call_output_content.done"]
    item_id: str
    output: list[Any]


class AudioDeltaEvent(NumberedEvent):
    """A piece of audio in base64, or of its transcript."""

    type: Literal["response.audio.delta", "response.audio.transcript.delta"]
    delta: str
    obfuscation: Any = None


class AudioDoneEvent(NumberedEvent):
    type: Literal["response.audio.done", "response.audio.transcript.done"]


class ToolProgressEvent(_OfItem):
    """The progress of a tool that the server runs."""

    type: Literal[
        "response.code_interpreter_call.in_progress",
        "response.code_interpreter_call.interpreting",
        "response.code_interpreter_call.completed",
        "response.file_search_call.in_progress",
        "response.file_search_call.searching",
        "response.file_search_call.completed",
        "response.image_generation_call.in_progress",
        "response.image_generation_call.generating",
        "response.image_generation_call.completed",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        "response.mcp_list_tools.failed",
        "response.web_search_call.in_progress",
        "response.web_search_call.searching",
        "response.web_search_call.completed",
    ]


EVENTS = by_type(NumberedEvent)
ENDS = tuple(name for model in (CompletedEvent, FailedEvent, IncompleteEvent, ErrorEvent) for name in types_of(model))


@cache
def contract() -> Contract:
    return of_models(NAME, EVENTS, Api(NAME, end_marker=None, ends=ENDS))
