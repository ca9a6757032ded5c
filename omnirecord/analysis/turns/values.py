"""What a told session is made of. Everything is frozen; the fields of `Turn` are the keys of `show --json`.

All times are ns on the recording's clock, as everywhere in a cassette; None where the thing was not seen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ...model import Ending
from .requests import FailedRequest

Ended = Literal["completed", "failed", "incomplete", "cancelled", "interrupted", "denied", "unfinished"]
"""How a turn ended. `interrupted`: a user stopped it; `denied`: a policy, or the user it asked, refused the message;
`unfinished`: no event of the recording says how, be it that it still went on or that nobody heard its end."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What set a turn off, or was said while it ran."""

    text: str
    at_ns: int
    """When the request that posted it began; where that is not recorded, when the agent took it in."""
    by: Literal["user", "agent", "system"]
    """`agent`: the one whose sub-agent this is; `system`: Omnigent itself, as when a sub-agent has finished."""
    place: int = 0
    """Its place among the turn's events: the order of what came at one time."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of the assistant's text, or of its thoughts, put together from its deltas."""

    text: str
    first_ns: int
    last_ns: int
    pieces: int
    """How many deltas it came in; 0 where only the finished item was seen."""
    as_stored: bool | None = None
    """Whether it equals the item that the server stored; None where no such item was seen."""
    place: int = 0
    """Its place among the turn's events: the order of what came at one time."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool call."""

    call_id: str
    name: str
    arguments: str
    """As the model wrote them: usually JSON."""
    output: str | None
    """Text, or JSON where it was no text; None where none was seen."""
    called_ns: int
    returned_ns: int | None
    status: str | None
    """The last that the wire gave: `in_progress`, `completed`…"""
    place: int = 0
    """Its place among the turn's events: the order of what came at one time."""
    failed: str | None = None
    """How it failed, by its output: `exit code 2`, the text of its error; None if nothing says that it did."""
    replaced: str | None = None
    """The arguments that the model wrote, if the server replaced them by `{}`; else None."""


@dataclass(frozen=True, slots=True)
class Approval:
    """A question to the user for which the turn waited."""

    elicitation_id: str
    message: str
    asked_ns: int
    resolved_ns: int | None
    """When the stream said that it was settled."""
    action: str | None
    """`accept`, `decline` or `cancel`; None where nobody answered."""
    answered_ns: int | None
    """When the answer was posted, if that was recorded."""
    answered_by: str | None
    """The party that posted it."""
    place: int = 0
    """Its place among the turn's events: the order of what came at one time."""
    left_ns: int | None = None
    """When the client closed the POST that raised it, before the server answered that POST."""


@dataclass(frozen=True, slots=True)
class Child:
    """A sub-agent's session, spawned in this turn."""

    session_id: str
    title: str | None
    spawned_ns: int
    updated_ns: int | None
    """When its last status came."""
    status: str | None
    """`launching`, `in_progress`, `completed`, `failed`…"""
    last_message: str | None
    place: int = 0
    """Its place among the turn's events: the order of what came at one time."""


@dataclass(frozen=True, slots=True)
class TurnUsage:
    """The tokens and the cost of one turn; None where the server did not say."""

    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    total_tokens: int | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a turn did not end well."""

    code: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that failed in a turn without ending it: an error, or a failure that was tried again."""

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
    """Its place among the turn's events: the order of what came at one time."""


