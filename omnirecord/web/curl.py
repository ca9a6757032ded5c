"""The `curl` command that sends a recorded request again. Pure."""

from __future__ import annotations

import base64
from shlex import quote

from ..cassette import Exchange
from ..headers import end_to_end, header

_LEFT_OUT = ("host", "content-length", "accept-encoding", "content-encoding", "expect")
"""Header fields that curl writes itself; a body is sent decoded."""


def curl(x: Exchange, body: bytes, upstream: str | None) -> str:
    """Returns a command for a POSIX shell. `body`: without its content coding. Without a recorded upstream, the Host
    field names the server. What was redacted stays redacted."""
    host = header(x.request.headers, "host")
    url = (upstream or f"http://{host or 'localhost'}").rstrip("/") + x.request.target
    words = ["curl", "--globoff", "--path-as-is"]
    words += ["--no-buffer"] if x.kind == "sse" else []
    words += ["--head"] if x.request.method == "HEAD" else ["--request", x.request.method]
    words += ["--compressed"] if header(x.request.headers, "accept-encoding") else []
    words.append(url)
    fields = end_to_end(x.request.headers, but=_LEFT_OUT)
    for name, value in fields:
        words += ["--header", f"{name}: {value}" if value else f"{name};"]
    if body and header(fields, "content-type") is None:
        words += ["--header", "Content-Type:"]
    return _with_body(" ".join(map(quote, words)), body)


def _with_body(command: str, body: bytes) -> str:
    if not body:
        return command
    text = body.decode("utf-8", "replace")
    if text.encode() == body and "\0" not in text:
        return f"{command} --data-raw {quote(text)}"
    return f"echo {base64.b64encode(body).decode()} | base64 -d | {command} --data-binary @-"
