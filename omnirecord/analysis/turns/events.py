"""Adds each event to its turn, by its type. Other types add only their time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

from ...omnigent import protocol
from ...omnigent.summary import sentence
from ...text import joined
from ...wire.strict_json import as_dict, as_int, as_number, as_text, loads, text_of, written
from .begin_and_end import Data, call_id_of, fault_of
from .builder import TurnBuilder
from .draft import Block, Draft
from .values import Approval, Child, Fault, Trouble


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
    """Add an event of a connect snapshot: text in flight of the open turn, or the status of a sub-agent."""
    if type_ == protocol.SESSION_CHILD_SESSION_UPDATED:
        _child(builder, at_ns, data, is_again=True)
    elif type_ == protocol.RESPONSE_CREATED:
        _begin(builder, at_ns, data, is_again=True)
    elif delta := as_text(data.get("delta")):
        builder.speak(at_ns, data).say_again(delta, at_ns)


def _begin(builder: TurnBuilder, at_ns: int, data: Data, *, is_again: bool = False) -> None:
    if not is_again:
        builder.worked = builder.ref
    draft = builder.begin(at_ns, data, is_again=is_again)
    if draft is not None and not (draft.restarts and draft.agent):
        # The live server gives the agent's id in the place of its name once its runner was restarted.
        draft.agent = as_text(as_dict(data.get("response")).get("model")) or draft.agent


def _taken(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    builder.worked = builder.ref
    builder.take_in(at_ns, data)


def _end(builder: TurnBuilder, at_ns: int, data: Data, type_: str) -> None:
    id_ = as_text(as_dict(data.get("response")).get("id"))
    open_ = builder.open
    last = builder.latest()
    if protocol.is_denial(id_):
        builder.denials.append(builder.ref)
    elif open_ is not None and open_.response_id is None and open_.taken and type(data.get("sequence_number")) is int:
        open_.unbegun = id_ or "", builder.ref
    if open_ is None and last is not None and last.ended == "unfinished" and last.response_id == id_:
        last.late_ends.append((type_, last.end_ref or builder.ref, builder.ref))
    builder.end(at_ns, data, type_)


def _interrupted(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    if (draft := builder.latest()) is not None:
        draft.note("interrupted by the user", at_ns)
    builder.interrupt(at_ns, data)


def _text(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    draft = builder.open or builder.turn(at_ns)
    delta = data.get("delta")
    if draft.thoughts:
        draft.break_thoughts()
    if delta and type(delta) is str:
        draft.has_content = True
        draft.say(delta, at_ns, as_text(data.get("message_id")))


def _thought(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    draft = builder.speak(at_ns, data)
    if delta := as_text(data.get("delta")):
        draft.think(delta, at_ns)


def _printed(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    call_id, delta = as_text(data.get("call_id")), as_text(data.get("delta"))
    if call_id is not None and delta:
        draft = builder.print_out(at_ns, data)
        draft.printed.setdefault(call_id, Block(at_ns, draft.events)).add(delta, at_ns)


def _item(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    """Add a finished item to the turn it belongs to: an item of the agent, or the server's text for a refused message
    or call."""
    ref = builder.ref
    found = builder.item(at_ns, data)
    item = as_dict(data.get("item"))
    text, response_id = text_of(item.get("content")), as_text(item.get("response_id"))
    if protocol.is_denial(response_id) or text.startswith(protocol.DENIED_TEXT):
        builder.denials.append(ref)
    else:
        builder.worked = ref
    if found is None:
        return
    draft, _, type_ = found
    if type_ == "function_call":
        draft.trace(call_id_of(item)).begun.append(ref)
    elif type_ == "function_call_output":
        draft.trace(as_text(item.get("call_id")) or "?").ended.append(ref)
    if type_ not in ("reasoning", "function_call_output"):
        draft.break_thoughts()
    add_item(draft, at_ns, item)


def add_item(draft: Draft, at_ns: int, item: Data) -> None:
    """Add a finished item to its turn."""
    type_ = as_text(item.get("type")) or "item"
    if type_ == "function_call_output":
        call_id = as_text(item.get("call_id")) or "?"
        draft.hand_back(call_id, written(item.get("output")) or "", as_text(item.get("status")), at_ns)
    elif type_ == "function_call":
        arguments = written(item.get("arguments")) or ""
        status = as_text(item.get("status"))
        draft.call(call_id_of(item), as_text(item.get("name")) or "", arguments, status, at_ns)
    else:
        _add(draft, at_ns, item, type_)


def _add(draft: Draft, at_ns: int, item: Data, type_: str) -> None:
    text = text_of(item.get("content"))
    if type_ == "message":
        if item.get("role") in ("user", "system"):
            draft.ask(text, at_ns, as_text(item.get("id")))
        elif text:
            draft.store(text, at_ns)
    elif type_ == "reasoning":
        if draft.thoughts and draft.thoughts[-1].parts:
            draft.break_thoughts()  # deltas have brought them
        elif text := text or text_of(item.get("summary")):
            draft.think(text, at_ns, whole=True)
    elif type_ == "error":
        source, code, message = (as_text(item.get(name)) for name in ("source", "code", "message"))
        draft.troubles.append(Trouble(at_ns, "error", source, None, code, message or "", place=draft.events))
    else:
        told = as_text(item.get("input")) or as_text(item.get("name")) or as_text(item.get("summary"))
        draft.note(joined([type_.replace("_", " "), told], ": "), at_ns)


def _elicitation(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    id_, params = as_text(data.get("elicitation_id")), as_dict(data.get("params"))
    draft = builder.raise_question(at_ns, data)
    known = builder.owners.get(id_ or "")
    if id_ is not None and known is not None:
        known.trace(id_).begun.append(builder.ref)
    if id_ is None or draft is None:
        return
    message = as_text(params.get("message")) or ""
    draft.approvals[id_] = Approval(id_, message, at_ns, None, None, None, None, draft.events)
    if params.get("phase") == "request" and not draft.runs:
        _ask_about(builder, draft, at_ns, as_text(params.get("content_preview")))


def _ask_about(builder: TurnBuilder, draft: Draft, at_ns: int, preview: str | None) -> None:
    """Add the message that an approval is about: the agent has not taken it in yet."""
    value = loads(preview or "")
    text = preview if value is None else text_of(as_dict(value).get("content")) or None
    post = builder.posts.claim(text, at_ns) or builder.posts.claim(None, at_ns)
    if post is not None:
        draft.ask(post.text, post.at_ns, post.item_id)
    elif text:
        draft.ask(text, at_ns)


def _resolved(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    draft = builder.resolve(at_ns, data)
    id_ = as_text(data.get("elicitation_id"))
    action = as_text(data.get("action"))
    if id_ is None:
        return
    if draft is None:
        builder.trace(id_).ended.append(builder.ref)
    elif (approval := draft.approvals.get(id_)) is not None:  # the id of a call has none
        trace = draft.trace(id_)
        trace.ended.append(builder.ref)
        trace.told.append(action)
        resolved_ns = at_ns if approval.resolved_ns is None else approval.resolved_ns
        draft.approvals[id_] = replace(approval, resolved_ns=resolved_ns, action=approval.action or action)


def _child(builder: TurnBuilder, at_ns: int, data: Data, *, is_again: bool = False) -> None:
    """Add the status of a sub-agent. A connect snapshot does not tell its turn."""
    id_, summary = as_text(data.get("child_session_id")), as_dict(data.get("child"))
    draft = builder.owners.get(id_ or "") or (None if is_again else builder.latest())
    if id_ is None:
        return
    if draft is not None:
        builder.owners[id_] = draft
    owner = builder if draft is None else draft
    children = owner.children
    trace = owner.trace(id_)
    known = children.get(id_) or Child(id_, None, at_ns, None, None, None, 0 if draft is None else draft.events)
    status = as_text(summary.get("current_task_status"))
    if not trace.begun:
        trace.begun.append(builder.ref)
    if status is not None:
        trace.ended.append(builder.ref)
        trace.told.append(status)
        trace.error = _error_text(as_dict(summary.get("last_task_error")))
    children[id_] = replace(
        known,
        title=as_text(summary.get("title")) or known.title,
        updated_ns=at_ns if status not in (None, known.status) else known.updated_ns,
        status=status or known.status,
        last_message=as_text(summary.get("last_message_preview")) or known.last_message,
    )


def _error_text(error: Data) -> str:
    return joined((as_text(error.get(name)) for name in ("code", "message", "reason")), ": ")


def _trouble(builder: TurnBuilder, at_ns: int, data: Data) -> None:
    fault = fault_of(data.get("error")) or Fault(None, "")
    draft = builder.stumble(at_ns, data.get("error"))
    kind: Literal["retry", "error"] = "retry" if "attempt" in data else "error"
    if kind == "retry":
        builder.retried.ended.append(builder.ref)
        builder.retried.error = _error_text(as_dict(data.get("error")))
    source, tool_name = as_text(data.get("source")), as_text(data.get("tool_name"))
    attempt = as_int(data.get("attempt"))
    of = as_int(data.get("max_attempts"))
    delay_s = data.get("delay_seconds")
    draft.troubles.append(
        Trouble(
            at_ns, kind, source, tool_name, fault.code, fault.message, attempt, of, as_number(delay_s), draft.events
        )
    )


def _model(builder: TurnBuilder, _at_ns: int, data: Data) -> None:
    builder.model = as_text(data.get("model")) or builder.model
    if builder.open is not None:
        builder.open.model = builder.model


def _session_usage(builder: TurnBuilder, _at_ns: int, data: Data) -> None:
    cost = as_number(data.get("total_cost_usd"))
    builder.cost_usd = builder.cost_usd if cost is None else cost


_HANDLERS: dict[str, Callable[[TurnBuilder, int, Data], object]] = {
    protocol.SESSION_STATUS: TurnBuilder.change,
    protocol.SESSION_INTERRUPTED: _interrupted,
    protocol.SESSION_INPUT_CONSUMED: _taken,
    protocol.SESSION_CREATED: _child,
    protocol.SESSION_CHILD_SESSION_UPDATED: _child,
    protocol.SESSION_MODEL: _model,
    protocol.SESSION_USAGE: _session_usage,
    **dict.fromkeys(protocol.RESPONSE_BEGINS, _begin),
    **{type_: partial(_end, type_=type_) for type_ in protocol.ENDS},
    protocol.RESPONSE_OUTPUT_TEXT_DELTA: _text,
    **dict.fromkeys(protocol.REASONING_DELTAS, _thought),
    protocol.RESPONSE_FUNCTION_CALL_OUTPUT_DELTA: _printed,
    protocol.RESPONSE_OUTPUT_ITEM_DONE: _item,
    protocol.RESPONSE_ERROR: _trouble,
    protocol.RESPONSE_RETRY: _trouble,
    protocol.RESPONSE_ELICITATION_REQUEST: _elicitation,
    protocol.RESPONSE_ELICITATION_RESOLVED: _resolved,
    protocol.TURN_STARTED: TurnBuilder.started,
}
