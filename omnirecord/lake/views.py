"""The views of a lake over several tables: turns and sessions as a whole, over all recordings that hold a part.

A session has parts in several recordings if a load balancer split it over proxies, or if a recorder rotated its files.
Their times are wall-clock times, so they are as exact as the clocks of the recorders agree.
"""

from __future__ import annotations

from collections.abc import Mapping

_CLOCKS = "INTERVAL 1 SECOND"
"""Greatest difference between the clocks of two recorders at which a message still finds its turn."""

_WHOLE_TURNS = f"""
WITH parts AS (
  SELECT t.*, r.server_version, r.labels, t.events = 0 AND t.session_id IS NOT NULL AS is_message,
    r.started_at + to_microseconds(t.first_token_ns // 1000) AS first_token_at,
    CASE WHEN t.first_event_s IS NOT NULL OR t.events = 0 THEN t.asked_at END AS posted_at
  FROM turns t LEFT JOIN recordings r USING (recording_id)
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
  SELECT min(day) AS day, any_value(session_id) AS session_id, any_value(stream) AS stream,
    coalesce(min(posted_at), min(asked_at)) AS asked_at, min(started_at) AS started_at, max(ended_at) AS ended_at,
    coalesce(arg_max(ended, ended_at) FILTER (ended <> 'unfinished'), 'unfinished') AS ended,
    any_value(asked) AS asked, arg_max(text, length(text)) AS text, any_value(error_code) AS error_code,
    any_value(error_message) AS error_message, any_value(agent) AS agent, any_value(model) AS model,
    any_value(server_version) AS server_version, any_value(response_id) AS response_id,
    CASE WHEN count(*) = 1 AND count(posted_in) = 0 THEN any_value(duration_s)
      ELSE epoch_us(max(ended_at) - coalesce(min(posted_at), min(started_at))) / 1e6 END AS duration_s,
    coalesce(min(first_token_s), CASE WHEN min(first_token_at) >= min(posted_at)
      THEN epoch_us(min(first_token_at) - min(posted_at)) / 1e6 END) AS first_token_s,
    max(tool_s) AS tool_s, max(approval_s) AS approval_s, max(input_tokens) AS input_tokens,
    max(output_tokens) AS output_tokens, max(total_tokens) AS total_tokens, max(cost_usd) AS cost_usd,
    max(tools) AS tools, max(events) AS events, any_value(labels) AS labels,
    list_sort(list_distinct(list(recording_id) || coalesce(list(posted_in) FILTER (posted_in IS NOT NULL), [])))
      AS recordings
  FROM joined
  GROUP BY coalesce(session_id || ' ' || response_id,
    concat_ws(' ', recording_id, session_id, coalesce(stream, 0), turn))
)
SELECT day, session_id, stream, row_number() OVER (
    PARTITION BY coalesce(session_id, recordings[1] || ' ' || stream) ORDER BY coalesce(asked_at, started_at)) AS turn,
  * EXCLUDE (day, session_id, stream)
FROM grouped
"""

