"""Adds each event to its turn, by its type. Other types add only their time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from ...omnigent import protocol
from ...omnigent.summary import sentence
from ...wire.strict_json import as_dict, as_int, as_list, as_number, as_text, text_of
from .builder import Data, TurnBuilder, add_item
from .draft import Block, Draft
from .values import Approval, Child, Ended, Fault, Trouble, TurnUsage


def add_event(builder: TurnBuilder, type_: str | None, at_ns: int, data: Data) -> None:
    """Add an event to the turn it belongs to."""
    if not data or type_ is None:
        return
    handler = _HANDLERS.get(type_)
    if handler is not None:
        handler(builder, at_ns, data)
    elif (draft := builder.latest()) is not None and (text := sentence(type_, data)):
        draft.note(text, at_ns)


def add_resent(builder: TurnBuilder, type_: str, at_ns: int, data: Data) -> None:
    """Add text in flight, which a connect snapshot has of the open turn."""
    if type_ == protocol.RESPONSE_CREATED:
        _begin(builder, at_ns, data, is_again=True)
    elif delta := as_text(data.get("delta")):
        builder.turn(at_ns).say_again(delta, at_ns)


def fault_of(error: Any) -> Fault | None:
    """Return an error object as a `Fault`; None if it has neither code nor message."""
    data = as_dict(error)
    code, message = as_text(data.get("code")), as_text(data.get("message")) or as_text(error)
    return Fault(code, message or "") if code or message else None


def _begin(builder: TurnBuilder, at_ns: int, data: Data, *, is_again: bool = False) -> None:
    response = as_dict(data.get("response"))
    id_, last = as_text(response.get("id")), builder.latest()
    if builder.open is None and last is not None and id_ is not None and id_ == last.response_id:
        return  # a late copy of the beginning
    if builder.open is not None and id_ is not None and builder.open.response_id not in (None, id_):
        if builder.open.midway or builder.open.interrupted or is_again:
            builder.close("unfinished", at_ns)  # its end is missing
        else:
            builder.open.restart(at_ns)
    draft = builder.next_turn(at_ns)
    draft.runs, draft.response_id = True, id_ or draft.response_id
    # The live server gives the agent's id in the place of its name once its runner was restarted.
    draft.agent = draft.agent if draft.restarts and draft.agent else as_text(response.get("model")) or draft.agent


def _end(builder: TurnBuilder, at_ns: int, data: Data, *, ended: Ended, type_: str) -> None:
    response, is_response = as_dict(data.get("response")), type_ in protocol.RESPONSE_ENDS
    id_, last = as_text(response.get("id")), builder.latest()
    is_late = last is not None and (not last.terminal or (id_ is not None and id_ == last.response_id))
    if last is not None and builder.open is None and (not is_response or is_late):
        _settle(last, response)
        last.terminal = last.terminal or is_response
        if last.ended == "unfinished":
            last.end(ended, at_ns)
        return
    draft = builder.turn(at_ns)
    draft.terminal = is_response
    _settle(draft, response)
    if protocol.is_denial(id_):
        ended = "denied"
    builder.close(ended, at_ns, _why(draft, data, ended))


def _settle(draft: Draft, response: Data) -> None:
    """Take over id, agent, usage and output from the response object of an end."""
    id_ = as_text(response.get("id")) or ""
    if not protocol.is_denial(id_):
        draft.response_id = draft.response_id or id_ or None
        draft.agent = draft.agent or as_text(response.get("model"))
    usage = as_dict(response.get("usage"))
    if usage:
        draft.usage = TurnUsage(
            as_int(usage.get("input_tokens")), as_int(usage.get("output_tokens")),
            as_int(as_dict(usage.get("output_tokens_details")).get("reasoning_tokens")),
            as_int(usage.get("total_tokens")), as_number(usage.get("cost_usd")),
        )  # fmt: skip
        draft.model = as_text(usage.get("model")) or draft.model
    if not draft.messages:
        for item in as_list(response.get("output")):
            if as_dict(item).get("type") == "message" and (text := text_of(item.get("content"))):
                draft.store(text, draft.last_ns)


def _why(draft: Draft, data: Data, ended: Ended) -> Fault | None:
    response = as_dict(data.get("response"))
    reason = as_text(as_dict(response.get("incomplete_details")).get("reason"))
    found = fault_of(response.get("error")) or fault_of(data.get("error"))
    if found is None and ended == "failed" and draft.troubles:
        found = Fault(draft.troubles[-1].code, draft.troubles[-1].message)
    return found or (Fault(None, reason) if reason else None)


def _status(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    status = as_text(data.get("status"))
    builder.status = builder.status if status is None else (status, at_ns)
    if status in ("running", "launching"):
        draft = builder.next_turn(at_ns)
        draft.runs = True
        draft.waiting_for.pop("status", None)
    elif status == "waiting" and builder.open is not None:
        builder.open.waiting_for["status"] = as_text(data.get("blocked_on")) or "sub-agents"
    elif status == "idle" and builder.open is not None and builder.open.runs:
        _rest(builder, builder.open, at_ns)
    elif status == "failed":
        _fail(builder, at_ns, fault_of(data.get("error")))


def _rest(builder: TurnBuilder, draft: Draft, at_ns: int) -> None:
    """Close a turn at rest without an end event. An agent without response events ends its turns so."""
    if draft.response_id is None or draft.interrupted:
        builder.close("interrupted" if draft.interrupted else "completed", at_ns)
    else:
        draft.note("the session came to rest, and no event said how the turn ended", at_ns)
        builder.close("unfinished", at_ns)


def _fail(builder: TurnBuilder, at_ns: int, error: Fault | None) -> None:
    last = builder.latest()
    if builder.open is not None or (last is None and error is not None):
        builder.turn(at_ns).error = error
        builder.close("failed", at_ns, error)
    elif last is not None and last.ended != "failed":
        why = f": {error.code or ''} {error.message}".rstrip() if error else ""
        last.note(f"after the turn, the session failed{why}", at_ns)


def _interrupted(builder: TurnBuilder, at_ns: int, _data: Data) -> None:
    draft = builder.latest()
    if draft is not None:
        draft.note("interrupted by the user", at_ns)
    if builder.open is not None and not builder.open.only_asks:
        builder.open.interrupted = True


def _input(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    item = as_dict(data.get("data"))
    text, item_id = text_of(as_dict(item.get("data")).get("content")), as_text(item.get("item_id"))
    if text.startswith(protocol.INTERRUPTED_TEXT) or not text:
        return  # the server's note to the agent
    post = builder.posts.claim(text, at_ns, item_id)
    draft = builder.next_turn(at_ns)
    by: Literal["user", "agent"] = "agent" if builder.is_child and post is None else "user"
    draft.ask(text, post.at_ns if post else at_ns, item_id, by, midway=draft.response_id is not None)
    draft.taken.append(text)


def _text(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    draft, delta = builder.open or builder.turn(at_ns), data.get("delta")
    if draft.thoughts:
        draft.break_thoughts()
    if delta and type(delta) is str:
        draft.say(delta, at_ns, as_text(data.get("message_id")))


def _thought(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    draft = builder.turn(at_ns)
    if delta := as_text(data.get("delta")):
        draft.think(delta, at_ns)


def _printed(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    call_id, delta = as_text(data.get("call_id")), as_text(data.get("delta"))
    if call_id is not None and delta:
        draft = builder.owners.get(call_id) or builder.turn(at_ns)
        draft.printed.setdefault(call_id, Block(at_ns, draft.events)).add(delta, at_ns)


def _elicitation(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    id_, params = as_text(data.get("elicitation_id")), as_dict(data.get("params"))
    if id_ is None or id_ in builder.owners:
        return
    draft = builder.next_turn(at_ns)
    message = as_text(params.get("message")) or ""
    draft.approvals[id_] = Approval(id_, message, at_ns, None, None, None, None, draft.events)
    draft.waiting_for[id_] = "approval"
    builder.owners[id_] = draft
    if params.get("phase") == "request" and not draft.runs:
        _ask_about(builder, draft, at_ns, as_text(params.get("content_preview")))


def _ask_about(builder: TurnBuilder, draft: Draft, at_ns: int, preview: str | None) -> None:
    """Add the message that an approval is about: the agent has not taken it in yet."""
    try:
        text = text_of(as_dict(json.loads(preview or "")).get("content")) or None
    except (ValueError, RecursionError):
        text = preview
    post = builder.posts.claim(text, at_ns) or builder.posts.claim(None, at_ns)
    if post is not None:
        draft.ask(post.text, post.at_ns, post.item_id)
    elif text:
        draft.ask(text, at_ns)


def _resolved(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    id_ = as_text(data.get("elicitation_id"))
    draft = None if id_ is None else builder.owners.get(id_)
    approval = None if draft is None else draft.approvals.get(id_ or "")  # the id of a call has none
    if id_ is not None and draft is not None and approval is not None and approval.resolved_ns is None:
        draft.approvals[id_] = replace(approval, resolved_ns=at_ns, action=as_text(data.get("action")))
        draft.waiting_for.pop(id_, None)


def _child(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    id_, summary = as_text(data.get("child_session_id")), as_dict(data.get("child"))
    draft = builder.owners.get(id_ or "") or builder.latest()
    if id_ is None or draft is None:
        return
    builder.owners[id_] = draft
    known = draft.children.get(id_) or Child(id_, None, at_ns, None, None, None, draft.events)
    status = as_text(summary.get("current_task_status"))
    draft.children[id_] = replace(
        known, title=as_text(summary.get("title")) or known.title,
        updated_ns=at_ns if status not in (None, known.status) else known.updated_ns,
        status=status or known.status, last_message=as_text(summary.get("last_message_preview")) or known.last_message,
    )  # fmt: skip


def _trouble(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    fault = fault_of(data.get("error")) or Fault(None, "")
    draft = builder.turn(at_ns)
    draft.troubles.append(Trouble(
        at_ns, "retry" if "attempt" in data else "error", as_text(data.get("source")),
        as_text(data.get("tool_name")), fault.code, fault.message, as_int(data.get("attempt")),
        as_int(data.get("max_attempts")), as_number(data.get("delay_seconds")), draft.events,
    ))  # fmt: skip


def _model(builder: TurnBuilder, _at_ns: int, data: Data) -> None:
    builder.model = as_text(data.get("model")) or builder.model
    if builder.open is not None:
        builder.open.model = builder.model


def _session_usage(builder: TurnBuilder, _at_ns: int, data: Data) -> None:
    cost = as_number(data.get("total_cost_usd"))
    builder.cost_usd = builder.cost_usd if cost is None else cost


def _started(builder: TurnBuilder, at_ns: int, _data: Data) -> None:
    builder.next_turn(at_ns).runs = True


_HANDLERS: dict[str, Callable[[TurnBuilder, int, Data], None]] = {
    protocol.SESSION_STATUS: _status,
    protocol.SESSION_INTERRUPTED: _interrupted,
    protocol.SESSION_INPUT_CONSUMED: _input,
    protocol.SESSION_CREATED: _child,
    protocol.SESSION_CHILD_SESSION_UPDATED: _child,
    protocol.SESSION_MODEL: _model,
    protocol.SESSION_USAGE: _session_usage,
    **dict.fromkeys(protocol.RESPONSE_BEGINS, _begin),
    **{type_: partial(_end, ended=ended, type_=type_) for type_, ended in protocol.ENDS.items()},
    protocol.RESPONSE_OUTPUT_TEXT_DELTA: _text,
    **dict.fromkeys(protocol.REASONING_DELTAS, _thought),
    protocol.RESPONSE_FUNCTION_CALL_OUTPUT_DELTA: _printed,
    protocol.RESPONSE_OUTPUT_ITEM_DONE: add_item,
    protocol.RESPONSE_ERROR: _trouble,
    protocol.RESPONSE_RETRY: _trouble,
    protocol.RESPONSE_ELICITATION_REQUEST: _elicitation,
    protocol.RESPONSE_ELICITATION_RESOLVED: _resolved,
    protocol.TURN_STARTED: _started,
}
