"""The values of a session. The fields of `Turn` are the keys of `show --json`. Treat all of them as immutable: a frozen
dataclass takes three times as long to make.

All times are ns on the recording's clock; None if the recording does not have them. `place` is the number of events in
the turn before it: the order at equal times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ...model import Ending, TimedFrame, total
from ...text import joined
from .requests import FailedRequest


class Ref(NamedTuple):
    """An event, and its time in ns."""

    stream: int
    seq: int
    at_ns: int

    @classmethod
    def of(cls, frame: TimedFrame) -> Ref:
        return cls(frame.stream, frame.seq, frame.offset_ns)


Ended = Literal["completed", "failed", "incomplete", "cancelled", "interrupted", "denied", "unfinished"]
"""How a turn ended. `interrupted`: a user stopped it; `denied`: a policy, or the user it asked, refused the message;
`unfinished`: the recording has no end of it; it may have gone on, or no client was connected at its end."""


@dataclass(slots=True, unsafe_hash=True)
class Asked:
    """A message that began a turn, or came during it."""

    text: str
    at_ns: int
    """The beginning of its POST; if that is not recorded, the time at which the agent took it in."""
    by: Literal["user", "agent", "system"]
    """`agent`: the parent agent; `system`: Omnigent itself, for instance when a sub-agent has finished."""
    place: int = 0


@dataclass(slots=True, unsafe_hash=True)
class Passage:
    """A stretch of the assistant's text or thoughts, joined from its deltas."""

    text: str
    first_ns: int
    last_ns: int
    pieces: int
    """The number of its deltas; 0 if only the finished item came."""
    as_stored: bool | None = None
    """Whether it equals the item that the server stored; None without such an item."""
    place: int = 0


@dataclass(slots=True, unsafe_hash=True)
class Tool:
    call_id: str
    name: str
    arguments: str
    """As the model wrote them, usually JSON."""
    output: str | None
    """Text, or other values as JSON; None if none came."""
    called_ns: int
    returned_ns: int | None
    status: str | None
    """The last reported one: `in_progress`, `completed`…"""
    place: int = 0
    failed: str | None = None
    """How it failed, by its output: `exit code 2`, the text of its error; None if it did not."""
    replaced: str | None = None
    """The arguments that the model wrote, if the server replaced them by `{}`; else None."""


@dataclass(slots=True, unsafe_hash=True)
class Approval:
    """A question to the user; the turn waits for the answer."""

    elicitation_id: str
    message: str
    asked_ns: int
    resolved_ns: int | None
    """The time of the event that closed it."""
    action: str | None
    """`accept`, `decline` or `cancel`; None without an answer."""
    answered_ns: int | None
    """The time of the POST with the answer."""
    answered_by: str | None
    place: int = 0
    left_ns: int | None = None
    """The time at which the client closed the POST that raised it, before the server answered that POST."""


@dataclass(slots=True, unsafe_hash=True)
class Child:
    """The session of a sub-agent that began in this turn."""

    session_id: str
    title: str | None
    spawned_ns: int
    updated_ns: int | None
    """The time of its last status."""
    status: str | None
    """`launching`, `in_progress`, `completed`, `failed`…"""
    last_message: str | None
    place: int = 0


@dataclass(slots=True, unsafe_hash=True)
class TurnUsage:
    """Tokens and cost of one turn; None if the server did not report them."""

    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    total_tokens: int | None
    cost_usd: float | None


def total_cost(costs: Iterable[float | None]) -> float | None:
    """Return the sum of the known costs in USD, rounded to a billionth; None without any."""
    found = total(costs)
    return None if found is None else round(found, 9)


@dataclass(slots=True, unsafe_hash=True)
class Fault:
    """The error of a turn."""

    code: str | None
    message: str

    @property
    def why(self) -> str:
        return joined([self.code, self.message], ": ")


@dataclass(slots=True, unsafe_hash=True)
class Trouble:
    """A failure that did not end the turn: an error, or a retry."""

    at_ns: int
    kind: Literal["error", "retry"]
    source: str | None
    tool_name: str | None
    code: str | None
    message: str
    attempt: int | None = None
    max_attempts: int | None = None
    delay_s: float | None = None
    place: int = 0


@dataclass(slots=True, unsafe_hash=True)
class Note:
    """Any other event, as a sentence."""

    at_ns: int
    text: str
    place: int = 0


@dataclass(slots=True, unsafe_hash=True)
class Silence:
    """A stretch of a turn without an event, heartbeats apart."""

    from_ns: int
    length_ns: int
    during: str | None
    """What the turn waited for: `approval`, or a tool's name; None if unknown."""
    heartbeats: int = 0
    unheard_ns: int = 0
    """The part of it in ns without any connected client."""