@dataclass(frozen=True, slots=True)
class Note:
    """Anything else worth telling, in a sentence."""

    at_ns: int
    text: str
    place: int = 0
    """Its place among the turn's events: the order of what came at one time."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A stretch of a turn without an event, heartbeats apart."""

    from_ns: int
    length_ns: int
    during: str | None
    """What was being waited for: `approval`, or a tool's name; None where nothing says."""
    heartbeats: int = 0
    """How many came in it."""
    unheard_ns: int = 0
    """For how much of it nobody was connected, so that something may have come."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: what was asked, what happened, how it ended."""

    recording: int
    session_id: str | None
    turn: int
    """Counts the turns of a session in its recording, from 1."""
    asked: tuple[Asked, ...]
    asked_ns: int | None
    started_ns: int
    """When the first event of the turn came; where none did, when it was asked."""
    first_text_ns: int | None
    ended_ns: int | None
    """When it was over; None for an unfinished one."""
    last_event_ns: int
    ended: Ended
    error: Fault | None
    text: str
    """What the assistant said: its messages, a blank line between them."""
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
    """All that were long: `LONG_SILENCE` or longer, unless something else was asked for."""
    events: int
    """How many events it has, heartbeats and the connect snapshot apart."""
    odd_events: int
    """How many of them are not `valid`."""
    heartbeats: int
    restarts_ns: tuple[int, ...] = ()
    """When the server ran it again from its beginning, because its runner was restarted. `text` and `reasoning` are of
    the last attempt; `messages`, `thoughts` and `tools` of all."""
    joined_ns: int | None = None
    """When a client last connected that was sent what the turn had said so far: then it went on."""

    @property
    def begin_ns(self) -> int:
        """When it was asked, or, where that is not known or came later, when it began."""
        return self.started_ns if self.asked_ns is None else min(self.started_ns, self.asked_ns)


ServerAfter = Literal["answered", "gone", "restarted"]
"""What a server did after it had ended a stream. `answered`: it went on, so only that stream was given up; `gone`: it
could not be reached any more; `restarted`: what answered was a new run of it."""


@dataclass(frozen=True, slots=True)
class Listening:
    """One stream of a session: somebody listened."""

    stream: int
    party: str
    from_ns: int
    until_ns: int | None
    ending: Ending
    server_after: ServerAfter | None = None
    """None where the recording does not tell, or the server did not end it."""
    party_name: str = "client"
    """What a person calls the party."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the server said of a session when a client last asked for it (`GET /v1/sessions/{id}`)."""

    at_ns: int
    """When it was asked."""
    status: str | None
    title: str | None
    agent: str | None
    model: str | None
    runner_online: bool | None
    pending: tuple[str, ...]
    """The ids of the elicitations that wait for an answer."""
    last_said: str | None = None
    """The last message of the assistant among its items."""


@dataclass(frozen=True, slots=True)
class Session:
    """One session in one recording. `session_id` is None for a stream that belongs to none."""

    recording: int
    session_id: str | None
    parent_id: str | None
    begun_ns: int
    ended_ns: int | None
    """When the last thing in it ended; None while it is being recorded."""
    streams: tuple[Listening, ...]
    turns: tuple[Turn, ...]
    status: str | None = None
    """The last that a stream or a snapshot gave: `idle`, `running`, `waiting`, `failed`, `launching`."""
    status_ns: int | None = None
    """When that was said."""
    snapshot: Snapshot | None = None
    """None where no client asked for one."""
    cost_usd: float | None = None
    """What all of it cost, as the server last said."""
    heartbeats: int = 0
    """How many came, within turns and between them."""
    started_at: str | None = None
    """UTC, ISO 8601: when it began; None where no times were recorded."""
    deleted_ns: int | None = None
    """When a client deleted it."""
    failures: tuple[FailedRequest, ...] = ()
    """The requests of clients that the server did not fulfil, messages and other acts aside."""
    until_ns: int = 0
    """When its last exchange ended; of one without an end, the last that is known of its recording."""

    @property
    def duration_ns(self) -> int | None:
        """From the first request of a client to `until_ns`; None where the recording has no times."""
        until_ns = max(self.until_ns, self.ended_ns or 0)
        return until_ns - self.begun_ns if until_ns > self.begun_ns else None


SESSION_DELETED = "session_deleted"
"""The code of an unfinished turn's error, if a client deleted the session in the middle of it."""
LONG_SILENCE = 5_000_000_000
"""From how many ns on a silence is told."""


def turn_row(
    turn: Turn,
    stopped: dict[str, str] | None = None,
    conclusion: dict[str, Any] | None = None,
    begun_ns: int | None = None,
) -> dict[str, Any]:
    """A turn as `show --json` prints it. `stopped` and `conclusion`: of a session's last turn, why there is no more,
    and how the session ended. `begun_ns`: when the session began."""
    return {**asdict(turn), "session_begun_ns": begun_ns, "stopped": stopped, "conclusion": conclusion}
