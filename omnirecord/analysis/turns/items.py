"""Adds each output item to its turn, and reads the answer to a GET of a session. Reading never fails. Pure.

A function call comes twice, in progress and completed, and is one call. A message repeats the text of its deltas.
"""

from __future__ import annotations

import json
from typing import Any

from ...model import Exchange
from ...omnigent.routes import below_session
from .builder import TurnBuilder
from .draft import Draft
from .lenient import as_dict, as_text, text_of, written
from .values import Snapshot, Trouble

Data = dict[str, Any]
_SILENT = frozenset({"resource_event", "routing_decision"})
"""Types of items that other events describe better, or that are not for users."""


def add_item(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    """Add a finished item to the turn it belongs to."""
    item = as_dict(data.get("item"))
    type_ = as_text(item.get("type")) or "item"
    if type_ == "function_call_output":
        _tool_output(builder, at_ns, item)
    elif type_ not in _SILENT and item:
        draft = _owner(builder, at_ns, as_text(item.get("response_id")), as_text(item.get("call_id")))
        draft.break_thoughts() if type_ != "reasoning" else None
        _add_to(builder, draft, at_ns, item, type_)


def _owner(builder: TurnBuilder, at_ns: int, response_id: str | None, call_id: str | None) -> Draft:
    """Return the open turn; without one the last turn, unless the item belongs to another response.

    A call of an interrupted turn comes again after its end, with another response id: it stays in its turn.
    """
    last = builder.latest()
    if builder.open is None and call_id is not None and call_id in builder.owners:
        return builder.owners[call_id]
    if builder.open is None and last is not None and response_id in (None, last.response_id):
        return last
    return builder.turn(at_ns)


def _add_to(builder: TurnBuilder, draft: Draft, at_ns: int, item: Data, type_: str) -> None:
    if type_ == "message":
        _message(draft, at_ns, item)
    elif type_ == "function_call":
        call_id = as_text(item.get("call_id")) or as_text(item.get("id")) or "?"
        arguments = written(item.get("arguments")) or ""
        draft.call(call_id, as_text(item.get("name")) or "", arguments, as_text(item.get("status")), at_ns)
        builder.owners[call_id] = draft
    elif type_ == "reasoning":
        _reasoning(draft, at_ns, item)
    elif type_ == "error":
        code, message = as_text(item.get("code")), as_text(item.get("message")) or ""
        draft.troubles.append(
            Trouble(at_ns, "error", as_text(item.get("source")), None, code, message, place=draft.events)
        )
    else:
        draft.note(_named(type_, item), at_ns)


def _message(draft: Draft, at_ns: int, item: Data) -> None:
    text = text_of(item.get("content"))
    if item.get("role") in ("user", "system"):
        draft.ask(text, at_ns, as_text(item.get("id")))
    elif text:
        draft.store(text, at_ns)


def _reasoning(draft: Draft, at_ns: int, item: Data) -> None:
    """Add thoughts that came as a whole. Deltas have brought the others."""
    text = text_of(item.get("content")) or text_of(item.get("summary"))
    if draft.thoughts and draft.thoughts[-1].parts:
        draft.break_thoughts()
    elif text:
        draft.think(text, at_ns, whole=True)


def _tool_output(builder: TurnBuilder, at_ns: int, item: Data) -> None:
    call_id = as_text(item.get("call_id")) or "?"
    draft = builder.owners.get(call_id) or builder.turn(at_ns)
    output = written(item.get("output"))
    draft.hand_back(call_id, output if output is not None else "", as_text(item.get("status")), at_ns)


def _named(type_: str, item: Data) -> str:
    told = as_text(item.get("input")) or as_text(item.get("name")) or as_text(item.get("summary")) or ""
    return f"{type_.replace('_', ' ')}: {told}" if told else type_.replace("_", " ")


def is_snapshot(exchange: Exchange) -> bool:
    """Return whether an exchange is a successful GET of a session."""
    answered = exchange.response is not None and exchange.response.status == 200
    return answered and exchange.request.method == "GET" and below_session(exchange.request.target) == ""


def snapshot_of(exchange: Exchange, response: bytes) -> Snapshot | None:
    """Return the state of a session from the body of an answer; None if the body is no JSON object."""
    try:
        data = as_dict(json.loads(response))
    except (ValueError, RecursionError):
        return None
    return snapshot_in(exchange, data) if data else None


def snapshot_in(exchange: Exchange, data: Data) -> Snapshot:
    """Return the state of a session from the JSON object that answered this exchange."""
    pending, online = data.get("pending_elicitations"), data.get("runner_online")
    ids = map(_elicitation_id, pending if isinstance(pending, list) else ())
    return Snapshot(
        exchange.request.at_ns, as_text(data.get("status")), as_text(data.get("title")),
        as_text(data.get("agent_name")), as_text(data.get("llm_model")),
        online if isinstance(online, bool) else None, tuple(id_ for id_ in ids if id_ is not None),
        _last_said(data.get("items")),
    )  # fmt: skip


def _elicitation_id(value: Any) -> str | None:
    data = as_dict(value)
    return as_text(value) or as_text(data.get("elicitation_id")) or as_text(data.get("id"))


def _last_said(items: Any) -> str | None:
    """Return the last message of the assistant in a list of items."""
    for item in map(as_dict, reversed(items if isinstance(items, list) else ())):
        message = as_dict(item.get("data")) or item
        if item.get("type") == "message" and message.get("role") == "assistant":
            return text_of(message.get("content"))
    return None
