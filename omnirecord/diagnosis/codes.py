"""The codes that findings have: how bad each usually is, why it matters, what to look at next.

A code is stable: scripts rely on it. They stand from cause to symptom, and `EXPLAINS` says which of them is the cause
of which: always a code further up. Each has a page in `docs/doctor/`, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Code:
    severity: Literal["note", "warning", "error"]
    """What it usually is; a finding may be a lesser one."""
    why: str
    next: str


def _error(why: str, next: str) -> Code:
    return Code("error", why, next)


def _warning(why: str, next: str) -> Code:
    return Code("warning", why, next)


def _note(why: str, next: str) -> Code:
    return Code("note", why, next)


CODES: Mapping[str, Code] = {
    # The most specific first: a question that a server forgot when it stopped.
    "approval-lost": _error(
        "A server that was started again knows nothing of earlier questions. It takes the answer all the same, and the"
        " agent does nothing.",
        "Send the message again; a client should discard the open questions after a reconnect and read the snapshot.",
    ),
    # Somebody went away.
    "upstream-unreachable": _error(
        "These requests never reached the server: it is down, or the proxy's --upstream names another place.",
        "Ask the server's /health from the machine that the proxy runs on.",
    ),
    "runner-disconnected": _error(
        "The runner is gone, and with it the turn: no event will ever end it, and clients go on saying Working…",
        "The runner's log around the last event; then start the runner again and repeat the message.",
    ),
    "runner-restarted": _error(
        "The server ran the turn again under another response id: a client that adds up its text has the beginning"
        " twice, and tools may have run twice.",
        "The runner's log: why it stopped. A client should drop a turn's text when its response id changes.",
    ),
    "session-deleted": _error(
        "A client deleted the session while its turn ran. The stream stays open and brings nothing but heartbeats.",
        "The client that sent the DELETE; a client that listens should close its stream when a read answers 404.",
    ),
    "server-stopped": _error(
        "The server ended the stream without a [DONE], so nobody can tell this end from a finished session.",
        "The server's log at that second; a client should reconnect at once and read the snapshot first.",
    ),
    "reader-dropped": _error(
        "The server throws away what a reader has not taken once 1,024 events wait for it, and ends its stream: the"
        " events are lost.",
        "Why the client read so slowly; it should reconnect at once and read the snapshot first.",
    ),
    "upstream-lost": _error(
        "The connection to the server broke in the middle of a response: what was under way never arrived.",
        "The server's log at that second (was it killed?), then the network between it and the proxy.",
    ),
    "heartbeats-stopped": _error(
        "A stream that brings nothing at all, not even a heartbeat every 15 s, is dead, though it looks open.",
        "The network between server and proxy; a client should reconnect after 45 s without a byte.",
    ),
    "recorder-killed": _warning(
        "The recording ends where the recorder was killed, not where the session ended.",
        "What killed the proxy; what followed is only in the server's snapshot.",
    ),
    "recorder-stopped": _note(
        "The recording ends where the proxy was stopped, in the middle of things: what followed is not in here.",
        "The server's snapshot of this session, for how it went on.",
    ),
    "recording-degraded": _warning(
        "For a while not everything could be recorded, so that what seems lost may only be missing here.",
        "The room on the disk, and its speed, at that time.",
    ),
    "stream-not-decoded": _warning(
        "The events of this stream cannot be read, so that what seems lost may be in its bytes.",
        "Content-Encoding in the response: omnirecord decodes gzip, deflate, br and zstd.",
    ),
    # What came is not what was sent, or should not have been.
    "malformed": _error(
        "A client cannot read such an event, and leaves it out or stops.",
        "The raw bytes: omnirecord events CASSETTE --verdict malformed --json.",
    ),
    "event-type-differs": _error(
        "A client that goes by the event: line sees another event than one that goes by the type.",
        "The frames: omnirecord events CASSETTE --verdict invalid --json.",
    ),
    "contract-invalid": _error(
        "A typed client drops such an event, often without a word.",
        "omnirecord validate CASSETTE, for every field that does not fit.",
    ),
    "contract-unknown": _warning(
        "A client that does not know the type leaves the event out: the server may be newer than the contract.",
        "omnirecord validate CASSETTE --contract openapi.json, with the file of this server's version.",
    ),
    "event-repeated": _error(
        "The same event came twice: a client that adds up what comes has it twice.",
        "What is between server and proxy: a proxy that tries again? Clients should go by ids.",
    ),
    "sequence-repeats": _warning(
        "Two events of one turn have the same number: one may be a copy, or have been changed on its way.",
        "Both events, and whether the text still equals the stored item.",
    ),
    "sequence-goes-back": _error(
        "Events of one turn came in another order than they were sent: text put together from them is garbled.",
        "The events around it; what is between server and proxy.",
    ),
    # What the agent or its model did.
    "approval-unanswered": _error(
        "The agent waits for a decision and does nothing else. The server denies it when its own time limit is over, or"
        " when the client closes the POST that raised it.",
        "Whether a client showed the question: a pending one is not sent again, it is only in the session's snapshot."
        " Then the timeout of the client's POST.",
    ),
    "approval-too-late": _error(
        "The server had denied the question already. It takes a late answer all the same, and the agent does nothing.",
        "Send the message again, and answer in time. Then the timeout of the client's POST.",
    ),
    "child-unfinished": _warning(
        "The parent waits for its sub-agent, which never said that it was through.",
        "The child's own session: omnirecord doctor CASSETTE with the child's id.",
    ),
    "turn-failed": _error(
        "An error came instead of an answer.",
        "The error's code and message; the log of the runner or of the model's provider.",
    ),
    "message-refused": _error(
        "The server did not take what the client sent: nothing will come of it.",
        "The answer's body, and whether a runner was online.",
    ),
    "request-failed": _error(
        "The server did not do what a client asked for: nothing was changed, or the client does not know how things"
        " are.",
        "The error in the answer, then the server's log at that second.",
    ),
    "runner-silent": _error(
        "The server lives, its heartbeats say so, but the runner has stopped in the middle of a turn: it was killed,"
        " or hangs. The server says so only after 90 s, if at all.",
        "Whether the runner's process is there: GET /v1/runners/ID/status, and its log.",
    ),
    "model-silent": _error(
        "The runner lives, its heartbeats say so, but the model it waits for has nothing to say: the turn hangs.",
        "The model's provider, and the time limit that the runner has for it.",
    ),
    "reconnect-missed": _error(
        "The stream tells nobody what was missed: a client that does not read the snapshot after it reconnects says"
        " Working… for ever.",
        "Whether the client reads GET /v1/sessions/ID after each reconnect, and goes by its status.",
    ),
    "tool-failed": _warning(
        "A tool did not do its work: the agent goes on without the result, and may try again or make one up.",
        "The call's arguments and its output: omnirecord show CASSETTE --full.",
    ),
    "client-left-in-turn": _warning(
        "Nobody listened any more while the agent worked on, and what it said then is stored nowhere but as items.",
        "Why the client closed its stream: a timeout of its own, a closed tab, a crash.",
    ),
    "tool-without-output": _error(
        "The agent called a tool and never got its answer: the tool hangs, or its answer was lost.",
        "The tool itself, with the arguments of the call; then the runner's log.",
    ),
    "message-not-taken": _error(
        "The client sent a message, but no event says that the agent took it in.",
        "Whether a runner was online, and what the agent was busy with.",
    ),
    # What follows from that, or stands alone where an event was lost.
    "turn-unfinished": _error(
        "No event ended the turn: a client that waits for one waits for ever.",
        "The last events of the turn, and the session's snapshot: did the answer get stored?",
    ),
    "turn-without-beginning": _warning(
        "A turn ended that was never said to begin: a client may show its text under the turn before.",
        "The events before its first one.",
    ),
    "event-after-end": _warning(
        "A client that stops reading a turn at its end has missed this.",
        "The order in which the server sent them; what is between server and proxy.",
    ),
    "turn-incomplete": _warning(
        "The answer is not whole.",
        "The reason that the response gives: a limit of the model or of the agent.",
    ),
    "output-without-call": _warning(
        "A tool answered that nobody had called: a client cannot show what it was for.",
        "The events before it; the call may have been lost.",
    ),
    "approval-unasked": _warning(
        "A question was settled that nobody was asked on the stream: the client could not show it.",
        "The events before it; the question may have been lost.",
    ),
    "approval-answered-twice": _warning(
        "Two answers were given to one question, and only one of them counts.",
        "Who sent each: two clients, or one that tried again.",
    ),
    "approval-asked-again": _note(
        "A client that shows each question it is sent shows this one twice.",
        "Whether the client goes by elicitation_id.",
    ),
    "text-differs-from-item": _error(
        "What the user saw growing is not what the server stored: after a reload it reads differently.",
        "The deltas of this text; clients should replace it by the item's once that comes.",
    ),
    "text-never-stored": _warning(
        "The user saw a text that no item holds: after a reload it is gone.",
        "The session's items: GET /v1/sessions/ID/items.",
    ),
    "item-differs-from-stored": _warning(
        "What came on the stream is not what the server says it stored.",
        "Both texts: omnirecord events, and the answer of the exchange.",
    ),
    "items-missed": _warning(
        "The server stored something that no stream carried: whoever only listened does not know of it.",
        "Who was connected at that time; clients should read the items after each reconnect.",
    ),
    "items-never-stored": _warning(
        "The stream carried something that the server did not store: after a reload it is gone.",
        "The server's log; whether the session was switched, compacted or cleared in between.",
    ),
    "status-unknown-transition": _warning(
        "The status went a way that the page does not know; a client that models it may be stuck.",
        "The events around it: was a status lost?",
    ),
    "status-left-running": _warning(
        "The turn is over, but the last status that the stream gave says it is not: clients go on saying Working…",
        "Whether a status was lost; the status in the session's snapshot.",
    ),
    "silent-while-running": _warning(
        "For a long time nothing happened though the session was said to run: users take it for stuck.",
        "What was under way: the model, a tool, a sub-agent; omnirecord show marks the silences.",
    ),
    "heartbeats-late": _warning(
        "Heartbeats come every 15 s; proxies and clients give up a stream that is quiet for much longer.",
        "How busy the server was, and what buffers between it and the proxy.",
    ),
    "no-done": _error(
        "Such a stream ends with [DONE]; one without it may be cut, and a client cannot tell.",
        "The server's log at that second, and whether the response was completed.",
    ),
    "truncated": _warning(
        "An event was cut off, or too large to be kept: what was in it is lost.",
        "How its stream ended, and how large the event was.",
    ),
    "reader-slow": _warning(
        "The client took its events much later than they came; 1,024 behind, the server would drop it.",
        "What the client does between two reads.",
    ),
    # Good to know.
    "retried": _note(
        "Something failed and was tried again, while the user waited.",
        "The error that the message names: the provider's, or the tool's.",
    ),
    "turn-interrupted": _note(
        "The user stopped the turn: it has no answer, and the live server sends no response.* end.",
        "Nothing, unless nobody meant to.",
    ),
    "reconnected": _note(
        "A client came back; the server had sent the text in flight again, so nothing was lost but thoughts.",
        "Why the stream before it ended.",
    ),
}  # fmt: skip
RANK: Mapping[str, int] = {code: number for number, code in enumerate(CODES)}

_LOST = frozenset({
    "turn-unfinished", "tool-without-output", "approval-unanswered", "child-unfinished", "message-not-taken",
    "silent-while-running", "status-left-running", "text-never-stored", "heartbeats-late",
})  # fmt: skip
"""What is not heard of any more, whoever is gone."""
_UNHEARD = _LOST | {"items-missed", "truncated", "no-done", "turn-without-beginning", "text-differs-from-item"}
"""What nobody was there to hear, or heard only in part."""
_UNREAD = frozenset({
    "turn-unfinished", "turn-without-beginning", "tool-without-output", "output-without-call", "approval-unasked",
    "text-differs-from-item", "text-never-stored", "status-left-running", "message-not-taken", "items-missed",
    "status-unknown-transition", "item-differs-from-stored",
})  # fmt: skip
"""What seems to be missing where it only could not be read."""

_MAY_EXPLAIN: Mapping[str, frozenset[str]] = {
    "approval-lost": _LOST,
    "runner-disconnected": _LOST | {"turn-failed", "runner-silent", "message-refused", "client-left-in-turn"},
    "runner-restarted": _LOST | {"client-left-in-turn", "message-refused", "request-failed", "items-never-stored"},
    "session-deleted": _LOST | {"request-failed", "message-refused", "client-left-in-turn"},
    "server-stopped": _UNHEARD | {"reconnect-missed", "message-refused", "request-failed"},
    "reader-dropped": _UNHEARD | {"reconnect-missed", "reader-slow"},
    "upstream-lost": _UNHEARD | {"reconnect-missed", "message-refused", "request-failed"},
    "heartbeats-stopped": _UNHEARD | {"reconnect-missed", "client-left-in-turn"},
    "recorder-killed": _UNHEARD - {"approval-unanswered"},
    "recorder-stopped": _UNHEARD - {"approval-unanswered"},
    "recording-degraded": _UNHEARD | _UNREAD | {"malformed"},
    "stream-not-decoded": _UNHEARD | _UNREAD | {"malformed"},
    "malformed": _UNREAD,
    "event-type-differs": _UNREAD | {"contract-invalid", "turn-failed", "turn-incomplete"},
    "contract-invalid": _UNREAD | {"turn-failed"},
    "contract-unknown": _UNREAD,
    "event-repeated": frozenset({"text-differs-from-item", "sequence-repeats"}),
    "sequence-repeats": frozenset({"text-differs-from-item"}),
    "sequence-goes-back": frozenset({"text-differs-from-item", "event-after-end", "turn-unfinished"}),
    "approval-unanswered": _LOST | {"client-left-in-turn", "turn-failed"},
    "approval-too-late": _LOST | {"client-left-in-turn", "turn-failed"},
    "child-unfinished": frozenset({"status-left-running", "silent-while-running"}),
    "turn-failed": _LOST,
    "runner-silent": _LOST | {"client-left-in-turn"},
    "model-silent": _LOST | {"client-left-in-turn"},
    "reconnect-missed": _UNHEARD | {"client-left-in-turn"},
    "tool-without-output": _LOST | {"client-left-in-turn", "items-missed"},
    "client-left-in-turn": _UNHEARD - {"approval-unanswered"},
    "message-not-taken": frozenset({"status-left-running", "silent-while-running", "items-missed"}),
    "no-done": frozenset({"turn-unfinished", "text-never-stored", "truncated", "client-left-in-turn"}),
    "turn-unfinished": frozenset({"status-left-running", "text-never-stored", "status-unknown-transition"}),
    "output-without-call": frozenset({"items-missed"}),
    "event-after-end": frozenset({"text-never-stored", "text-differs-from-item", "status-unknown-transition"}),
    "text-never-stored": frozenset({"items-missed"}),
}
EXPLAINS: Mapping[str, frozenset[str]] = {
    cause: frozenset(effect for effect in effects if RANK[effect] > RANK[cause])
    for cause, effects in _MAY_EXPLAIN.items()
}
"""Code to the codes that it may be the cause of, where both speak of the same time. A cause always stands before its
effect in `CODES`, so that no circle is possible."""
