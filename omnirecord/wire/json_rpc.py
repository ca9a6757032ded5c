"""JSON-RPC 2.0 messages, as MCP sends them in requests, answers and events. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

MARK = b'"jsonrpc"'
"""Every message has it."""
SESSION_HEADER = "mcp-session-id"
"""The header in lower case by which MCP names a session."""
_META = "_meta"
_TOKEN = "progressToken"
_CANCELLED = "requestId"
"""The parameter of a notification that names a request."""
_INITIALIZE = "initialize"
_ROOTS = "roots"
"""The key of the folders of a client, in its answer to the server."""
Kind = Literal["request", "notification", "result", "error"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `method` and `params`: of a request or a notification."""

    kind: Kind
    id: str | int | None
    method: str | None
    params: Any
    content: Any
    """The `result` or the `error`; None for other kinds."""

    @property
    def progress_token(self) -> str | int | None:
        """The token that a request has for notifications of its progress."""
        meta = self.params.get(_META) if isinstance(self.params, dict) else None
        token = meta.get(_TOKEN) if isinstance(meta, dict) else None
        return token if _is_id(token) else None


def message_of(data: Any) -> Message | None:
    """Return the message of a JSON value; None if it is none."""
    if not isinstance(data, dict) or data.get("jsonrpc") != "2.0":
        return None
    id_ = data.get("id")
    method = data.get("method")
    known = id_ if _is_id(id_) else None
    if isinstance(method, str):
        return Message("request" if known is not None else "notification", known, method, data.get("params"), None)
    for kind in ("result", "error"):
        if kind in data:
            return Message(kind, known, None, None, data[kind])
    return None


def compared(data: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a client's message that counts in a comparison. Numbers that the client counts up do not: its
    `id`, and the id of a request that it cancels. Neither does `_meta` with the progress token. The parameters of
    `initialize` and the client's `roots` describe the client and its machine, and do not count either."""
    method = data.get("method")
    if method is None:
        result = data.get("result")
        has_roots = isinstance(result, dict) and _ROOTS in result
        return {**data, "result": {_ROOTS: None}} if has_roots else data
    rest = {name: value for name, value in data.items() if name != "id"}
    params = rest.pop("params", None)
    if isinstance(params, dict):
        uncounted = (_META,) if "id" in data else (_META, _CANCELLED)
        params = {name: value for name, value in params.items() if name not in uncounted}
    return rest if not params or method == _INITIALIZE else {**rest, "params": params}


def answered_to(data: Any, recorded: Message, asked: Message) -> Any:
    """Return a message of a recorded answer as the answer to another request: with its `id` and progress token. The
    same object if nothing changes."""
    message = message_of(data)
    if message is None:
        return data
    if message.kind in ("result", "error"):
        return {**data, "id": asked.id} if message.id == recorded.id != asked.id else data
    token = recorded.progress_token
    other = asked.progress_token
    params = message.params
    if other is None or token in (None, other) or not isinstance(params, dict) or params.get(_TOKEN) != token:
        return data
    return {**data, "params": {**params, _TOKEN: other}}


def _is_id(value: Any) -> bool:
    return isinstance(value, str) or type(value) is int
