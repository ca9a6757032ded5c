"""Lenient readers of JSON values: a value of another type is None or empty. None of them raises."""

from __future__ import annotations

import functools
import json
import signal
from contextlib import suppress
from typing import Any

from ...model import TimedFrame
from ...wire.strict_json import payload_of


@functools.lru_cache(maxsize=1)
def payload(frame: TimedFrame) -> dict[str, Any]:
    """Return the JSON object in a frame; empty if there is none. Do not change it: the last one is cached."""
    if frame.verdict in ("comment", "sentinel", "truncated", "malformed"):
        return {}
    return as_dict(payload_of(frame))


def as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def as_int(value: Any) -> int | None:
    return value if type(value) is int else None


def as_number(value: Any) -> float | None:
    return value if type(value) in (int, float) else None


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or the texts of its parts. Another part is `[its type]`."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(filter(None, (_part(part) for part in parts)))


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    data = as_dict(part)
    if data.get("type") == "message":
        return text_of(data.get("content"))
    found = as_text(data.get("text"))
    return found if found is not None else f"[{as_text(data.get('type')) or 'something'}]"


def failure_in(output: str | None, status: str | None = None) -> str | None:
    """Return how a tool failed, from its output and its item's status; None if it did not.

    The output of a tool that failed is a JSON object with an `error`, or with an `exit_code` other than 0.
    """
    said: dict[str, Any] = {}
    with suppress(ValueError, RecursionError):
        said = as_dict(json.loads(output or ""))
    code, error = as_int(said.get("exit_code")), said.get("error")
    if code:
        return f"exit code {code}{_signal(-code)}"
    if said.get("timed_out") is True:
        return "timed out"
    if error:
        return as_text(as_dict(error).get("message")) or written(error)
    has_failed = status == "failed" or True in (said.get("is_error"), said.get("isError"))
    return "its status says so" if has_failed else None


def _signal(number: int) -> str:
    """Return the name of a signal in parentheses; empty for an unknown number."""
    with suppress(ValueError):
        return f" ({signal.Signals(number).name})"
    return ""


def written(value: Any) -> str | None:
    """Return a tool's arguments or output as text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all("text" in as_dict(part) for part in value):
        return text_of(value)
    return json.dumps(value, ensure_ascii=False)
