"""The views of a lake over several tables: turns and sessions as a whole, over all recordings that hold a part.

A session has parts in several recordings if a load balancer split it over proxies, or if a recorder rotated its files.
Their times are wall-clock times, so they are as exact as the clocks of the recorders agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_CLOCKS = "INTERVAL 1 SECOND"
"""Greatest difference between the clocks of two recorders at which a message still finds its turn."""

_SPLIT_SESSIONS = """
SELECT session_id FROM sessions WHERE session_id IS NOT NULL GROUP BY session_id
HAVING min(recording_id) <> max(recording_id)
"""

_JOINED_TURNS = f"""
WITH parts AS (
  SELECT t.*, r.server_version, r.labels, t.events = 0 AS is_message,
    r.started_at + to_microseconds(t.first_token_ns // 1000) AS first_token_at,
    CASE WHEN t.first_event_s IS NOT NULL OR t.events = 0 THEN t.asked_at END AS posted_at
  FROM turns t SEMI JOIN split_sessions USING (session_id) LEFT JOIN recordings r USING (recording_id)
), heard AS (
  SELECT p.* EXCLUDE (posted_at), coalesce(p.posted_at, m.posted_at) AS posted_at,
    CASE WHEN p.posted_at IS NULL THEN m.recording_id END AS posted_in,
    CASE WHEN p.posted_at IS NULL THEN m.turn END AS posted_as
  FROM parts p ASOF LEFT JOIN (SELECT * FROM parts WHERE is_message) m
    ON p.session_id = m.session_id AND p.asked = m.asked AND p.asked_at + {_CLOCKS} >= m.asked_at
  WHERE NOT p.is_message
), joined AS (
  SELECT * FROM heard
  UNION ALL BY NAME
  SELECT * FROM parts p WHERE is_message AND NOT EXISTS (
    FROM heard h WHERE h.posted_in = p.recording_id AND h.posted_as = p.turn AND h.session_id = p.session_id)
), grouped AS (
  SELECT min(day) AS day, session_id, any_value(stream) AS stream,
    coalesce(min(posted_at), min(asked_at)) AS asked_at, min(started_at) AS started_at, max(ended_at) AS ended_at,
    coalesce(arg_max(ended, ended_at) FILTER (ended <> 'unfinished'), 'unfinished') AS ended,
    any_value(asked) AS asked, arg_max(text, length(text)) AS text, any_value(error_code) AS error_code,
    any_value(error_message) AS error_message, any_value(agent) AS agent, any_value(model) AS model,
    any_value(server_version) AS server_version, any_value(response_id) AS response_id,
    epoch_us(max(ended_at) - coalesce(min(posted_at), min(started_at))) / 1e6 AS duration_s,
    coalesce(min(first_token_s), CASE WHEN min(first_token_at) >= min(posted_at)
      THEN epoch_us(min(first_token_at) - min(posted_at)) / 1e6 END) AS first_token_s,
    max(tool_s) AS tool_s, max(approval_s) AS approval_s, max(input_tokens) AS input_tokens,
    max(output_tokens) AS output_tokens, max(total_tokens) AS total_tokens, max(cost_usd) AS cost_usd,
    max(tools) AS tools, max(events) AS events, any_value(labels) AS labels,
    list_sort(list_distinct(list(recording_id) || coalesce(list(posted_in) FILTER (posted_in IS NOT NULL), [])))
      AS recordings
  FROM joined
  GROUP BY session_id, coalesce(response_id, concat_ws(' ', recording_id, turn))
)
SELECT day, session_id, stream,
  row_number() OVER (PARTITION BY session_id ORDER BY coalesce(asked_at, started_at)) AS turn,
  * EXCLUDE (day, session_id, stream)
FROM grouped
"""

_WHOLE_TURNS = """
SELECT t.day, t.session_id, t.stream, t.turn, t.asked_at, t.started_at, t.ended_at, t.ended, t.asked, t.text,
  t.error_code, t.error_message, t.agent, t.model, r.server_version, t.response_id, t.duration_s, t.first_token_s,
  t.tool_s, t.approval_s, t.input_tokens, t.output_tokens, t.total_tokens, t.cost_usd, t.tools, t.events, r.labels,
  [t.recording_id] AS recordings
FROM turns t ANTI JOIN split_sessions USING (session_id) LEFT JOIN recordings r USING (recording_id)
UNION ALL BY NAME
FROM joined_turns
"""

_JOINED_SESSIONS = """
WITH parts AS (
  SELECT s.*, r.server_version, r.labels, s.streams > 0 AS heard,
    s.started_at + to_microseconds(round(coalesce(s.duration_s, 0) * 1e6)::BIGINT) AS until,
    {'outcome': s.outcome, 'verdict': s.verdict, 'code': s.conclusion_code, 'since': s.since} AS conclusion,
    {'code': s.finding_code, 'severity': s.finding_severity, 'message': s.finding_message} AS finding,
    list_position(['note', 'warning', 'error'], s.finding_severity) AS severe
  FROM sessions s SEMI JOIN split_sessions USING (session_id) LEFT JOIN recordings r USING (recording_id)
), grouped AS (
  SELECT session_id, min(day) AS day, NULL::BIGINT AS stream, any_value(parent_session_id) AS parent_session_id,
    min(started_at) AS started_at, max(until) AS until,
    epoch_us(max(until) - min(started_at)) / 1e6 AS duration_s, arg_min(asked, started_at) AS asked,
    arg_max(model, until) AS model,
    coalesce(arg_max(conclusion, until) FILTER (heard), arg_max(conclusion, until), any_value(conclusion))
      AS conclusion,
    coalesce(arg_max(finding, severe) FILTER (heard), arg_max(finding, severe)) AS finding,
    sum(errors)::BIGINT AS errors, sum(warnings)::BIGINT AS warnings, sum(notes)::BIGINT AS notes,
    sum(streams)::BIGINT AS streams, sum(exchanges)::BIGINT AS exchanges, sum(events)::BIGINT AS events,
    sum(response_bytes)::BIGINT AS response_bytes, any_value(server_version) AS server_version,
    any_value(labels) AS labels, list_sort(list(recording_id)) AS recordings
  FROM parts GROUP BY session_id
), told AS (
  SELECT session_id, count(*) AS turns, sum(input_tokens)::BIGINT AS input_tokens,
    sum(output_tokens)::BIGINT AS output_tokens, sum(total_tokens)::BIGINT AS total_tokens, sum(cost_usd) AS cost_usd,
    median(first_token_s) AS first_token_s, sum(tool_s) AS tool_s, sum(approval_s) AS approval_s
  FROM joined_turns GROUP BY session_id
)
SELECT g.* EXCLUDE (conclusion, finding), coalesce(t.turns, 0) AS turns, t.* EXCLUDE (session_id, turns),
  g.conclusion.outcome AS outcome, g.conclusion.verdict AS verdict, g.conclusion.code AS conclusion_code,
  g.conclusion.since AS since, g.finding.code AS finding_code, g.finding.severity AS finding_severity,
  g.finding.message AS finding_message
FROM grouped g LEFT JOIN told t USING (session_id)
"""

_WHOLE_SESSIONS = """
WITH parents AS (
  SELECT child AS session_id, any_value(session_id) AS parent
  FROM (SELECT unnest(child_session_ids) AS child, session_id FROM sessions) GROUP BY child
), whole AS (
  SELECT s.day, s.session_id, s.stream, s.parent_session_id, s.started_at,
    s.started_at + to_microseconds(round(coalesce(s.duration_s, 0) * 1e6)::BIGINT) AS until, s.duration_s, s.asked,
    s.model, s.turns, s.outcome, s.verdict, s.conclusion_code, s.since, s.finding_code, s.finding_severity,
    s.finding_message, s.errors, s.warnings, s.notes, s.input_tokens, s.output_tokens, s.total_tokens, s.cost_usd,
    s.first_token_s, s.tool_s, s.approval_s, s.streams, s.exchanges, s.events, s.response_bytes, r.server_version,
    r.labels, [s.recording_id] AS recordings
  FROM sessions s ANTI JOIN split_sessions USING (session_id) LEFT JOIN recordings r USING (recording_id)
  UNION ALL BY NAME
  FROM joined_sessions
)
SELECT w.* REPLACE (coalesce(w.parent_session_id, p.parent) AS parent_session_id)
FROM whole w LEFT JOIN parents p USING (session_id)
"""

_READS: Mapping[str, tuple[str, ...]] = {
    "split_sessions": ("sessions",),
    "joined_turns": ("turns", "recordings", "split_sessions"),
    "whole_turns": ("turns", "recordings", "split_sessions", "joined_turns"),
    "joined_sessions": ("sessions", "recordings", "split_sessions", "joined_turns"),
    "whole_sessions": ("sessions", "recordings", "split_sessions", "joined_sessions"),
}
SELECTS: Mapping[str, str] = {
    "split_sessions": _SPLIT_SESSIONS, "joined_turns": _JOINED_TURNS, "whole_turns": _WHOLE_TURNS,
    "joined_sessions": _JOINED_SESSIONS, "whole_sessions": _WHOLE_SESSIONS,
}  # fmt: skip
"""The SELECT of each view, in an order in which each names only tables and views before it. `joined_…` has those of
`split_sessions`, `whole_…` all."""


def needed(names: Iterable[str]) -> set[str]:
    """Return these tables and views, and all that they read."""
    found, left = set[str](), list(names)
    while left:
        if (one := left.pop()) not in found:
            found.add(one)
            left += _READS.get(one, ())
    return found


COLUMNS: Mapping[str, tuple[str, ...]] = {
    "split_sessions": ("session_id",),
    "whole_turns": (
        "day", "session_id", "stream", "turn", "asked_at", "started_at", "ended_at", "ended", "asked", "text",
        "error_code", "error_message", "agent", "model", "server_version", "response_id", "duration_s",
        "first_token_s", "tool_s", "approval_s", "input_tokens", "output_tokens", "total_tokens", "cost_usd", "tools",
        "events", "labels", "recordings",
    ),
    "whole_sessions": (
        "day", "session_id", "stream", "parent_session_id", "started_at", "until", "duration_s", "asked", "model",
        "turns", "outcome", "verdict", "conclusion_code", "since", "finding_code", "finding_severity",
        "finding_message", "errors", "warnings", "notes", "input_tokens", "output_tokens", "total_tokens", "cost_usd",
        "first_token_s", "tool_s", "approval_s", "streams", "exchanges", "events", "response_bytes", "server_version",
        "labels", "recordings",
    ),
}  # fmt: skip

ABOUT: Mapping[str, str] = {
    "whole_sessions": "One row per session, over all recordings that hold a part of it.",
    "whole_turns": "One row per turn, with the first-token time also if its message is in another recording.",
    "split_sessions": "The sessions that have parts in several recordings.",
    "recordings": "One row per recording in the lake: its start, labels, versions and numbers.",
    "sessions": "One row per session and recording: what was asked, how it ended, its worst finding, its tokens.",
    "turns": "One row per turn and recording: what was asked, the answer, how it ended, how long it took.",
    "tools": "One row per tool call: its arguments, its output, how long it took.",
    "approvals": "One row per question to the user: the answer, and how long the turn waited for it.",
    "findings": "One row per finding of doctor.",
    "problems": "One row per difference from the contract, as validate counts them.",
    "events": "One row per frame of a stream: its time, its type, its verdict and its text.",
    "exchanges": "One row per request and its response, with headers and bodies.",
    "messages": "One row per WebSocket message.",
    "reads": "The reads of streams that brought several frames, or a part of one.",
    "incidents": "One row per problem of a recording itself.",
}
"""What each view and table holds, in the order in which a list shows them."""
