"""The columns of the tables that `query` computes; a lake has them, too, except `model_calls`. Light to import."""

from __future__ import annotations

_TURN = {"recording": int, "session_id": str, "stream": int, "turn": int}
"""The columns that tell which turn a row belongs to."""
COLUMNS: dict[str, dict[str, type]] = {
    "sessions": {
        "recording": int, "session_id": str, "stream": int, "parent_session_id": str, "started_at": str,
        "duration_s": float, "asked": str, "model": str, "turns": int, "outcome": str, "verdict": str,
        "conclusion_code": str, "since": str, "connected": str, "finding_code": str, "finding_severity": str,
        "finding_message": str, "errors": int, "warnings": int, "notes": int, "input_tokens": int,
        "output_tokens": int, "total_tokens": int, "cost_usd": float, "first_token_s": float, "tool_s": float,
        "approval_s": float, "streams": int, "exchanges": int, "events": int, "frames": int, "response_bytes": int,
    },
    "turns": {
        **_TURN, "asked_at": str, "started_at": str, "ended_at": str, "ended": str, "asked": str, "text": str,
        "reasoning": str, "error_code": str, "error_message": str, "agent": str, "model": str, "response_id": str,
        "duration_s": float, "first_event_s": float, "first_token_s": float, "first_text_s": float,
        "streaming_s": float, "tool_s": float, "approval_s": float, "longest_silence_s": float, "input_tokens": int,
        "output_tokens": int, "reasoning_tokens": int, "total_tokens": int, "cost_usd": float,
        "output_tokens_per_s": float, "deltas": int, "events": int, "odd_events": int, "heartbeats": int,
        "tools": int, "approvals": int, "children": int, "asked_ns": int, "started_ns": int,
        "first_token_ns": int, "first_text_ns": int, "ended_ns": int, "last_event_ns": int,
    },
    "tools": {
        **_TURN, "call_id": str, "name": str, "arguments": str, "output": str, "status": str, "failed": str,
        "replaced": str, "called_at": str, "returned_at": str, "duration_s": float, "called_ns": int,
        "returned_ns": int,
    },
    "approvals": {
        **_TURN, "elicitation_id": str, "message": str, "action": str, "answered_by": str, "asked_at": str,
        "answered_at": str, "resolved_at": str, "waited_s": float, "asked_ns": int, "answered_ns": int,
        "resolved_ns": int, "left_ns": int,
    },
    "model_calls": {
        "recording": int, "hop": str, "exchange": int, "api": str, "model": str, "attempt": int, "status": int,
        "ending": str, "reason": str, "started_at": str, "first_byte_s": float, "first_token_s": float,
        "duration_s": float, "input_tokens": int, "output_tokens": int, "session_id": str, "turn": int, "by": str,
        "certainty": str,
    },
    "findings": {
        "code": str, "severity": str, "recording": int, "session_id": str, "stream": int, "seq": int, "seqs": str,
        "message": str, "because": str, "why": str, "next": str,
    },
}  # fmt: skip