_WHOLE_SESSIONS = """
WITH parts AS (
  SELECT s.*, r.server_version, r.labels, coalesce(s.session_id, concat_ws(' ', s.recording_id, s.stream)) AS whole,
    s.started_at + to_microseconds(round(coalesce(s.duration_s, 0) * 1e6)::BIGINT) AS until, s.streams > 0 AS heard,
    {'outcome': s.outcome, 'verdict': s.verdict, 'code': s.conclusion_code, 'since': s.since} AS conclusion,
    {'code': s.finding_code, 'severity': s.finding_severity, 'message': s.finding_message} AS finding,
    list_position(['note', 'warning', 'error'], s.finding_severity) AS severe
  FROM sessions s LEFT JOIN recordings r USING (recording_id)
), grouped AS (
  SELECT whole, min(day) AS day, any_value(session_id) AS session_id, any_value(stream) AS stream,
    any_value(parent_session_id) AS parent_session_id, min(started_at) AS started_at, max(until) AS until,
    CASE WHEN count(*) = 1 THEN any_value(duration_s) ELSE epoch_us(max(until) - min(started_at)) / 1e6 END
      AS duration_s,
    arg_min(asked, started_at) AS asked, arg_max(model, until) AS model, sum(turns)::BIGINT AS turns,
    coalesce(arg_max(conclusion, until) FILTER (heard), arg_max(conclusion, until), any_value(conclusion)) AS conclusion,
    coalesce(arg_max(finding, severe) FILTER (heard), arg_max(finding, severe)) AS finding,
    sum(errors)::BIGINT AS errors, sum(warnings)::BIGINT AS warnings, sum(notes)::BIGINT AS notes,
    sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
    sum(total_tokens)::BIGINT AS total_tokens, sum(cost_usd) AS cost_usd, min(first_token_s) AS first_token_s,
    sum(tool_s) AS tool_s, sum(approval_s) AS approval_s, sum(streams)::BIGINT AS streams,
    sum(exchanges)::BIGINT AS exchanges, sum(events)::BIGINT AS events, sum(response_bytes)::BIGINT AS response_bytes,
    any_value(server_version) AS server_version, any_value(labels) AS labels, list_sort(list(recording_id)) AS recordings
  FROM parts GROUP BY whole
), parents AS (
  SELECT unnest(child_session_ids) AS whole, any_value(session_id) AS parent FROM sessions GROUP BY 1
), told AS (
  SELECT session_id AS whole, count(*) AS turns, median(first_token_s) AS first_token_s,
    sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
    sum(total_tokens)::BIGINT AS total_tokens, sum(cost_usd) AS cost_usd, sum(tool_s) AS tool_s,
    sum(approval_s) AS approval_s
  FROM whole_turns WHERE session_id IN (SELECT whole FROM grouped WHERE len(recordings) > 1) GROUP BY session_id
)
SELECT g.day, g.session_id, g.stream, coalesce(g.parent_session_id, p.parent) AS parent_session_id, g.started_at, g.until, g.duration_s, g.asked, g.model,
  coalesce(t.turns, g.turns) AS turns, g.conclusion.outcome AS outcome, g.conclusion.verdict AS verdict,
  g.conclusion.code AS conclusion_code, g.conclusion.since AS since, g.finding.code AS finding_code,
  g.finding.severity AS finding_severity, g.finding.message AS finding_message, g.errors, g.warnings, g.notes,
  CASE WHEN t.whole IS NULL THEN g.input_tokens ELSE t.input_tokens END AS input_tokens,
  CASE WHEN t.whole IS NULL THEN g.output_tokens ELSE t.output_tokens END AS output_tokens,
  CASE WHEN t.whole IS NULL THEN g.total_tokens ELSE t.total_tokens END AS total_tokens,
  CASE WHEN t.whole IS NULL THEN g.cost_usd ELSE t.cost_usd END AS cost_usd,
  CASE WHEN t.whole IS NULL THEN g.first_token_s ELSE t.first_token_s END AS first_token_s,
  CASE WHEN t.whole IS NULL THEN g.tool_s ELSE t.tool_s END AS tool_s,
  CASE WHEN t.whole IS NULL THEN g.approval_s ELSE t.approval_s END AS approval_s,
  g.streams, g.exchanges, g.events, g.response_bytes, g.server_version, g.labels, g.recordings
FROM grouped g LEFT JOIN told t USING (whole) LEFT JOIN parents p USING (whole)
"""

SELECTS: Mapping[str, str] = {"whole_turns": _WHOLE_TURNS, "whole_sessions": _WHOLE_SESSIONS}
"""The SELECT of each view, in an order in which each names only tables and views before it."""

READS: Mapping[str, tuple[str, ...]] = {
    "whole_turns": ("turns", "recordings"), "whole_sessions": ("whole_turns", "sessions", "turns", "recordings"),
}  # fmt: skip
"""The tables and views that each view reads."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
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
