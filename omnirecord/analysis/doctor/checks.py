"""The table of checks, by their codes: usual severity, why it matters, next step.

A code is stable: scripts rely on it. The order is from cause to symptom. `EXPLAINS` lists the effects of each cause,
which are always codes further down. Each code has a page in `docs/doctor/`; a test compares page and table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ...omnigent.protocol import SESSION_INPUT_CONSUMED


@dataclass(frozen=True, slots=True)
class Code:
    severity: Literal["note", "warning", "error"]
    """The usual severity; a finding may have a lower one."""
    why: str
    next: str


_error = partial(Code, "error")
_warning = partial(Code, "warning")
_note = partial(Code, "note")
CODES: Mapping[str, Code] = {
    # What only the hop to the model shows: the client was told otherwise, or the cause of a failure.
    "model-failed-hidden": _error(
        "The provider failed, but the server told the client that the turn is completed. The answer may end in the"
        " middle.",
        "Run omnirecord show CASSETTE to see the calls of each turn. Then read the provider's error, and ask again.",
    ),
    "model-truncated-hidden": _error(
        "The model stopped before the answer was complete, but the server told the client that the turn is completed.",
        "Read the reason: a token limit can be raised; a content filter or a refusal needs another question.",
    ),
    "model-failed": _error(
        "The provider refused the call or failed, or the answer was cut. So the model gave no complete answer.",
        "Run omnirecord show CASSETTE to see the provider's error, or the answer up to the cut. For a refused request,"
        " run omnirecord request CASSETTE N to see all of its answer.",
    ),
    "model-truncated": _warning(
        "The model stopped before the answer was complete.",
        "Read the reason: a token limit can be raised; a content filter or a refusal needs another question.",
    ),
    "model-rate-limited": _warning(
        "The provider refused calls, because a rate limit was reached or the provider was overloaded. The turn waits,"
        " or fails.",
        "Compare the limits of the account with the calls at that time. omnirecord show CASSETTE prints each call.",
    ),
    # A party is gone.
    "upstream-unreachable": _error(
        "Requests did not reach the server. The server is down, or the proxy's --upstream is wrong.",
        "Request the server's /health from the machine on which the proxy runs.",
    ),
    "runner-disconnected": _error(
        "The runner is gone. The server ends the turn after about 90 s, or never. Until then, clients show Working…",
        "Read the runner's log around the last event. Then start the runner and send the message again.",
    ),
    "runner-restarted": _error(
        "The server ran the turn again under another response id. A client that concatenates the deltas shows the"
        " beginning twice, and tools may have run twice.",
        "Find in the runner's log why it stopped. A client should drop a turn's text when its response id changes.",
    ),
    "session-deleted": _error(
        "A client deleted the session in the middle of a turn. The stream stays open, but carries only heartbeats.",
        "Find the client that sent the DELETE. A listening client should close its stream when a read returns 404.",
    ),
    "server-stopped": _error(
        "The server ended the stream, for example because the server stopped. Clients get no further events.",
        "Read the server's log at that second. A client should reconnect at once and read the snapshot first.",
    ),
    "reader-dropped": _error(
        "When 1,024 events wait for a client, the server discards these events and ends the client's stream.",
        "Find out why the client read so slowly. The client should reconnect at once and read the snapshot first.",
    ),
    "upstream-lost": _error(
        "The connection to the server broke in the middle of a response. The rest of the response never arrived.",
        "Read the server's log at that second (was it killed?). Then check the network between server and proxy.",
    ),
    "approval-lost": _error(
        "A restarted server does not know the questions from before the restart. If a client answers such a question,"
        " the server accepts the answer, but the agent does nothing.",
        "Send the message again. After a reconnect, a client should discard open questions and read the snapshot.",
    ),
    "heartbeats-stopped": _error(
        "The server sends a session heartbeat every 15 s. A stream without heartbeats is dead, although the connection"
        " looks open.",
        "Check the network between server and proxy. A client should reconnect after 45 s without a byte.",
    ),
    "recorder-killed": _warning(
        "The recording ends at the time when the recorder was killed. The session may have continued.",
        "Find out what killed the proxy. A later stream, or the server's snapshot, has the rest of the session.",
    ),
    "recorder-stopped": _note(
        "The proxy was stopped during a turn, so the recording does not have the rest of the turn.",
        "Read the server's snapshot of this session, which has the rest of the turn.",
    ),
    "recording-degraded": _warning(
        "For a time, the recorder could not record everything. Events that are missing in the recording may have"
        " reached the client.",
        "Check the free space and the speed of the disk at that time.",
    ),
    "stream-not-decoded": _warning(
        "omnirecord cannot decode the events of this stream. So doctor may report recorded events as lost.",
        "Check Content-Encoding in the response: omnirecord decodes gzip, deflate, br and zstd.",
    ),
    "other-api": _note(
        "The events belong to another API, but the recorder validated them against Omnigent's contract. doctor ignores"
        " the results.",
        "Record without --contract, or with a schema. Read this recording with the option --contract auto. Run"
        " omnirecord validate CASSETTE --contract FILE to check it.",
    ),
    # Events that are broken, repeated or out of order.
    "malformed": _error(
        "A client cannot parse the event. The client skips the event, or stops.",
        "Run omnirecord events CASSETTE --verdict malformed --json to read the raw bytes.",
    ),
    "event-type-differs": _error(
        'The "event:" line and the data of an event name different types. Some clients read the line, others the data.',
        "Run omnirecord events CASSETTE --verdict invalid --json to read the frames.",
    ),
    "contract-invalid": _error(
        "A client with typed events drops an invalid event, often without an error.",
        "Run omnirecord validate CASSETTE to list every field that does not fit.",
    ),
    "contract-unknown": _warning(
        "The contract does not have the type of the event. The server may be newer than the contract. A client that"
        " does not know the type skips the event.",
        "Run omnirecord validate CASSETTE --contract openapi.json with the file of this server's version.",
    ),
    "event-repeated": _error(
        "The same event arrived twice. A client that concatenates deltas shows the text twice.",
        "Look for a proxy between server and recorder that retries. Clients should deduplicate by id.",
    ),
    "sequence-repeats": _warning(
        "Two events of one turn have the same sequence number. One of the two may be a copy, or may have been changed"
        " on the way.",
        "Compare both events, and compare the text with the stored item.",
    ),
    "sequence-goes-back": _error(
        "Events of one turn arrived in the wrong order. A client that concatenates the deltas shows a garbled text.",
        "Read the events around this one. Then check for another proxy between server and recorder.",
    ),
    # Behaviour of agent, model and clients.
    "message-ran-twice": _error(
        "The agent took in one message in two turns. Its tools may have run twice, and clients show two answers.",
        "Check whether two runners have the same id, or whether the server was restarted after the message.",
    ),
    "answer-astray": _error(
        "A client answered a question that the agent had not asked, while another question was open. So the open"
        " question has no answer.",
        "Compare the elicitation_id of the answer with the elicitation_id of the question.",
    ),
    "approval-unanswered": _error(
        "The agent waits for an answer. After a time limit, or when the client closes the POST of its message, the"
        " server treats the question as denied.",
        "Check whether a client showed the question. The server does not send an open question again; only the"
        " snapshot contains the question. Then check the timeout of the client's POST.",
    ),
    "approval-too-late": _error(
        "The server had already denied the question. The server accepts a late answer, but the agent does nothing.",
        "Send the message again, and answer in time. Then check the timeout of the client's POST.",
    ),
    "child-unfinished": _warning(
        "The parent session waits for a sub-agent, and the sub-agent never reported its end.",
        "Run omnirecord doctor CASSETTE ID with the id of the sub-agent's session.",
    ),
    "turn-failed": _error(
        "The turn ended with an error instead of an answer.",
        "Read the error's code and message. Then read the log of the runner or of the model's provider.",
    ),
    "message-refused": _error(
        "The server refused the client's message, so the agent does not get the message.",
        "Read the body of the server's response, and check whether a runner was online.",
    ),
    "request-failed": _error(
        "The server refused a client's request, or failed to process the request. A failed PATCH, PUT, POST or DELETE"
        " probably changed nothing. After a failed GET, the client has old data or no data.",
        "Run omnirecord request CASSETTE N to read the answer. Then read the server's log.",
    ),
    "request-unanswered": _warning(
        "A client waited 30 s or longer for the answer to a request that changes something. The server sent no answer.",
        "Run omnirecord request CASSETTE N to read the request. Then read the server's log at that time.",
    ),
    "runner-silent": _error(
        "The server sends heartbeats, but the runner stopped in the middle of a turn: the runner was killed, or hangs."
        " The server reports a lost runner after about 90 s, or never.",
        "Check the runner's process (GET /v1/runners/ID/status) and its log.",
    ),
    "model-silent": _error(
        "The runner sends response heartbeats, but the model sends nothing. So the turn hangs.",
        "Check the model's provider, and the runner's timeout for the model.",
    ),
    "reconnect-missed": _error(
        "After a reconnect, the stream repeats only the text of an unfinished turn, not the other missed events. A"
        " client that does not read the session's snapshot keeps showing Working…",
        "Check that the client reads GET /v1/sessions/ID after each reconnect, and uses its status.",
    ),
    "tool-repeated": _warning(
        "The agent called a tool with the same arguments again and again in one turn. So the agent may be in a loop.",
        "Run omnirecord show CASSETTE --full to read the outputs of these calls.",
    ),
    "tool-failed": _warning(
        "A tool call failed. The agent continues without the result. The agent may call the tool again, or invent a"
        " result.",
        "Run omnirecord show CASSETTE --full to read the call's arguments and its output.",
    ),
    "client-left-in-turn": _warning(
        "The agent continued, but no client listened. The server stores the later messages and tool calls (items), but"
        " no other later events.",
        "Find out why the client closed its stream: its own timeout, a closed tab, a crash.",
    ),
    "tool-without-output": _error(
        "The agent called a tool and never got the output. The tool hangs or failed, or the output was lost.",
        "Check the tool with the arguments of the call, then read the log of the runner.",
    ),
    "command-failed": _warning(
        "The recorded command failed. It may have failed after the last answer, so the conversation looks finished.",
        "Read the output of the command.",
    ),
    "message-not-taken": _error(
        f"A client sent the message, but no {SESSION_INPUT_CONSUMED} event says that the agent got it.",
        "Check whether a runner was online, and whether the agent was busy with another turn.",
    ),
    # Effects of those above, or of a lost event.
    "turn-unfinished": _error(
        "No event ended the turn. A client that waits for the end of the turn waits forever.",
        "Read the last events of the turn, and check in the session's snapshot whether the answer was stored.",
    ),
    "turn-without-beginning": _warning(
        "A turn ended, but no event began the turn. A client may show the text of the turn under the previous turn.",
        "Read the events before the first event of the turn.",
    ),
    "event-after-end": _warning(
        "An event of a turn arrived after the end of the turn. A client that stops reading at the end misses the"
        " event.",
        "Check the order in which the server sent the events. Then check for another proxy before the recorder.",
    ),
    "turn-incomplete": _warning(
        "The server reported the turn as incomplete, so the answer may stop in the middle.",
        "Read the reason in the response: a limit of the model or of the agent.",
    ),
    "output-without-call": _warning(
        "A tool output arrived without the tool call. A client cannot show the call to which the output belongs.",
        "Read the events before the output: the call may have been lost.",
    ),
    "approval-unasked": _warning(
        "The stream reported the answer to a question, but not the question. So the client could not show the"
        " question.",
        "Read the events before the answer: the question may have been lost.",
    ),
    "approval-answered-twice": _warning(
        "One question got two answers, and only one of the answers counts.",
        "Find the sender of each answer: two clients, or one client that retried.",
    ),
    "approval-asked-again": _note(
        "The server sent the same question again. A client that shows each copy asks the user twice.",
        "Check that the client deduplicates questions by elicitation_id.",
    ),
    "text-differs-from-item": _error(
        "The streamed text differs from the stored text. After a reload, the user reads a different text.",
        "Read the deltas of this text. A client should replace them by the item's text when the item arrives.",
    ),
    "text-never-stored": _warning(
        "The user saw a text that no stored item contains. After a reload, the text is gone.",
        "Read the session's items: GET /v1/sessions/ID/items.",
    ),
    "item-differs-from-stored": _warning(
        "An item on the stream differs from the same item in the server's answer to a read request.",
        "Compare both texts: omnirecord events, and the answer of the exchange.",
    ),
    "items-missed": _warning(
        "The server stored items that no stream carried. A client that only reads streams does not have these items.",
        "Check which clients were connected at that time. A client should read the items after each reconnect.",
    ),
    "items-never-stored": _warning(
        "The stream carried items that the server did not store. After a reload, these items are gone.",
        "Read the server's log. Check whether the session was switched, compacted or cleared in between.",
    ),
    "status-unknown-transition": _warning(
        "Omnigent's reference page does not list this change of status. A client that tracks the status may get stuck.",
        "Read the events around the change, and check whether a status was lost.",
    ),
    "status-left-running": _warning(
        "The turn is over, but the last status on the stream says that the session is running. Clients keep showing"
        " Working…",
        "Check whether a status was lost, and read the status in the session's snapshot.",
    ),
    "silent-while-running": _warning(
        "The session was running, but only heartbeats arrived for a long time. To users, the session looks stuck.",
        "Find out what the turn waited for: a model, a tool, a sub-agent. omnirecord show CASSETTE marks the silences.",
    ),
    "heartbeats-late": _warning(
        "The server sends a session heartbeat every 15 s. Proxies and clients close a stream that is silent for much"
        " longer.",
        "Check the load of the server at that time, and buffering between server and proxy.",
    ),
    "no-done": _error(
        "In the API of this stream, a complete answer ends with [DONE] or a final event. Without this end, a client"
        " cannot tell a complete stream from a cut stream.",
        "Read the server's log at that second, and check whether the response was completed.",
    ),
    "truncated": _warning(
        "An event was cut, or was too large to be recorded. The recording does not have the whole event.",
        "Check how its stream ended, and how large the event was.",
    ),
    "reader-slow": _warning(
        "The client received events long after the proxy received them. When 1,024 events wait for a client, the"
        " server ends the client's stream.",
        "Find out what the client does between two reads.",
    ),
    "tokens-differ": _warning(
        "The server and the provider report different token counts. So a client may show wrong costs.",
        "Compare the usage of each call in omnirecord show CASSETTE --json with the usage of the turn.",
    ),
    # Notes.
    "model-retried": _note(
        "The agent sent a request to the model more than once while the user waited.",
        "Run omnirecord show CASSETTE to read the errors of the earlier attempts. A rate limit or an overload passes.",
    ),
    "model-left-open": _note(
        "The provider sent the whole answer, but did not close the connection. A client that waits for the close waits"
        " in vain.",
        "Check that the client stops reading at the final event of the answer.",
    ),
    "retried": _note(
        "A model call or a tool call failed and was retried while the user waited.",
        "Read the error in the message: the provider's or the tool's.",
    ),
    "turn-interrupted": _note(
        "The user stopped the turn, so the turn has no complete answer. Omnigent's server ends an interrupted turn"
        " without a response.* event.",
        "Nothing to do, unless the interrupt was a mistake.",
    ),
    "reconnected": _note(
        "A client reconnected. The server sent the text of the unfinished turn again, but no reasoning text.",
        "Find out why the previous stream ended.",
    ),
}
RANK: Mapping[str, int] = {code: number for number, code in enumerate(CODES)}

_LOST = frozenset(
    {
        "turn-unfinished",
        "tool-without-output",
        "approval-unanswered",
        "child-unfinished",
        "message-not-taken",
        "silent-while-running",
        "status-left-running",
        "text-never-stored",
        "heartbeats-late",
    }
)
"""Effects of a party that is gone."""
_UNHEARD = _LOST | {"items-missed", "truncated", "no-done", "turn-without-beginning", "text-differs-from-item"}
"""Effects of a time in which no client listened."""
_CUT_OFF = _UNHEARD | {
    "approval-lost",
    "message-ran-twice",
    "request-unanswered",
    "reconnect-missed",
    "message-refused",
    "request-failed",
}
"""Effects of a server that the clients cannot reach."""
_HIDDEN = frozenset({"text-never-stored", "text-differs-from-item", "tokens-differ"})
"""Effects of a bad end that the client was not told of."""
_UNREAD = frozenset(
    {
        "turn-unfinished",
        "turn-without-beginning",
        "tool-without-output",
        "output-without-call",
        "approval-unasked",
        "text-differs-from-item",
        "text-never-stored",
        "status-left-running",
        "message-not-taken",
        "items-missed",
        "status-unknown-transition",
        "item-differs-from-stored",
    }
)
"""Effects of events that cannot be decoded."""

_MAY_EXPLAIN: Mapping[str, frozenset[str]] = {
    "model-failed-hidden": _HIDDEN | {"model-rate-limited", "model-retried"},
    "model-truncated-hidden": _HIDDEN,
    "model-failed": _LOST | {"turn-failed", "model-retried", "retried", "turn-incomplete"},
    "model-truncated": frozenset({"turn-incomplete", "turn-failed"}),
    "model-rate-limited": frozenset({"model-retried", "retried", "silent-while-running"}),
    "approval-lost": _LOST,
    "runner-disconnected": _LOST | {"turn-failed", "runner-silent", "message-refused", "client-left-in-turn"},
    "runner-restarted": _LOST | {"client-left-in-turn", "message-refused", "request-failed", "items-never-stored"},
    "session-deleted": _LOST | {"request-failed", "message-refused", "client-left-in-turn"},
    "server-stopped": _CUT_OFF,
    "reader-dropped": _UNHEARD | {"reconnect-missed", "reader-slow"},
    "upstream-lost": _CUT_OFF,
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
    "answer-astray": _LOST | {"approval-unanswered", "approval-too-late", "approval-unasked", "message-refused"},
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
"""Code to the codes that it may explain, if both cover the same time: codes further down in `CODES`."""
