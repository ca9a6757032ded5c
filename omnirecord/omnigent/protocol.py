"""Names and predicates of Omnigent's protocol: event types by their role, and codes and texts with a meaning. Pure.

No other package spells an event type: it takes the constant, the set or the predicate from here. A constant is called
like its type: `RESPONSE_CREATED` is `response.created`. The models are in `response_events` and
`session_events`.

The connect snapshot: the frames by which a server tells a new connection the state of the session. A replay holds none
of them back at a gate. In a transcript they are no events of a turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Literal

from ..model import Exchange, TimedFrame
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
LANDMARKS = frozenset({SESSION_CREATED, SESSION_STATUS})
"""A cassette has an index of these."""

INTERRUPTED_TEXT = "[System: interrupted]"
"""The beginning of the message by which the server tells the agent of an interrupt."""
SYSTEM_TEXT = "[System: "
"""The beginning of a message that Omnigent writes in a user's place."""
DENIED_TEXT = "[Denied by policy: "
"""The beginning of the text that the server puts in the place of a refused one."""
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
SNAPSHOT_LASTS = 1_000_000_000
"""Duration of a connect snapshot at most, in ns. The longest that was seen took 0.1 s."""


def is_of_response(type_: str | None) -> bool:
    """Return whether an event belongs to one response of the agent, not to the session."""
    return type_ is not None and type_.startswith("response.")


def is_of_tool(type_: str) -> bool:
    return type_.startswith("response.function_call")


def is_denial(response_id: str | None) -> bool:
    """Return whether a response with this id is the server's refusal of a message."""
    return response_id is not None and response_id.startswith("deny_")


def stream_epoch(exchange: Exchange) -> str | None:
    """Return the epoch of the server that answered; None without one."""
    return header(exchange.response.headers, STREAM_EPOCH) if exchange.response else None


class ConnectSnapshot:
    """The connect snapshot of one stream, found frame by frame. It ends before a second heartbeat, and before a late
    frame: the first events of a message may have the same types."""

    def __init__(self) -> None:
        self._begun_ns: int | None = None
        self._number = 0
        self._in_flight = 0  # the number of the frame after which text in flight may come: the heartbeat
        self._over = False

    def takes(self, frame: TimedFrame) -> bool:
        """Return whether the next frame belongs to it. After the first one that does not, none does."""
        if self._begun_ns is None:
            self._begun_ns = frame.offset_ns
        self._over = self._over or not self._is_part(frame, self._begun_ns)
        self._number += 1
        return not self._over

    def _is_part(self, frame: TimedFrame, begun_ns: int) -> bool:
        is_late = frame.offset_ns - begun_ns > SNAPSHOT_LASTS
        if is_late or (self._number and frame.type == SESSION_HEARTBEAT):
            return False
        if frame.type in SNAPSHOT_TYPES:
            return True
        if self._number != self._in_flight + 1 or frame.type not in RESENT or _is_numbered(frame):
            return False
        self._in_flight = self._number
        return True


def connect_snapshot_length(frames: Iterable[TimedFrame]) -> int:
    """Return the number of frames in the connect snapshot of a stream, which is the number of its last frame."""
    return sum(1 for _ in takewhile(ConnectSnapshot().takes, frames))


def _is_numbered(frame: TimedFrame) -> bool:
    from ..wire.strict_json import payload_of  # the command line imports this module, and does without the parser

    value = payload_of(frame)
    return not isinstance(value, dict) or value.get("sequence_number") is not None
