"""The union of all event models, which their `type` tells apart, and the table from a type to its model.

A new event type is a model in `session.py` or `response.py`, a member of the union here, and a line in
`omnigent/summary.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, get_args

from pydantic import Field

from . import response, session
from .base import Event

ServerStreamEvent = Annotated[
    session.SessionStatusEvent
    | session.SessionHeartbeatEvent
    | session.SessionInterruptedEvent
    | session.SessionCreatedEvent
    | session.SessionChildSessionUpdatedEvent
    | session.SessionAgentChangedEvent
    | session.SessionModelEvent
    | session.SessionUsageEvent
    | session.SessionPresenceEvent
    | session.SessionSkillsEvent
    | session.SessionTodosEvent
    | session.SessionSandboxStatusEvent
    | session.SessionTerminalPendingEvent
    | session.SessionTerminalActivityEvent
    | session.SessionResourceCreatedEvent
    | session.SessionResourceDeletedEvent
    | session.SessionChangedFilesInvalidatedEvent
    | session.SessionTitleEvent
    | session.SessionReasoningEffortEvent
    | session.SessionCollaborationModeEvent
    | session.SessionPermissionModeEvent
    | session.SessionCodexApprovalModeEvent
    | session.SessionMcpStartupEvent
    | session.SessionModelOptionsEvent
    | session.SessionInputConsumedEvent
    | session.SessionSupersededEvent
    | session.SessionBtwSidechatEvent
    | response.CreatedEvent
    | response.QueuedEvent
    | response.InProgressEvent
    | response.OutputTextDeltaEvent
    | response.ReasoningStartedEvent
    | response.ReasoningTextDeltaEvent
    | response.ReasoningSummaryTextDeltaEvent
    | response.ToolOutputDeltaEvent
    | response.OutputItemDoneEvent
    | response.OutputFileDoneEvent
    | response.CompletedEvent
    | response.FailedEvent
    | response.IncompleteEvent
    | response.CancelledEvent
    | response.ErrorEvent
    | response.RetryEvent
    | response.PolicyDeniedEvent
    | response.HeartbeatEvent
    | response.TurnStartedEvent
    | response.TurnCompletedEvent
    | response.TurnFailedEvent
    | response.TurnCancelledEvent
    | response.CompactionInProgressEvent
    | response.CompactionCompletedEvent
    | response.CompactionFailedEvent
    | session.ElicitationRequestEvent
    | session.ElicitationResolvedEvent
    | session.ClientTaskCancelEvent
    | session.BrowserActionRequestEvent,
    Field(discriminator="type"),
]
"""Any event of Omnigent's: the reference page's 43 and the live union's 55, 56 together."""


def _type_of(model: type[Event]) -> str:
    (name,) = get_args(model.model_fields["type"].annotation)
    return str(name)


_MEMBERS: tuple[type[Event], ...] = get_args(get_args(ServerStreamEvent)[0])

MODELS: Mapping[str, type[Event]] = {_type_of(model): model for model in _MEMBERS}
"""The model of each type, in the order of the page."""
