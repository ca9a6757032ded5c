"""The session events, the elicitation events, and other requests of the server to a client, with the objects that they
carry: viewers, todos, resources, child sessions.

Events marked "not on the page" are sent by the live server, and the reference page lacks them; `session.skills` is on
the page only. Three objects describe values that the live schema leaves open (`TodoEntry`, `ChildSessionSummary`,
`SessionResourceObject`): they affect no verdict (`SHAPES` in `contract`). What a new event type needs is said in
`contract`.
"""

from __future__ import annotations

from typing import Any, Literal

from ..contract.base import Shape
from .response_events import ErrorDetail, OfSession, OmnigentEvent


class ModelUsage(Shape):
    """The tokens and the cost that one model has taken in a session so far."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    total_cost_usd: float | None = None


class BackgroundTaskInfo(Shape):
    """Something that still runs in the background of an idle session."""

    id: str | None = None
    type: str | None = None
    status: str | None = None
    description: str | None = None
    command: str | None = None


class McpServerStartup(Shape):
    """How far one MCP server has got with its start."""

    status: Literal["starting", "ready", "failed", "cancelled"]
    error: str | None = None


class PresenceViewer(Shape):
    """A user with an open stream of the session."""

    user_id: str
    joined_at: str
    idle: bool = False


class TodoEntry(Shape):
    """One line of the agent's todo list."""

    content: str
    status: str
    activeForm: str | None = None  # noqa: N815 - the name on the wire


class ChildSessionSummary(Shape):
    """A change in a child session: a part of its summary, to be merged into the state."""

    id: str | None = None
    object: str | None = None
    parent_session_id: str | None = None
    title: str | None = None
    task_summary: str | None = None
    tool: str | None = None
    session_name: str | None = None
    kind: str | None = None
    created_at: int | None = None
    updated_at: int | None = None
    agent_id: str | None = None
    agent_name: str | None = None
    current_task_id: str | None = None
    current_task_status: str | None = None
    busy: bool | None = None
    labels: dict[str, str] | None = None
    last_task_error: dict[str, Any] | None = None
    last_message_preview: str | None = None
    pending_elicitations_count: int | None = None
    routed_model: str | None = None
    routing_decision_id: str | None = None


class SessionResourceObject(Shape):
    """A terminal, a file or an environment of a session."""

    id: str | None = None
    object: str | None = None
    type: str | None = None
    session_id: str | None = None
    name: str | None = None
    metadata: dict[str, Any] | None = None
    environment: str | None = None


class _OfConversation(OmnigentEvent):
    conversation_id: str


class SessionStatusEvent(_OfConversation):
    """The session went from one state to another."""

    type: Literal["session.status"]
    status: Literal["idle", "launching", "running", "waiting", "failed"]
    response_id: str | None = None
    error: ErrorDetail | None = None
    background_task_count: int | None = None
    background_tasks: list[BackgroundTaskInfo] | None = None
    blocked_on: str | None = None


class SessionHeartbeatEvent(OmnigentEvent):
    """The stream is alive: one comes at once on connect, then one every 15 s."""

    type: Literal["session.heartbeat"]
    server_time: str | None = None


class SessionInterruptedPayload(Shape):
    """The time of an interrupt, and its response."""

    requested_at: int
    response_id: str | None = None


class SessionInterruptedEvent(OmnigentEvent):
    """A user's interrupt has reached the agent."""

    type: Literal["session.interrupted"]
    data: SessionInterruptedPayload


class SessionCreatedEvent(_OfConversation):
    """The session has a new child session, for a sub-agent."""

    type: Literal["session.created"]
    child_session_id: str
    agent_id: str | None = None
    parent_session_id: str | None = None


class SessionChildSessionUpdatedEvent(_OfConversation):
    """Something changed in a child session."""

    type: Literal["session.child_session.updated"]
    child_session_id: str
    child: dict[str, Any]


class SessionAgentChangedEvent(_OfConversation):
    """The session was handed to another agent."""

    type: Literal["session.agent_changed"]
    agent_id: str
    agent_name: str


class SessionModelEvent(_OfConversation):
    """The session uses this model from now on."""

    type: Literal["session.model"]
    model: str


class SessionUsageEvent(_OfConversation):
    """Tokens and cost of the session so far."""

    type: Literal["session.usage"]
    context_tokens: int | None = None
    context_window: int | None = None
    total_cost_usd: float | None = None
    usage_by_model: dict[str, ModelUsage] | None = None


class SessionPresenceEvent(_OfConversation):
    """The users with an open stream of the session: the whole list each time."""

    type: Literal["session.presence"]
    viewers: list[PresenceViewer]


class SessionSkillsEvent(_OfConversation):
    """The session's skills are known (on the page, and no longer in the live union)."""

    type: Literal["session.skills"]


