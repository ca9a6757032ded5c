"""Events of OpenAI Responses, and the contract `openai-responses`.

    contract().judge(frame).verdict
    EVENTS["response.completed"]

A stream ends with `response.completed`, `response.failed`, `response.incomplete` or `error`. It has no `[DONE]`, but
clients accept one. The truth is the SDK: `tests/providers/test_sdk_models.py` compares each model with its own.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from ..contract import Api
from ..contract.events import Event, by_type, types_of
from ..contract.judge import Contract, of_models
from .responses_objects import Item, Part, Response, SummaryText

NAME = "openai-responses"


class NumberedEvent(Event):
    """The base of all events."""

    sequence_number: int


class _OfResponse(NumberedEvent):
    response: Response


class CreatedEvent(_OfResponse):
    """The response exists."""

    type: Literal["response.created"]


class QueuedEvent(_OfResponse):
    """The response waits, in the background."""

    type: Literal["response.queued"]


class InProgressEvent(_OfResponse):
    """The model works on the response."""

    type: Literal["response.in_progress"]


class CompletedEvent(_OfResponse):
    """The response is complete: the end of the stream."""

    type: Literal["response.completed"]


class FailedEvent(_OfResponse):
    """The response failed: the end of the stream."""

    type: Literal["response.failed"]


class IncompleteEvent(_OfResponse):
    """The response stopped early: the end of the stream."""

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
    """An item of the output begins."""

    type: Literal["response.output_item.added"]
    item: Item


class OutputItemDoneEvent(_OfOutput):
    """An item of the output is complete."""

    type: Literal["response.output_item.done"]
    item: Item


class _OfItem(_OfOutput):
    item_id: str


class _OfContent(_OfItem):
    content_index: int


class ContentPartAddedEvent(_OfContent):
    """A part of an item begins."""

    type: Literal["response.content_part.added"]
    part: Part


class ContentPartDoneEvent(_OfContent):
    """A part of an item is complete."""

    type: Literal["response.content_part.done"]
    part: Part


class OutputTextDeltaEvent(_OfContent):
    """A piece of text."""

    type: Literal["response.output_text.delta"]
    delta: str
    logprobs: list[Any] | None = None


class OutputTextDoneEvent(_OfContent):
    """The whole text of a part."""

    type: Literal["response.output_text.done"]
    text: str
    logprobs: list[Any] | None = None


class AnnotationAddedEvent(_OfContent):
    """A source of a text."""

    type: Literal["response.output_text.annotation.added"]
    annotation: Any
    annotation_index: int


class RefusalDeltaEvent(_OfContent):
    """A piece of a refusal."""

    type: Literal["response.refusal.delta"]
    delta: str


class RefusalDoneEvent(_OfContent):
    """The whole refusal."""

    type: Literal["response.refusal.done"]
    refusal: str


class ReasoningTextDeltaEvent(_OfContent):
    """A piece of the model's reasoning."""

    type: Literal["response.reasoning_text.delta"]
    delta: str


class ReasoningTextDoneEvent(_OfContent):
    """The whole text of a part of the reasoning."""

    type: Literal["response.reasoning_text.done"]
    text: str


class _OfSummary(_OfItem):
    summary_index: int


class ReasoningSummaryPartAddedEvent(_OfSummary):
    """A part of a summary of the reasoning begins."""

    type: Literal["response.reasoning_summary_part.added"]
    part: SummaryText


class ReasoningSummaryPartDoneEvent(_OfSummary):
    """A part of a summary of the reasoning is complete."""

    type: Literal["response.reasoning_summary_part.done"]
    part: SummaryText


class ReasoningSummaryTextDeltaEvent(_OfSummary):
    """A piece of a summary of the reasoning."""

    type: Literal["response.reasoning_summary_text.delta"]
    delta: str


class ReasoningSummaryTextDoneEvent(_OfSummary):
    """The whole text of a part of a summary."""

    type: Literal["response.reasoning_summary_text.done"]
    text: str


class FunctionCallArgumentsDeltaEvent(_OfItem):
    """A piece of the arguments of a function."""

    type: Literal["response.function_call_arguments.delta"]
    delta: str


class FunctionCallArgumentsDoneEvent(_OfItem):
    """The whole arguments of a function."""

    type: Literal["response.function_call_arguments.done"]
    name: str | None = None
    arguments: str


class McpCallArgumentsDeltaEvent(_OfItem):
    """A piece of the arguments of a tool of an MCP server."""

    type: Literal["response.mcp_call_arguments.delta"]
    delta: str


class McpCallArgumentsDoneEvent(_OfItem):
    """The whole arguments of a tool of an MCP server."""

    type: Literal["response.mcp_call_arguments.done"]
    arguments: str


class CustomToolCallInputDeltaEvent(_OfItem):
    """A piece of the input of a tool."""

    type: Literal["response.custom_tool_call_input.delta"]
    delta: str


class CustomToolCallInputDoneEvent(_OfItem):
    """The whole input of a tool."""

    type: Literal["response.custom_tool_call_input.done"]
    input: str


class CodeDeltaEvent(_OfItem):
    """A piece of code that the server runs."""

    type: Literal["response.code_interpreter_call_code.delta"]
    delta: str


class CodeDoneEvent(_OfItem):
    """The whole code that the server runs."""

    type: Literal["response.code_interpreter_call_code.done"]
    code: str


class PartialImageEvent(_OfItem):
    """An image, as far as it is generated."""

    type: Literal["response.image_generation_call.partial_image"]
    partial_image_b64: str
    partial_image_index: int


class AudioDeltaEvent(NumberedEvent):
    """A piece of audio in base64, or of its transcript."""

    type: Literal["response.audio.delta", "response.audio.transcript.delta"]
    delta: str


class AudioDoneEvent(NumberedEvent):
    """The audio, or its transcript, is complete."""

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
"""The model of each type."""
ENDS = tuple(name for model in (CompletedEvent, FailedEvent, IncompleteEvent, ErrorEvent) for name in types_of(model))
"""The types that end a stream."""


@cache
def contract() -> Contract:
    """Return the contract `openai-responses`."""
    return of_models(NAME, EVENTS, Api(NAME, end_marker=None, ends=ENDS))