@dataclass(slots=True, unsafe_hash=True)
class Turn:
    """One turn: the question, the answer and what happened, and the end."""

    recording: int
    session_id: str | None
    turn: int
    """Its number among the turns of the session in this recording, from 1."""
    asked: tuple[Asked, ...]
    asked_ns: int | None
    started_ns: int
    """The time of its first event; without events, of its question."""
    first_text_ns: int | None
    ended_ns: int | None
    """The time of its end; None if it is unfinished."""
    last_event_ns: int
    ended: Ended
    error: Fault | None
    text: str
    """The assistant's messages, separated by blank lines."""
    reasoning: str
    messages: tuple[Passage, ...]
    thoughts: tuple[Passage, ...]
    tools: tuple[Tool, ...]
    approvals: tuple[Approval, ...]
    children: tuple[Child, ...]
    response_id: str | None
    agent: str | None
    model: str | None
    usage: TurnUsage | None
    troubles: tuple[Trouble, ...]
    notes: tuple[Note, ...]
    longest_silence: Silence | None
    silences: tuple[Silence, ...]
    """The silences of `draft.LONG_SILENCE` or more, or of another chosen length."""
    events: int
    """The number of its events without heartbeats and connect snapshots."""
    odd_events: int
    """The number of its events that are not `valid`."""
    heartbeats: int
    restarts_ns: tuple[int, ...] = ()
    """The times at which the server ran it again, because its runner was restarted. `text` and `reasoning` are of the
    last attempt; `messages`, `thoughts` and `tools` of all."""
    joined_ns: int | None = None
    """The time of the last connect snapshot that had text of this turn: at that time it was not over."""

    @property
    def begin_ns(self) -> int:
        """The time of its question or of its first event, the earlier one."""
        return self.started_ns if self.asked_ns is None else min(self.started_ns, self.asked_ns)


ServerAfter = Literal["answered", "gone", "restarted"]
"""What a server did after it ended a stream. `answered`: it went on, and dropped only that stream; `gone`: it could not
be reached; `restarted`: another run of it answered."""


@dataclass(slots=True, unsafe_hash=True)
class Listening:
    """One stream of a session, to which a client listened."""

    stream: int
    party: str
    from_ns: int
    until_ns: int | None
    ending: Ending
    server_after: ServerAfter | None = None
    """None if that is unknown, or the server did not end the stream."""
    party_name: str = "client"
    """The name of the party for people."""


@dataclass(slots=True, unsafe_hash=True)
class Snapshot:
    """The state of a session in the last answer to a client's `GET /v1/sessions/{id}`."""

    at_ns: int
    """The time of the request."""
    status: str | None
    title: str | None
    agent: str | None
    model: str | None
    runner_online: bool | None
    pending: tuple[str, ...]
    """The ids of the elicitations without an answer."""
    last_said: str | None = None
    """The assistant's last message."""


@dataclass(slots=True, unsafe_hash=True)
class Session:
    """One session in one recording. `session_id` is None for a stream without a session."""

    recording: int
    session_id: str | None
    parent_id: str | None
    begun_ns: int
    ended_ns: int | None
    """The end of its last exchange; None during the recording."""
    streams: tuple[Listening, ...]
    turns: tuple[Turn, ...]
    status: str | None = None
    """The last one on a stream or in a snapshot: `idle`, `running`, `waiting`, `failed`, `launching`."""
    status_ns: int | None = None
    snapshot: Snapshot | None = None
    """None if no client asked for one."""
    cost_usd: float | None = None
    """The cost of the whole session, as last reported."""
    heartbeats: int = 0
    """The number of heartbeats, within turns and between them."""
    started_at: str | None = None
    """Its beginning in UTC, ISO 8601; None if the recording has no times."""
    deleted_ns: int | None = None
    failures: tuple[FailedRequest, ...] = ()
    """The failed requests of clients, without client actions."""
    until_ns: int = 0
    """The end of its last exchange; without an end, the last known time of the recording."""
    request: str | None = None
    """The request in words if this is a stream of an unknown API, which has no turns; else None."""
    unreadable: str | None = None
    """Why the events of a stream cannot be decoded; None if they can."""
    last_error: str | None = None
    """The error in the last event of a stream of an unknown API; None if that is no error."""
    conversation: int | None = None
    """The number of the conversation, if this is one of model calls without Omnigent."""

    @property
    def duration_ns(self) -> int | None:
        """From the first request of a client to `until_ns`; None if the recording has no times."""
        until_ns = max(self.until_ns, self.ended_ns or 0)
        return until_ns - self.begun_ns if until_ns > self.begun_ns else None


SESSION_DELETED = "session_deleted"
"""The error code of an unfinished turn in which a client deleted the session."""
