"""The version of the server, as its answers and its messages to a runner tell it. Pure.

`GET /v1/info`, `GET /api/version` and `GET /.well-known/omnigent.json` tell it. So does the request in a runner's
tunnel that begins a session. No header has it. `/openapi.json` has another version, that of the API document. The
`hello` of a tunnel has the version of the runner.
"""

from __future__ import annotations

import re
from typing import Any

from ..wire.strict_json import as_dict, loads
from .routes import path_of

_KEYS = {"/v1/info": "server_version", "/api/version": "version", "/.well-known/omnigent.json": "server_version"}
_BEGINS = "session_init"
"""The key of a request in a tunnel that begins a session."""
_MARK = _BEGINS.encode()
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!_-]{0,63}")


def version_key(method: str, target: str) -> str | None:
    """Return the key of the version in the answer to such a request; None if the answer tells none."""
    return _KEYS.get(path_of(target)) if method == "GET" else None


def version_in(body: bytes, key: str) -> str | None:
    """Return the version in an answer, or None."""
    return _version(as_dict(loads(body)).get(key))


def version_in_message(data: bytes) -> str | None:
    """Return the version in a message of the server to a runner, or None. Other messages are not parsed."""
    if _MARK not in data:
        return None
    frame = as_dict(loads(data))
    body = frame.get("body")
    if frame.get("kind") != "request" or not isinstance(body, str):
        return None
    return _version(as_dict(as_dict(loads(body)).get(_BEGINS)).get("server_version"))


def _version(value: Any) -> str | None:
    return value if isinstance(value, str) and _VERSION.fullmatch(value) else None
