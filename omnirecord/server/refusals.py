"""The limits of a request, and our answers to refused requests: fixed texts in Omnigent's error shape."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..model import Headers
from ..text import dumps
from ..wire.headers import announces_body, asks_for_websocket, transfer_coding
from .aiohttp_names import BadHttpMessage, HttpProcessingError, LineTooLong

LIMIT = 1 << 16
"""The longest request line, and the longest header section with its first line, in bytes."""
FIELD_LIMIT = LIMIT - 4
"""The longest name and value of a header field together, in bytes. With `: ` and CRLF, they are a line of `LIMIT`."""
FIELDS = 1000
"""The most header fields of a message."""

_RETRY_AFTER = "1"
"""`Retry-After` for lack of a file descriptor, in seconds."""
_CODES = {
    400: "bad_request",
    405: "method_not_allowed",
    414: "uri_too_long",
    431: "header_fields_too_large",
    501: "not_implemented",
}


def error_response(status: int, code: str, message: str, **details: Any) -> web.Response:
    """An error in Omnigent's shape: `{"error": {"code", "message"}}`."""
    text = dumps({"error": {"code": code, "message": message, **details}})
    return web.Response(status=status, text=text, content_type="application/json")


def ambiguous(request: web.BaseRequest, headers: Headers) -> web.Response | None:
    """Return the refusal of a request whose end is ambiguous, so that two servers could see different requests; else
    None. It quotes nothing of the request."""
    if transfer_coding(headers) not in (None, "chunked"):
        return bad_request("it has a transfer coding that is not chunked", 501)
    if not announces_body(headers):
        return None
    if asks_for_websocket(headers):
        return bad_request("a request for an upgrade may have no body")
    return None if request.body_exists else bad_request("its Content-Length is too large")


def bad_body(error: BaseException) -> web.Response:
    """Return the refusal of a request whose body cannot be read further, because of this error."""
    if is_too_large(error):
        return bad_request(SectionTooLarge.message, 431)
    return bad_request("its body is not valid HTTP")


def out_of_descriptors() -> web.Response:
    """Return the refusal of a request for lack of a file descriptor. The connection is closed after it."""
    message = "omnirecord has no file descriptor left for this request: try again, or raise its limit (ulimit -n)"
    answer = error_response(503, "out_of_descriptors", message)
    answer.headers["Retry-After"] = _RETRY_AFTER
    answer.force_close()
    return answer


def bad_request(why: str, status: int = 400) -> web.Response:
    """Return a refusal. The connection is closed after it: the start of a next request is unknown."""
    answer = error_response(status, _CODES[status], f"omnirecord refuses the request: {why}")
    answer.force_close()
    return answer


class SectionTooLarge(HttpProcessingError):
    """A header section has more than `LIMIT` bytes, or more than `FIELDS` fields."""

    code = 431
    message = f"its header section has more than {LIMIT:,} bytes or {FIELDS:,} fields"


def is_too_large(error: BaseException | None) -> bool:
    """Returns whether this error, or one that caused it, says that a header section or a line of one is too large."""
    while error is not None and not isinstance(error, SectionTooLarge | LineTooLong):
        if isinstance(error, BadHttpMessage) and error.message == "Too many headers received":
            return True
        error = error.__cause__
    return error is not None


def too_large(error: HttpProcessingError | None) -> web.Response:
    """Return the refusal of a request whose header section, or a line of it, is too large."""
    if isinstance(error, LineTooLong) and error.args[1] == LIMIT:
        return bad_request(f"its request line has more than {LIMIT:,} bytes", 414)
    return bad_request(SectionTooLarge.message, 431)
