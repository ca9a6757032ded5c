"""Names and predicates of Omnigent's protocol: event types by their role, and codes and texts with a meaning. Pure.

No other package spells an event type: it takes the constant, the set or the predicate from here. A constant is called
like its type: `RESPONSE_CREATED` is `response.created`. The models are in `response_events` and
`session_events`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ..model import Exchange
from ..wire.headers import header

SESSION_STATUS = "session.status"
SESSION_INTERRUPTED = "session.interrupted"
SESSION_INPUT_CONSUMED = "session.input.consumed"
SESSION_CREATED = "session.created"
SESSION_CHILD_SESSION_UPDATED = "session.child_session.updated"
SESSION_AGENT_CHANGED = "session.agent_changed"
SESSION_MODEL = "session.model"
SESSION_USAGE = "session.usage"
SESSION_TITLE = "session.title"
SESSION_TODOS = "session.todos"
SESSION_REASONING_EFFORT = "session.reasoning_effort"
SESSION_HEARTBEAT = "session.heartbeat"
SESSION_PRESENCE = "session.presence"
SESSION_TERMINAL_ACTIVITY = "session.terminal.activity"

RESPONSE_CREATED = "response.created"
RESPONSE_QUEUED = "response.queued"
RESPONSE_IN_PROGRESS = "response.in_progress"
RESPONSE_COMPLETED = "response.completed"
RESPONSE_FAILED = "response.failed"
RESPONSE_INCOMPLETE = "response.incomplete"
RESPONSE_CANCELLED = "response.cancelled"
RESPONSE_OUTPUT_TEXT_DELTA = "response.output_text.delta"
RESPONSE_REASONING_TEXT_DELTA = "response.reasoning_text.delta"
RESPONSE_REASONING_SUMMARY_TEXT_DELTA = "response.reasoning_summary_text.delta"
RESPONSE_FUNCTION_CALL_OUTPUT_DELTA = "response.function_call_output.delta"
RESPONSE_OUTPUT_ITEM_DONE = "response.output_item.done"
RESPONSE_OUTPUT_FILE_DONE = "response.output_file.done"
RESPONSE_ELICITATION_REQUEST = "response.elicitation_request"
RESPONSE_ELICITATION_RESOLVED = "response.elicitation_resolved"
RESPONSE_ERROR = "response.error"
RESPONSE_RETRY = "response.retry"
RESPONSE_POLICY_DENIED = "response.policy_denied"
RESPONSE_HEARTBEAT = "response.heartbeat"

TURN_STARTED = "turn.started"
TURN_COMPLETED = "turn.completed"
TURN_FAILED = "turn.failed"
TURN_CANCELLED = "turn.cancelled"

HEARTBEATS = frozenset({SESSION_HEARTBEAT, RESPONSE_HEARTBEAT})
"""The events that only keep a stream alive."""
RESPONSE_BEGINS = frozenset({RESPONSE_CREATED, RESPONSE_QUEUED, RESPONSE_IN_PROGRESS})
End = Literal["completed", "failed", "incomplete", "cancelled"]
RESPONSE_ENDS: Mapping[str, End] = {
    RESPONSE_COMPLETED: "completed",
    RESPONSE_FAILED: "failed",
    RESPONSE_INCOMPLETE: "incomplete",
    RESPONSE_CANCELLED: "cancelled",
}
TURN_ENDS: Mapping[str, End] = {TURN_COMPLETED: "completed", TURN_FAILED: "failed", TURN_CANCELLED: "cancelled"}
ENDS: Mapping[str, End] = {**RESPONSE_ENDS, **TURN_ENDS}
"""The events that end a turn, with how it ended. A server sends the one kind or the other."""
REASONING_DELTAS = frozenset({RESPONSE_REASONING_TEXT_DELTA, RESPONSE_REASONING_SUMMARY_TEXT_DELTA})
ELICITATIONS = frozenset({RESPONSE_ELICITATION_REQUEST, RESPONSE_ELICITATION_RESOLVED})
CHILD_EVENTS = frozenset({SESSION_CREATED, SESSION_CHILD_SESSION_UPDATED})
"""The events by which a session's stream reports its child sessions."""
USAGE_EVENTS = frozenset({SESSION_USAGE, SESSION_MODEL})
RESENT = frozenset({RESPONSE_CREATED, RESPONSE_OUTPUT_TEXT_DELTA})
"""Text in flight: a server sends its beginning again to each client that connects in the middle of a turn."""
LANDMARKS = frozenset({SESSION_CREATED})
"""A cassette has an index of these."""

INTERRUPTED_TEXT = "[System: interrupted]"
"""The beginning of the message by which the server tells the agent of an interrupt."""
SYSTEM_TEXT = "[System: "
"""The beginning of a message that Omnigent writes in a user's place."""
DENIED_TEXT = "[Denied by policy: "
"""The beginning of the text that the server puts in the place of a refused one."""
OF_RESPONSE = "response."
"""The beginning of the types of events that belong to one response of the agent."""
RUNNER_DISCONNECTED = "runner_disconnected"
"""The error code of a turn whose runner was lost."""
STREAM_EPOCH = "x-omnigent-stream-epoch"
"""Response header: another value after a restart of the server."""
SNAPSHOT_TYPES = frozenset(
    {
        SESSION_HEARTBEAT,
        "session.resource.created",
        SESSION_CHILD_SESSION_UPDATED,
        "session.changed_files.invalidated",
        SESSION_PRESENCE,
    }
)
"""Text in flight comes among these without a sequence number: `response.created`, and a delta of all text so far."""


def is_of_response(type_: str | None) -> bool:
    """Return whether an event belongs to one response of the agent, not to the session."""
    return type_ is not None and type_.startswith(OF_RESPONSE)


def is_of_tool(type_: str) -> bool:
    return type_.startswith("response.function_call")


def is_denial(response_id: str | None) -> bool:
    """Return whether a response with this id is the server's refusal of a message."""
    return response_id is not None and response_id.startswith("deny_")


def stream_epoch(exchange: Exchange) -> str | None:
    """Return the epoch of the server that answered; None without one."""
    return header(exchange.response.headers, STREAM_EPOCH) if exchange.response else None
