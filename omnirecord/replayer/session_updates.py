"""`/v1/sessions/updates` in a replay: the WebSocket by which the web UI keeps its session list up to date.

A `watch` is answered by a `snapshot` of the watched sessions as of the playhead, then `changed` follows as that
moves, and a `heartbeat` where nothing was sent for 30 s. The content is what the recorded server sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web

from ..server.clock import monotonic

HEARTBEAT_EVERY = 30.0
_LOOK_EVERY = 0.5
"""Seconds between looks at whether the playhead has moved."""


Rows = Callable[[list[str]], dict[str, Any]]
"""The rows of these sessions in the list, by id, as of the playhead."""


async def serve_updates(request: web.BaseRequest, rows_of: Rows) -> web.WebSocketResponse:
    """Serve one client until it leaves."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    with suppress(ConnectionError):  # it left
        await _serve(socket, rows_of)
    return socket


async def _serve(socket: web.WebSocketResponse, rows_of: Rows) -> None:
    watched: list[str] = []
    shown: dict[str, Any] = {}
    quiet_since = monotonic()
    while not socket.closed:
        message = await _message(socket)
        if message is not None:
            watched = message
            shown = rows_of(watched)
            await socket.send_str(json.dumps({"type": "snapshot", "items": list(shown.values())}))
            quiet_since = monotonic()
            continue
        rows = rows_of(watched)
        changed = [row for name, row in rows.items() if row != shown.get(name)]
        if changed:
            await socket.send_str(json.dumps({"type": "changed", "items": changed}))
        elif monotonic() - quiet_since > HEARTBEAT_EVERY:
            await socket.send_str(json.dumps({"type": "heartbeat"}))
        else:
            continue
        shown, quiet_since = rows, monotonic()


async def _message(socket: web.WebSocketResponse) -> list[str] | None:
    """The ids of a `watch`; None where none came in time."""
    try:
        message = await socket.receive(timeout=_LOOK_EVERY)
    except TimeoutError:
        return None
    if message.type is not WSMsgType.TEXT:
        return None
    try:
        value = json.loads(message.data)
        ids = value["session_ids"] if value["type"] == "watch" else None
    except (ValueError, KeyError, TypeError):
        return None
    return [one for one in ids if isinstance(one, str)] if isinstance(ids, list) else None