class SessionTodosEvent(_OfConversation):
    """The whole todo list of the agent."""

    type: Literal["session.todos"]
    todos: list[dict[str, Any]]


class SessionSandboxStatusEvent(_OfConversation):
    """How far the session's sandbox has got."""

    type: Literal["session.sandbox_status"]
    stage: Literal["provisioning", "cloning", "starting", "connecting", "ready", "failed"]
    error: str | None = None
    provider: str | None = None


class SessionTerminalPendingEvent(_OfConversation):
    """A terminal is being made, or has been."""

    type: Literal["session.terminal_pending"]
    pending: bool


class SessionTerminalActivityEvent(OfSession):
    """A terminal printed something."""

    type: Literal["session.terminal.activity"]
    terminal_id: str


class SessionResourceCreatedEvent(OmnigentEvent):
    """The session has a new terminal, file or environment. On connect, one for each that is there."""

    type: Literal["session.resource.created"]
    resource: dict[str, Any]


class SessionResourceDeletedEvent(OmnigentEvent):
    """A terminal, file or environment is gone."""

    type: Literal["session.resource.deleted"]
    resource_id: str
    resource_type: str
    session_id: str


class SessionChangedFilesInvalidatedEvent(OfSession):
    """The list of changed files is out of date."""

    type: Literal["session.changed_files.invalidated"]
    environment_id: str = "default"


class SessionTitleEvent(_OfConversation):
    """The session has a new title (not on the page)."""

    type: Literal["session.title"]
    title: str


class SessionReasoningEffortEvent(_OfConversation):
    """How hard the model is to think from now on (not on the page)."""

    type: Literal["session.reasoning_effort"]
    reasoning_effort: str | None = None


class SessionCollaborationModeEvent(_OfConversation):
    """The session's collaboration mode changed (not on the page)."""

    type: Literal["session.collaboration_mode"]
    mode: str


class SessionPermissionModeEvent(_OfConversation):
    """The permission mode changed: the actions that need no approval (not on the page)."""

    type: Literal["session.permission_mode"]
    permission_mode: str


class SessionCodexApprovalModeEvent(_OfConversation):
    """The approval mode of a Codex agent changed (not on the page)."""

    type: Literal["session.codex_approval_mode"]
    approval_mode: str


class SessionMcpStartupEvent(_OfConversation):
    """How far the session's MCP servers have got, by name (not on the page)."""

    type: Literal["session.mcp_startup"]
    servers: dict[str, McpServerStartup]


class SessionModelOptionsEvent(_OfConversation):
    """The choice of models is another one now (not on the page)."""

    type: Literal["session.model_options"]


class SessionInputConsumedPayload(Shape):
    """The input, as the item that it has become."""

    item_id: str
    type: str
    data: dict[str, Any]
    created_by: str | None = None
    cleared_pending_id: str | None = None


class SessionInputConsumedEvent(OmnigentEvent):
    """The agent has taken in a user's message (not on the page)."""

    type: Literal["session.input.consumed"]
    data: SessionInputConsumedPayload


class SessionSupersededEvent(_OfConversation):
    """Another session goes on in this one's place (not on the page)."""

    type: Literal["session.superseded"]
    target_conversation_id: str
    reason: Literal["clear"] = "clear"


class SessionBtwSidechatEvent(_OfConversation):
    """A question asked in passing, and its answer (not on the page)."""

    type: Literal["session.btw_sidechat"]
    question: str
    answer: str
    truncated: bool = False


class ElicitationRequestParams(Shape):
    """The question in MCP's terms, with Omnigent's additions. Other MCP fields are kept."""

    mode: Literal["form", "url"] = "form"
    message: str
    requestedSchema: dict[str, Any] | None = None  # noqa: N815 - the name on the wire
    url: str | None = None
    phase: str | None = None
    policy_name: str | None = None
    content_preview: str | None = None
    target_session_id: str | None = None


class ElicitationRequestEvent(OmnigentEvent):
    """The agent waits for an answer."""

    type: Literal["response.elicitation_request"]
    elicitation_id: str
    method: Literal["elicitation/create"] = "elicitation/create"
    params: ElicitationRequestParams


class ElicitationResolvedEvent(OmnigentEvent):
    """A question is closed: answered on any client, timed out, or gone with its turn. May come twice."""

    type: Literal["response.elicitation_resolved"]
    elicitation_id: str
    action: Literal["accept", "decline", "cancel"] | None = None
    reason: Literal["unanswered"] | None = None


class ClientTaskCancelEvent(OmnigentEvent):
    """A tool that the client runs for the agent is no longer wanted."""

    type: Literal["response.client_task.cancel"]
    task_id: str
    call_id: str | None = None


class BrowserActionRequestEvent(OmnigentEvent):
    """The agent wants something done in the user's browser (not on the page)."""

    type: Literal["browser.action_request"]
    action_id: str
    action: str
    args: dict[str, Any]
