"""The columns of `sessions`, `query` and the lake: the name, the type and the meaning of each.

To add a column to `TABLES`, add an entry here, and its value in `analysis.query`; for `sessions`, in `Summary` of
`analysis.sessions`. Then `query`, the lake with its views, `lake sessions` and the page on a lake have the column. The
value of a column in `RECORDED` is made in `lake.extract`. `cli.stats_columns` has the table of `stats`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Join = Literal[
    "any",
    "min",
    "max",
    "sum",
    "longest",
    "first",
    "last",
    "conclusion",
    "finding",
    "turns' sum",
    "turns' median",
    "own",
]
"""The value of a column for a session or a turn with parts in several recordings. `first`, `last`: that of the part
which began first, or ended last. `longest`: the longest text. `conclusion`: that of the last part with a stream.
`finding`: that of the part with the worst finding. `turns' …`: over the turns of the session. `own`: `lake.sql` has an
expression for it."""


class Column(NamedTuple):
    name: str
    """With the suffix `_at`, a time in UTC: ISO 8601 here, a timestamp in a lake."""
    type: type
    """`str`, `int` or `float`."""
    about: str
    join: Join | None = None
    """None: `whole_sessions` and `whole_turns` of a lake do not have it."""


class Table(NamedTuple):
    about: str
    columns: tuple[Column, ...]

    @property
    def types(self) -> dict[str, type]:
        return {column.name: column.type for column in self.columns}


_RECORDING = Column("recording", int, "Number of the recording")
_STREAM = Column("stream", int, "Number of the stream, if it has no session")
_OF_TURN = (
    _RECORDING,
    Column("session_id", str, "Session"),
    _STREAM,
    Column("turn", int, "Number of the turn in the session, from 1"),
)

TABLES = {
    "sessions": Table(
        "One row per session and recording: what was asked, how it ended, its worst finding, its tokens.",
        (
            _RECORDING,
            Column("session_id", str, "Session, or `conversation-2`; NULL for a stream without a session", "own"),
            _STREAM._replace(join="own"),
            Column("parent_session_id", str, "Session that started it as its sub-agent", "any"),
            Column("started_at", str, "First request of a client, UTC", "min"),
            Column("duration_s", float, "From the first request to the end of the last exchange", "own"),
            Column("asked", str, "First question of the user", "first"),
            Column("model", str, "Model of the last turn; without one, the agent's name", "last"),
            Column("turns", int, "Number of turns", "own"),
            Column("outcome", str, "`finished`, `failed`, `unfinished`, `recording` or `unknown`", "conclusion"),
            Column("verdict", str, "How it ended, in a few words", "conclusion"),
            Column("conclusion_code", str, "How it ended, as a code", "conclusion"),
            Column("since", str, "Since when it has this state, UTC", "conclusion"),
            Column("connected", str, "Clients that were connected at the end, as JSON"),
            Column("finding_code", str, "Worst finding of `doctor`", "finding"),
            Column("finding_severity", str, "Its severity: `error`, `warning` or `note`", "finding"),
            Column("finding_message", str, "Its sentence", "finding"),
            Column("errors", int, "Number of findings with the severity error", "sum"),
            Column("warnings", int, "Number of warnings", "sum"),
            Column("notes", int, "Number of notes", "sum"),
            Column("input_tokens", int, "Input tokens of its turns, as the server reported them", "turns' sum"),
            Column("output_tokens", int, "Output tokens", "turns' sum"),
            Column("total_tokens", int, "Total tokens", "turns' sum"),
            Column("cost_usd", float, "Cost of its turns", "turns' sum"),
            Column("first_token_s", float, "Median of `first_token_s` of its turns", "turns' median"),
            Column("tool_s", float, "Total time of its tool calls", "turns' sum"),
            Column("approval_s", float, "Total time in which it waited for approvals", "turns' sum"),
            Column("streams", int, "Number of streams", "sum"),
            Column("exchanges", int, "Number of requests and WebSockets of clients", "sum"),
            Column("events", int, "Number of events; an event that two clients received counts once", "sum"),
            Column("frames", int, "Number of events and comments of all streams"),
            Column("response_bytes", int, "Bytes of all responses, as sent", "sum"),
        ),
    ),
    "turns": Table(
        "One row per turn: what was asked, the answer, how it ended, how long it took.",
        (
            _RECORDING,
            Column("session_id", str, "Session; NULL for a stream without a session", "own"),
            _STREAM._replace(join="any"),
            Column("turn", int, "Number of the turn in the session, from 1", "own"),
            Column("asked_at", str, "When the message was sent, UTC", "own"),
            Column("started_at", str, "First event of the turn, UTC", "min"),
            Column("ended_at", str, "End of the turn, UTC; NULL if it is unfinished", "max"),
            Column(
                "ended",
                str,
                "`completed`, `failed`, `incomplete`, `cancelled`, `interrupted`, `denied` or `unfinished`",
                "own",
            ),
            Column("asked", str, "Messages of the turn, separated by empty lines", "any"),
            Column("text", str, "Answer of the assistant", "longest"),
            Column("reasoning", str, "Thoughts of the assistant"),
            Column("error_code", str, "Code of its error", "any"),
            Column("error_message", str, "Message of its error", "any"),
            Column("agent", str, "Name of the agent", "any"),
            Column("model", str, "Name of the model", "any"),
            Column("response_id", str, "Id of the response", "any"),
            Column("duration_s", float, "From the POST of the message to the end of the turn", "own"),
            Column("first_event_s", float, "From the POST to the first event"),
            Column("first_token_s", float, "From the POST to the first token of text or reasoning", "own"),
            Column("first_text_s", float, "From the POST to the first token of text"),
            Column("streaming_s", float, "Total time in which text or reasoning arrived"),
            Column("tool_s", float, "Total time of its tool calls", "max"),
            Column("approval_s", float, "Total time in which it waited for approvals", "max"),
            Column("longest_silence_s", float, "Longest time without an event, except heartbeats"),
            Column("input_tokens", int, "Input tokens, as the server reported them", "max"),
            Column("output_tokens", int, "Output tokens", "max"),
            Column("reasoning_tokens", int, "Reasoning tokens"),
            Column("total_tokens", int, "Total tokens", "max"),
            Column("cost_usd", float, "Cost", "max"),
            Column(
                "output_tokens_per_s",
                float,
                "Rate of output tokens in `streaming_s`; NULL with a tool call, or below 20 ms",
            ),
            Column("deltas", int, "Number of deltas of text and reasoning"),
            Column("events", int, "Number of events, without heartbeats", "max"),
            Column("odd_events", int, "Number of events that do not fit the contract"),
            Column("heartbeats", int, "Number of heartbeats"),
            Column("tools", int, "Number of tool calls", "max"),
            Column("approvals", int, "Number of questions to the user"),
            Column("children", int, "Number of sub-agents that it started"),
            Column("asked_ns", int, "As `asked_at`"),
            Column("started_ns", int, "As `started_at`"),
            Column("first_token_ns", int, "First token of text or reasoning"),
            Column("first_text_ns", int, "First token of text"),
            Column("ended_ns", int, "As `ended_at`"),
            Column("last_event_ns", int, "Last event of the turn"),
        ),
    ),
    "tools": Table(
        "One row per tool call: its arguments, its output, how long it took.",
        (
            *_OF_TURN,
            Column("call_id", str, "Id of the call"),
            Column("name", str, "Name of the tool"),
            Column("arguments", str, "Arguments as the model wrote them, usually JSON"),
            Column("output", str, "Text, or other values as JSON; NULL without an output"),
            Column("status", str, "Last status that the server reported"),
            Column("failed", str, "How it failed, by its output; NULL if it did not fail"),
            Column("replaced", str, "Arguments of the model, if the server replaced them by `{}`"),
            Column("called_at", str, "Time of the call, UTC"),
            Column("returned_at", str, "Time of the output, UTC"),
            Column("duration_s", float, "From the call to its output"),
            Column("called_ns", int, "As `called_at`"),
            Column("returned_ns", int, "As `returned_at`"),
        ),
    ),
    "approvals": Table(
        "One row per question to the user: the answer, and how long the turn waited for it.",
        (
            *_OF_TURN,
            Column("elicitation_id", str, "Id of the question"),
            Column("message", str, "The question"),
            Column("action", str, "`accept`, `decline` or `cancel`; NULL without an answer"),
            Column("answered_by", str, "Client that answered"),
            Column("asked_at", str, "Time of the question, UTC"),
            Column("answered_at", str, "POST of the answer, UTC"),
            Column("resolved_at", str, "Event that closed the question, UTC"),
            Column("waited_s", float, "How long the turn waited"),
            Column("asked_ns", int, "As `asked_at`"),
            Column("answered_ns", int, "As `answered_at`"),
            Column("resolved_ns", int, "As `resolved_at`"),
            Column("left_ns", int, "When the client closed the POST that raised the question, before its response"),
        ),
    ),
    "model_calls": Table(
        "One row per call to a model: how it ended, how long it took, its tokens, its turn.",
        (
            _RECORDING,
            Column("hop", str, "Name of the upstream; NULL for the first one"),
            Column("exchange", int, "Number of the exchange"),
            Column("api", str, "API of the provider"),
            Column("model", str, "Model as the provider names it, else as the request does"),
            Column("response_id", str, "The provider's id of the answer"),
            Column("attempt", int, "Number among the attempts of its request, from 1"),
            Column("status", int, "HTTP status; NULL without a response"),
            Column("ending", str, "`completed`, `incomplete`, `failed`, `refused`, `cut`, `open` or `unknown`"),
            Column("reason", str, "The provider's word for the end"),
            Column("started_at", str, "Start of the call, UTC"),
            Column("first_byte_s", float, "From the start to the end of the response headers"),
            Column("first_token_s", float, "From the start to the first delta; NULL without a stream"),
            Column("duration_s", float, "From the start to the end of the answer"),
            Column("input_tokens", int, "Input tokens by the provider's count; cached ones included"),
            Column("output_tokens", int, "Output tokens by the provider's count; reasoning included"),
            Column("cached_tokens", int, "Input tokens that the provider read from its cache"),
            Column("reasoning_tokens", int, "Reasoning tokens"),
            Column("total_tokens", int, "Total tokens"),
            Column("system_chars", int, "Characters of the instructions in the request"),
            Column("tools_chars", int, "Characters of the tools in the request: names, descriptions, schemas"),
            Column("history_chars", int, "Characters of the messages up to the model's last answer"),
            Column("new_chars", int, "Characters of the messages after it"),
            Column("instructions", str, "Instructions in the request"),
            Column("asked", str, "Last message of the user in the request"),
            Column("text", str, "Answer of the model"),
            Column("tool_calls", str, "Tools that the model asks for, as JSON"),
            Column("error", str, "Error of the provider"),
            Column("finding", str, "Worst finding of `doctor` about the call"),
            Column("turn_recording", int, "Recording of its turn"),
            Column("session_id", str, "Session of its turn, or its conversation: `conversation-2`"),
            Column("call", int, "Number of its request in the conversation, from 1; NULL in a session of Omnigent"),
            Column("turn", int, "Its turn; NULL if none is known, or several are possible"),
            Column("by", str, "Evidence of the turn: `call_id`, `conversation`, `retry` or `time`"),
            Column("certainty", str, "`exact`, `likely` or `ambiguous`; NULL if no turn is possible"),
        ),
    ),
    "findings": Table(
        "One row per finding of doctor, the worst first.",
        (
            Column("code", str, "Code of the finding"),
            Column("severity", str, "`error`, `warning` or `note`"),
            Column("recording", int, "Recording of its session, else of its evidence"),
            Column("session_id", str, "Session; NULL for a finding of a whole recording"),
            Column("stream", int, "Stream of the evidence"),
            Column("seq", int, "First event of the evidence"),
            Column("seqs", str, "All events of the evidence, as JSON"),
            Column("message", str, "The finding in a sentence"),
            Column("because", str, "Code of the finding that is the cause"),
            Column("why", str, "What the code means"),
            Column("next", str, "What to do next"),
        ),
    ),
}
"""The tables that `query` computes. A lake has them, too."""

LakeType = Literal["binary", "bool", "int32", "int64", "issues", "labels", "string", "texts", "time"]
"""A type of Arrow; a list of issues, a map of labels, a list of texts; or a time in UTC, to the microsecond."""
ONLY_IN_LAKE: Mapping[str, Mapping[str, LakeType]] = {
    "sessions": {"child_session_ids": "texts"},
    "model_calls": {"turn_recording_id": "string"},
}
"""Further columns of `TABLES` in a lake."""
RECORDED: Mapping[str, Mapping[str, LakeType]] = {
    "events": {
        "session_id": "string",
        "exchange": "int32",
        "stream": "int32",
        "seq": "int32",
        "at": "time",
        "offset_ns": "int64",
        "sent_ns": "int64",
        "type": "string",
        "verdict": "string",
        "length": "int32",
        "raw": "string",
        "raw_bytes": "binary",
        "issues": "issues",
    },
    "reads": {
        "session_id": "string",
        "exchange": "int32",
        "n": "int32",
        "offset_ns": "int64",
        "sent_ns": "int64",
        "size": "int32",
        "is_lost": "bool",
    },
    "exchanges": {
        "session_id": "string",
        "exchange": "int32",
        "stream": "int32",
        "kind": "string",
        "party": "string",
        "at": "time",
        "request_at_ns": "int64",
        "method": "string",
        "target": "string",
        "request_headers": "string",
        "request_body": "binary",
        "response_at_ns": "int64",
        "status": "int32",
        "reason": "string",
        "response_headers": "string",
        "response_body": "binary",
        "end_ns": "int64",
        "ending": "string",
        "request_bytes": "int64",
        "response_bytes": "int64",
        "max_decoded": "int64",
        "derives_reads": "bool",
        "request_cut": "bool",
        "answered_from": "int32",
        "replaced": "bool",
    },
    "messages": {
        "session_id": "string",
        "exchange": "int32",
        "message": "int32",
        "at": "time",
        "at_ns": "int64",
        "sent_ns": "int64",
        "dir": "string",
        "opcode": "int32",
        "data": "binary",
    },
    "incidents": {
        "at": "time",
        "at_ns": "int64",
        "message": "string",
    },
    "problems": {
        "type": "string",
        "path": "string",
        "problem": "string",
        "count": "int64",
        "stream": "int32",
        "seq": "int32",
    },
    "recordings": {
        "recording": "int32",
        "run_id": "string",
        "started_at": "time",
        "started_at_text": "string",
        "version": "string",
        "contract": "string",
        "upstream": "string",
        "server_version": "string",
        "labels": "labels",
        "exchanges": "int64",
        "streams": "int64",
        "events": "int64",
        "sessions": "int64",
        "redact": "string",
        "shipped_at": "time",
        "shipped_by": "string",
        "hop": "string",
        "contract_given": "bool",
        "linked_recording_ids": "texts",
    },
}
"""The columns of the other tables of a lake. They hold a recording; the text form can be made of them, byte for byte.
`problems` has the columns of `validate --json`. Times with the suffix `_ns` are ns since the start of the recording.

`events.raw` has the frame if it is UTF-8, else `raw_bytes`; both are null if its bytes were dropped. Of an exchange
with `derives_reads`, `reads` has only the reads that do not follow from the events (`derived_reads`).
`response_body` of a stream is null unless it has a content coding. Headers are JSON pairs. `max_decoded` is the limit
in bytes at which the recorder stopped decoding. `request_cut`: the body of the request was not read to its end.
`answered_from`: the number of the exchange of another cassette that is the answer.
`replaced`: a later exchange took its place, in record mode `new_episodes`.
"""
