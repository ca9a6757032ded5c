"""All events in one union, told apart by their `type`, and the table from a type to its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, get_args

from pydantic import Field

from .base import Event
from .response import (
    CancelledEvent,
    CompactionCompletedEvent,
    CompactionFailedEvent,
    CompactionInProgressEvent,
    CompletedEvent,
    CreatedEvent,
    ErrorEvent,
    FailedEvent,
    HeartbeatEvent,
    IncompleteEvent,
    InProgressEvent,
    OutputFileDoneEvent,
    OutputItemDoneEvent,
    OutputTextDeltaEvent,
    PolicyDeniedEvent,
    QueuedEvent,
    ReasoningStartedEvent,
    ReasoningSummaryTextDeltaEvent,
    ReasoningTextDeltaEvent,
    RetryEvent,
    ToolOutputDeltaEvent,
    TurnCancelledEvent,
    TurnCompletedEvent,
    TurnFailedEvent,
    TurnStartedEvent,
)
from .session import (
    BrowserActionRequestEvent,
    ClientTaskCancelEvent,
    ElicitationRequestEvent,
    ElicitationResolvedEvent,
    SessionAgentChangedEvent,
    SessionBtwSidechatEvent,
    SessionChangedFilesInvalidatedEvent,
    SessionChildSessionUpdatedEvent,
    SessionCodexApprovalModeEvent,
    SessionCollaborationModeEvent,
    SessionCreatedEvent,
    SessionHeartbeatEvent,
    SessionInputConsumedEvent,
    SessionInterruptedEvent,
    SessionMcpStartupEvent,
    SessionModelEvent,
    SessionModelOptionsEvent,
    SessionPermissionModeEvent,
    SessionPresenceEvent,
    SessionReasoningEffortEvent,
    SessionResourceCreatedEvent,
    SessionResourceDeletedEvent,
    SessionSandboxStatusEvent,
    SessionSkillsEvent,
    SessionStatusEvent,
    SessionSupersededEvent,
    SessionTerminalActivityEvent,
    SessionTerminalPendingEvent,
    SessionTitleEvent,
    SessionTodosEvent,
    SessionUsageEvent,
)

ServerStreamEvent = Annotated[
    SessionStatusEvent
    | SessionHeartbeatEvent
    | SessionInterruptedEvent
    | SessionCreatedEvent
    | SessionChildSessionUpdatedEvent
    | SessionAgentChangedEvent
    | SessionModelEvent
    | SessionUsageEvent
    | SessionPresenceEvent
    | SessionSkillsEvent
    | SessionTodosEvent
    | SessionSandboxStatusEvent
    | SessionTerminalPendingEvent
    | SessionTerminalActivityEvent
    | SessionResourceCreatedEvent
    | SessionResourceDeletedEvent
    | SessionChangedFilesInvalidatedEvent
    | SessionTitleEvent
    | SessionReasoningEffortEvent
    | SessionCollaborationModeEvent
    | SessionPermissionModeEvent
    | SessionCodexApprovalModeEvent
    | SessionMcpStartupEvent
    | SessionModelOptionsEvent
    | SessionInputConsumedEvent
    | SessionSupersededEvent
    | SessionBtwSidechatEvent
    | CreatedEvent
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
    | ElicitationRequestEvent
    | ElicitationResolvedEvent
    | ClientTaskCancelEvent
    | BrowserActionRequestEvent,
    Field(discriminator="type"),
]
"""Any event of Omnigent's: the reference page's 43 and the live union's 55, 56 together."""


def _type_of(model: type[Event]) -> str:
    (name,) = get_args(model.model_fields["type"].annotation)
    return str(name)


_MEMBERS: tuple[type[Event], ...] = get_args(get_args(ServerStreamEvent)[0])

MODELS: Mapping[str, type[Event]] = {_type_of(model): model for model in _MEMBERS}
"""The model of each type, in the order of the page."""
