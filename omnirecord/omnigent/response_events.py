"""The base of Omnigent's events; the response events (a turn of the agent), the turn events of the runner, and the
compaction events, with the objects that they carry: responses, errors, usage, items.

A turn begins with `response.created`, or with `response.in_progress`, as the live server sometimes sends it. It ends
with completed, failed, incomplete or cancelled; an interrupted turn, or one whose runner died, has no end. Compaction
replaces a long history by a summary.

The live schema leaves an item of the output open, and so do the models: it is a mapping.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..contract.base import Event, Shape


class OmnigentEvent(Event):
    """The base of all events."""


ErrorSource = Literal["llm", "execution", "tool", "harness"]
"""Where in a turn an error arose."""


class ConversationRef(Shape):
    """Which session a response belongs to."""

    id: str


class UsageDetails(Shape):
    """The output tokens by purpose."""

    reasoning_tokens: int = 0


class Usage(Shape):
    """The tokens of one response."""

    input_tokens: int = 0
    output_tokens: int = 0
    output_tokens_details: UsageDetails = Field(default_factory=UsageDetails)
    total_tokens: int = 0
    context_tokens: int | None = None
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    model: str | None = None
    cost_usd: float | None = None


class ErrorDetail(Shape):
    """The error of a session or a response, with a message for users."""

    code: str
    message: str
    title: str | None = None
    cause: str | None = None
    remediation: str | None = None
    undelivered: bool | None = None


class RetryErrorDetail(Shape):
    """Why an attempt failed."""

    code: str
    message: str
    detail: dict[str, Any] | None = None


class IncompleteDetails(Shape):
    """Why a response stopped early."""

    reason: str


class FailedResponseObject(Shape):
    """A response that may have failed before it was given an id."""

    id: str | None = None
    object: str = "response"
    status: str
    model: str | None = None
    created_at: int | None = None
    completed_at: int | None = None
    output: list[dict[str, Any]] = Field(default_factory=list)
    background: bool = False
    store: bool = True
    usage: Usage | None = None
    previous_response_id: str | None = None
    conversation: ConversationRef | None = None
    instructions: str | None = None
    reasoning: dict[str, str] | None = None
    error: ErrorDetail | None = None
    incomplete_details: IncompleteDetails | None = None


class ResponseObject(FailedResponseObject):
    """A response, which is one turn of the agent."""

    id: str
    model: str
    created_at: int


class _OfTurn(OmnigentEvent):
    response: ResponseObject


class CreatedEvent(_OfTurn):
    """A new turn has its response."""

    type: Literal["response.created"]


class QueuedEvent(_OfTurn):
    """The turn waits to be taken up, in the background."""

    type: Literal["response.queued"]


class InProgressEvent(_OfTurn):
    """The turn is being worked on."""

    type: Literal["response.in_progress"]


class OutputTextDeltaEvent(OmnigentEvent):
    """A piece of the assistant's text. To a client that joins in mid-turn, the first one holds all so far."""

    type: Literal["response.output_text.delta"]
    delta: str
    message_id: str | None = None
    index: int | None = None
    final: bool | None = None


class ReasoningStartedEvent(OmnigentEvent):
    """The model began to think."""

    type: Literal["response.reasoning.started"]


class ReasoningTextDeltaEvent(OmnigentEvent):
    """A piece of the model's thoughts."""

    type: Literal["response.reasoning_text.delta"]
    delta: str


class ReasoningSummaryTextDeltaEvent(OmnigentEvent):
    """A piece of a summary of the model's thoughts."""

    type: Literal["response.reasoning_summary_text.delta"]
    delta: str


class ToolOutputDeltaEvent(OmnigentEvent):
    """A delta of a running tool's output (not on the page)."""

    type: Literal["response.function_call_output.delta"]
    call_id: str
    delta: str


class OutputItemDoneEvent(OmnigentEvent):
    """An item of the turn's output is complete: a message, a tool call, its answer…"""

    type: Literal["response.output_item.done"]
    item: dict[str, Any]


class OutputFileDoneEvent(OmnigentEvent):
    """A file that the turn put out is complete."""

    type: Literal["response.output_file.done"]
    file_id: str
    filename: str | None = None
    content_type: str | None = None


class CompletedEvent(_OfTurn):
    """The turn ended well."""

    type: Literal["response.completed"]


class FailedEvent(OmnigentEvent):
    """The turn ended in an error."""

    type: Literal["response.failed"]
    source: ErrorSource = "execution"
    # The live schema has "either of the two"; whatever fits the whole one fits the failed one as well.
    response: FailedResponseObject


class IncompleteEvent(_OfTurn):
    """The turn stopped early."""

    type: Literal["response.incomplete"]


class CancelledEvent(_OfTurn):
    """The turn was cancelled."""

    type: Literal["response.cancelled"]


class ErrorEvent(OmnigentEvent):
    """Something in the turn failed for good."""

    type: Literal["response.error"]
    source: ErrorSource
    tool_name: str | None = None
    error: RetryErrorDetail


class RetryEvent(OmnigentEvent):
    """Something in the turn failed and will be tried again."""

    type: Literal["response.retry"]
    source: Literal["llm", "tool"]
    tool_name: str | None = None
    attempt: int
    max_attempts: int
    delay_seconds: float
    error: RetryErrorDetail


class PolicyDeniedEvent(OmnigentEvent):
    """A policy said no (not on the page)."""

    type: Literal["response.policy_denied"]
    conversation_id: str
    reason: str = ""
    phase: str = ""


class HeartbeatEvent(OmnigentEvent):
    """The turn is alive, though it has nothing to say."""

    type: Literal["response.heartbeat"]
    server_time: str | None = None
    last_event_seq: int | None = None


class OfSession(OmnigentEvent):
    session_id: str


class TurnStartedEvent(OfSession):
    """The runner took up a new turn."""

    type: Literal["turn.started"]


class TurnCompletedEvent(OfSession):
    """The turn ended well, and nothing is left to do."""

    type: Literal["turn.completed"]


class TurnFailedEvent(OfSession):
    """The turn failed."""

    type: Literal["turn.failed"]
    error: dict[str, Any] = Field(default_factory=dict)


class TurnCancelledEvent(OfSession):
    """The turn was interrupted."""

    type: Literal["turn.cancelled"]


class CompactionInProgressEvent(OmnigentEvent):
    """A summary of the history is being written."""

    type: Literal["response.compaction.in_progress"]
    started_at: int | None = None


class CompactionCompletedEvent(OmnigentEvent):
    """The summary has taken the history's place."""

    type: Literal["response.compaction.completed"]
    total_tokens: int | None = None
    """How large the context is now, estimated."""
    summary: str | None = None
    summary_model: str | None = None
    compacted_messages: list[dict[str, Any]] | None = None


class CompactionFailedEvent(OmnigentEvent):
    """No summary could be made; the history is as it was."""

    type: Literal["response.compaction.failed"]
