"""The errors of OpenAI's APIs. Pure."""

from __future__ import annotations

from typing import Any

_OPENAI = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
}
"""Type and code by status."""


def error_body(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Return the JSON body of an error. `code`: replaces the usual code."""
    kind, usual = _OPENAI.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code or usual}}
