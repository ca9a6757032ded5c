"""The objects that events carry: responses, errors, usage, viewers, todos, resources, child sessions.

The live schema defines most of them, and they are as strict as it is. The last three describe values that it leaves
open: only `typed_…` accessors return them, and most of their fields are optional, since the server sends parts.

The items of a turn's output, one model for each `type` that the page names.

The live schema leaves an item open, so these models affect no verdict. `output_item` returns the model of the item's
type, or a plain `OutputItem` if the type is another one or the fields do not fit. Other fields are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from ...contract.events import Shape, hold, type_name


class OutputItem(Shape):
    """An item of any type."""

    type: str | None = None
    id: str | None = None
    response_id: str | None = None
    status: str | None = None
    created_at: int | None = None


class MessageItem(OutputItem):
    """A message of a user or the assistant."""

    type: Literal["message"]
    role: str | None = None
    content: list[dict[str, Any]] = Field(default_factory=list)
    model: str | None = None

    @property
    def text(self) -> str:
        """The text of its parts, joined."""
        texts = (part.get("text") for part in self.content)
        return "".join(text for text in texts if isinstance(text, str))


class FunctionCallItem(OutputItem):
    """A tool that the model wants called. `arguments` is JSON in a string."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str = ""


class FunctionCallOutputItem(OutputItem):
    """The output of a tool: text, or a list of content parts."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[Any] | dict[str, Any] | None = None


class ReasoningItem(OutputItem):
    """The model's thoughts, as far as its provider shows them."""

    type: Literal["reasoning"]
    summary: list[dict[str, Any]] = Field(default_factory=list)
    content: list[dict[str, Any]] | None = None
    encrypted_content: str | None = None


class CompactionItem(OutputItem):
    """The summary that stands for the history before it."""

    type: Literal["compaction"]
    summary: str | None = None
    last_item_id: str | None = None
    model: str | None = None
    token_count: int | None = None


ITEMS: Mapping[str, type[OutputItem]] = {
    "message": MessageItem,
    "function_call": FunctionCallItem,
    "function_call_output": FunctionCallOutputItem,
    "reasoning": ReasoningItem,
    "compaction": CompactionItem,
}


def output_item(item: Mapping[str, Any]) -> OutputItem:
    """Return the item as the model of its type; as a plain `OutputItem` with all fields if it fits none."""
    type_ = type_name(item)
    known = ITEMS.get(type_, OutputItem) if type_ is not None else OutputItem
    return known.fit(item) or OutputItem.fit(item) or hold(OutputItem, item, type=type_)


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


class ModelUsage(Shape):
    """The tokens and the cost that one model has taken in a session so far."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    total_cost_usd: float | None = None


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

    @property
    def typed_output(self) -> list[OutputItem]:
        """The output items, each as the model of its type."""
        return [output_item(item) for item in self.output]


class ResponseObject(FailedResponseObject):
    """A response, which is one turn of the agent."""

    id: str
    model: str
    created_at: int


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
