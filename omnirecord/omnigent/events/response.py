"""The response events (a turn of the agent), the turn events of the runner, and the compaction events.

A turn begins with `response.created`, or with `response.in_progress`, as the live server sometimes sends it. It ends
with completed, failed, incomplete or cancelled; an interrupted turn, or one whose runner died, has no end. Compaction
replaces a long history by a summary.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ...contract.events import Event
from .objects import ErrorSource, FailedResponseObject, OutputItem, ResponseObject, RetryErrorDetail, output_item


class CreatedEvent(Event):
    """A new turn has its response."""

    type: Literal["response.created"]
    response: ResponseObject


class QueuedEvent(Event):
    """The turn waits to be taken up, in the background."""

    type: Literal["response.queued"]
    response: ResponseObject


class InProgressEvent(Event):
    """The turn is being worked on."""

    type: Literal["response.in_progress"]
    response: ResponseObject


class OutputTextDeltaEvent(Event):
    """A piece of the assistant's text. To a client that joins in mid-turn, the first one holds all so far."""

    type: Literal["response.output_text.delta"]
    delta: str
    message_id: str | None = None
    index: int | None = None
    final: bool | None = None


class ReasoningStartedEvent(Event):
    """The model began to think."""

    type: Literal["response.reasoning.started"]


class ReasoningTextDeltaEvent(Event):
    """A piece of the model's thoughts."""

    type: Literal["response.reasoning_text.delta"]
    delta: str


class ReasoningSummaryTextDeltaEvent(Event):
    """A piece of a summary of the model's thoughts."""

    type: Literal["response.reasoning_summary_text.delta"]
    delta: str


class ToolOutputDeltaEvent(Event):
    """A delta of a running tool's output (not on the page)."""

    type: Literal["response.function_call_output.delta"]
    call_id: str
    delta: str


class OutputItemDoneEvent(Event):
    """An item of the turn's output is complete: a message, a tool call, its answer…"""

    type: Literal["response.output_item.done"]
    item: dict[str, Any]

    @property
    def typed_item(self) -> OutputItem:
        """The item as the model of its type."""
        return output_item(self.item)


class OutputFileDoneEvent(Event):
    """A file that the turn put out is complete."""

    type: Literal["response.output_file.done"]
    file_id: str
    filename: str | None = None
    content_type: str | None = None


class CompletedEvent(Event):
    """The turn ended well."""

    type: Literal["response.completed"]
    response: ResponseObject


class FailedEvent(Event):
    """The turn ended in an error."""

    type: Literal["response.failed"]
    source: ErrorSource = "execution"
    # The live schema has "either of the two"; whatever fits the whole one fits the failed one as well.
    response: FailedResponseObject


class IncompleteEvent(Event):
    """The turn stopped early."""

    type: Literal["response.incomplete"]
    response: ResponseObject


class CancelledEvent(Event):
    """The turn was cancelled."""

    type: Literal["response.cancelled"]
    response: ResponseObject


class ErrorEvent(Event):
    """Something in the turn failed for good."""

    type: Literal["response.error"]
    source: ErrorSource
    tool_name: str | None = None
    error: RetryErrorDetail


class RetryEvent(Event):
    """Something in the turn failed and will be tried again."""

    type: Literal["response.retry"]
    source: Literal["llm", "tool"]
    tool_name: str | None = None
    attempt: int
    max_attempts: int
    delay_seconds: float
    error: RetryErrorDetail


class PolicyDeniedEvent(Event):
    """A policy said no (not on the page)."""

    type: Literal["response.policy_denied"]
    conversation_id: str
    reason: str = ""
    phase: str = ""


class HeartbeatEvent(Event):
    """The turn is alive, though it has nothing to say."""

    type: Literal["response.heartbeat"]
    server_time: str | None = None
    last_event_seq: int | None = None


class TurnStartedEvent(Event):
    """The runner took up a new turn."""

    type: Literal["turn.started"]
    session_id: str


class TurnCompletedEvent(Event):
    """The turn ended well, and nothing is left to do."""

    type: Literal["turn.completed"]
    session_id: str


class TurnFailedEvent(Event):
    """The turn failed."""

    type: Literal["turn.failed"]
    session_id: str
    error: dict[str, Any] = Field(default_factory=dict)


class TurnCancelledEvent(Event):
    """The turn was interrupted."""

    type: Literal["turn.cancelled"]
    session_id: str


class CompactionInProgressEvent(Event):
    """A summary of the history is being written."""

    type: Literal["response.compaction.in_progress"]
    started_at: int | None = None


class CompactionCompletedEvent(Event):
    """The summary has taken the history's place."""

    type: Literal["response.compaction.completed"]
    total_tokens: int | None = None
    """How large the context is now, estimated."""
    summary: str | None = None
    summary_model: str | None = None
    compacted_messages: list[dict[str, Any]] | None = None


class CompactionFailedEvent(Event):
    """No summary could be made; the history is as it was."""

    type: Literal["response.compaction.failed"]


ResponseEvents = (
    CreatedEvent
    | QueuedEvent
    | InProgressEvent
    | OutputTextDeltaEvent
    | ReasoningStartedEvent
    | ReasoningTextDeltaEvent
    | ReasoningSummaryTextDeltaEvent
    | ToolOutputDeltaEvent
    | OutputItemDoneEvent
    | OutputFileDoneEvent
    | CompletedEvent
    | FailedEvent
    | IncompleteEvent
    | CancelledEvent
    | ErrorEvent
    | RetryEvent
    | PolicyDeniedEvent
    | HeartbeatEvent
    | TurnStartedEvent
    | TurnCompletedEvent
    | TurnFailedEvent
    | TurnCancelledEvent
    | CompactionInProgressEvent
    | CompactionCompletedEvent
    | CompactionFailedEvent
)
