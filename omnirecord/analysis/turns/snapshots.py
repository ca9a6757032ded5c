"""What a client was told of a session when it asked for it, read from the answer. Reading never fails. Pure."""

from __future__ import annotations

import json
from typing import Any

from ...model import Exchange
from ...omnigent.routes import below_session
from .lenient import as_dict, as_text, text_of
from .values import Snapshot


def is_snapshot(exchange: Exchange) -> bool:
    """Whether an exchange asked for a session as it is, and got it."""
    answered = exchange.response is not None and exchange.response.status == 200
    return answered and exchange.request.method == "GET" and below_session(exchange.request.target) == ""


def snapshot_of(exchange: Exchange, response: bytes) -> Snapshot | None:
    """The session as the answer has it; None where that is no session."""
    try:
        data = as_dict(json.loads(response))
    except (ValueError, RecursionError):
        return None
    if not data:
        return None
    pending, online = data.get("pending_elicitations"), data.get("runner_online")
    ids = (as_text(as_dict(one).get("elicitation_id")) for one in (pending if isinstance(pending, list) else ()))
    return Snapshot(
        exchange.request.at_ns, as_text(data.get("status")), as_text(data.get("title")),
        as_text(data.get("agent_name")), as_text(data.get("llm_model")),
        online if isinstance(online, bool) else None, tuple(id_ for id_ in ids if id_ is not None),
        _last_said(data.get("items")),
    )  # fmt: skip


def _last_said(items: Any) -> str | None:
    """What the assistant said last, of a list of items."""
    for item in map(as_dict, reversed(items if isinstance(items, list) else ())):
        message = as_dict(item.get("data")) or item
        if item.get("type") == "message" and message.get("role") == "assistant":
            return text_of(message.get("content"))
    return None
