"""The elicitation events: the agent asks, and waits. With them, what else the server asks of a client."""

from __future__ import annotations

from typing import Any, Literal

from .base import Event, Shape


class ElicitationRequestParams(Shape):
    """The question, in MCP's terms, with what Omnigent adds to them. Any other MCP field is kept."""

    mode: Literal["form", "url"] = "form"
    message: str
    requestedSchema: dict[str, Any] | None = None  # noqa: N815 - the name on the wire
    url: str | None = None
    phase: str | None = None
    policy_name: str | None = None
    content_preview: str | None = None
    target_session_id: str | None = None


class ElicitationRequestEvent(Event):
    """The agent paused until somebody decides."""

    type: Literal["response.elicitation_request"]
    elicitation_id: str
    method: Literal["elicitation/create"] = "elicitation/create"
    params: ElicitationRequestParams


class ElicitationResolvedEvent(Event):
    """A question is settled: answered here or elsewhere, timed out, gone with its turn. May come twice."""

    type: Literal["response.elicitation_resolved"]
    elicitation_id: str
    action: Literal["accept", "decline", "cancel"] | None = None
    reason: Literal["unanswered"] | None = None


class ClientTaskCancelEvent(Event):
    """A tool that the client runs for the agent is no longer wanted."""

    type: Literal["response.client_task.cancel"]
    task_id: str
    call_id: str | None = None


class BrowserActionRequestEvent(Event):
    """The agent wants something done in the user's browser (not on the page)."""

    type: Literal["browser.action_request"]
    action_id: str
    action: str
    args: dict[str, Any]
