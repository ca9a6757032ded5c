"""Error answers as the model APIs send them: the body, and the header fields for a retry. Pure."""

from __future__ import annotations

from math import ceil
from typing import Any

from ..model import Headers
from .conversation import Api

_ANTHROPIC = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
_OPENAI = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
}
"""Type and code by status."""


def error_body(api: Api, status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Return the JSON body of an error. `code`: replaces the usual code of OpenAI's APIs; Anthropic's has none."""
    is_ours = status >= 500
    if api == "anthropic-messages":
        kind = _ANTHROPIC.get(status, "api_error" if is_ours else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}
    kind, usual = _OPENAI.get(status, ("server_error" if is_ours else "invalid_request_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code or usual}}


def retry_headers(after_ns: int | None) -> Headers:
    """Return the fields that tell a client when to try again, from a time in ns; none for None. Whole seconds are
    rounded up; `Retry-After-Ms`, which the SDKs of OpenAI and Anthropic prefer, is exact."""
    if after_ns is None:
        return ()
    return (("Retry-After", str(ceil(after_ns / 1e9))), ("Retry-After-Ms", f"{after_ns / 1e6:g}"))
