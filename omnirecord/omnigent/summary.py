"""One line for an event: its summary beside its type, or a sentence about it in a turn. Pure, and never raises.

The data is any JSON. No control character of it gets into a summary: `visible` replaces them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..text import ENOUGH, SUMMARY, as_json, clip, joined, one_line, quoted, text_in, tokens
from ..wire.json_rpc import message_of
from ..wire.strict_json import as_dict, as_list
from .protocol import RESPONSE_BEGINS, RESPONSE_ENDS

_PREFIX = re.compile(r"[a-z]{1,8}_")
Data = dict[str, Any]


def summary(type_: str | None, data: Any, limit: int = SUMMARY) -> str:
    """Return the summary of an event in at most `limit` characters. `data`: its payload as parsed JSON; as text if it
    is no JSON; or None."""
    if not isinstance(data, dict):
        return "" if data is None else _fit(as_json(data), limit)
    write = _SUMMARIES.get(type_ or "") or (_fields if message_of(data) is None else _of_json_rpc)
    return _fit(write(data), limit)


def sentence(type_: str | None, data: Data) -> str:
    """Return a sentence about an event that belongs to no message, tool call or approval; empty if the event has
    none."""
    write = _SENTENCES.get(type_ or "")
    return "" if write is None else write(data)


def short_id(session_id: str) -> str:
    """Return the beginning of a session's id: 8 characters after a prefix such as `conv_`."""
    prefix = _PREFIX.match(session_id)
    return session_id[: (prefix.end() if prefix else 0) + 8]


def _fit(text: str, limit: int) -> str:
    return clip(one_line(text[:ENOUGH] + ("…" if len(text) > ENOUGH else "")), limit)


def _field(*names: str) -> Callable[[Data], str]:
    """Return a function that joins these fields of an event, those that are texts."""
    return lambda data: joined(text_in(data.get(name)) for name in names)


def _fields(data: Data) -> str:
    """Return the first five fields of an event of unknown type."""
    plain = ((k, v) for k, v in data.items() if k not in ("type", "sequence_number") and v is not None)
    return joined(f"{k}={clip(as_json(v), 40)}" for k, v in list(plain)[:5])


def _of_json_rpc(data: Data) -> str:
    """Return the id of a JSON-RPC message, and the first fields of its parameters, its result or its error."""
    id_ = data.get("id")
    rest = next((data[name] for name in ("params", "result", "error") if name in data), None)
    if isinstance(rest, dict):
        told = _fields(rest)
    else:
        told = json.dumps(rest, ensure_ascii=False) if isinstance(rest, str) else as_json(rest)
    return joined(["" if id_ is None else f"id={id_}", told])


def _error(error: Any) -> str:
    data = as_dict(error)
    return joined([text_in(data.get("code")), text_in(data.get("message"))], ": ") or text_in(error)


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = map(as_dict, as_list(content)[:20])
    return "".join(text_in(part.get("text")) or f"[{part.get('type')}]" for part in parts)


def _status(data: Data) -> str:
    blocked = text_in(data.get("blocked_on"))
    return joined([text_in(data.get("status")), blocked and f"on {blocked}", _error(data.get("error"))])


def _input(data: Data) -> str:
    item = as_dict(data.get("data"))
    inner = as_dict(item.get("data"))
    said = joined([text_in(inner.get("role")), quoted(_content(inner.get("content")))], ": ")
    return said or text_in(item.get("type"))


def _child(data: Data) -> str:
    child = as_dict(data.get("child"))
    name = text_in(child.get("title")) or text_in(data.get("child_session_id"))
    said = text_in(child.get("last_message_preview"))
    return joined([name, text_in(child.get("current_task_status")), said and quoted(said)])


def _presence(data: Data) -> str:
    names = [text_in(as_dict(viewer).get("user_id")) for viewer in as_list(data.get("viewers"))]
    return joined([f"{len(names)} watching", ", ".join(filter(None, names))], ": ")


def _tokens(usage: Any) -> str:
    data = as_dict(usage)
    told = tokens(data.get("input_tokens"), data.get("output_tokens"))
    cost = data.get("cost_usd", data.get("total_cost_usd"))
    return joined([told, f"${cost:.4f}" if isinstance(cost, int | float) else ""], ", ")


def _session_usage(data: Data) -> str:
    used = data.get("context_tokens")
    window = data.get("context_window")
    context = f"context {used} of {window}" if used is not None else ""
    models = [f"{name} {_tokens(one)}" for name, one in as_dict(data.get("usage_by_model")).items()]
    return joined([context, *models], " · ")


def _todos(data: Data) -> str:
    todos = [as_dict(todo) for todo in as_list(data.get("todos"))]
    done = sum(todo.get("status") == "completed" for todo in todos)
    now = next((text_in(todo.get("content")) for todo in todos if todo.get("status") == "in_progress"), "")
    return joined([f"{done} of {len(todos)} done", now], ": ")


def _servers(data: Data) -> str:
    return ", ".join(f"{k} {text_in(as_dict(v).get('status'))}" for k, v in as_dict(data.get("servers")).items())


def _response(data: Data) -> str:
    response = as_dict(data.get("response"))
    reason = text_in(as_dict(response.get("incomplete_details")).get("reason"))
    why = _error(response.get("error")) or reason or _tokens(response.get("usage"))
    return joined([text_in(response.get("id")), why], " · ")


def _item(data: Data) -> str:
    item = as_dict(data.get("item"))
    type_ = text_in(item.get("type"))
    if type_ == "message":
        return f"{text_in(item.get('role')) or 'message'}: {quoted(_content(item.get('content')))}"
    if type_ == "function_call":
        return f"{text_in(item.get('name'))} {as_json(item.get('arguments'))[:ENOUGH]}"
    if type_ == "function_call_output":
        return f"-> {as_json(item.get('output'))}"
    if type_ == "resource_event":
        return joined([text_in(item.get("event_type")), text_in(as_dict(item.get("resource")).get("title"))])
    return joined([type_, _error(item) or _content(item.get("summary"))])


def _trouble(data: Data) -> str:
    what = joined([text_in(data.get("source")), text_in(data.get("tool_name"))])
    attempt = f"attempt {data['attempt']} of {data.get('max_attempts')}" if "attempt" in data else ""
    wait = f"again in {data['delay_seconds']} s" if "delay_seconds" in data else ""
    return joined([joined([what, attempt, wait], ", "), _error(data.get("error"))], ": ")


def _resource(data: Data) -> str:
    resource = as_dict(data.get("resource"))
    return joined([text_in(resource.get("type")), text_in(resource.get("name")) or text_in(resource.get("id"))])


_IN_DELTAS = ("output_text", "reasoning_text", "reasoning_summary_text", "function_call_output")
_SUMMARIES: Mapping[str, Callable[[Data], str]] = {
    "session.status": _status,
    "session.heartbeat": _field("server_time"),
    "session.interrupted": lambda _: "by the user",
    "session.input.consumed": _input,
    "session.created": _field("child_session_id"),
    "session.child_session.updated": _child,
    "session.agent_changed": _field("agent_name"),
    "session.model": _field("model"),
    "session.usage": _session_usage,
    "session.presence": _presence,
    "session.todos": _todos,
    "session.sandbox_status": _field("stage", "error"),
    "session.terminal.activity": _field("terminal_id"),
    "session.resource.created": _resource,
    "session.resource.deleted": _field("resource_type", "resource_id"),
    "session.changed_files.invalidated": _field("environment_id"),
    "session.title": _field("title"),
    "session.reasoning_effort": _field("reasoning_effort"),
    "session.collaboration_mode": _field("mode"),
    "session.permission_mode": _field("permission_mode"),
    "session.codex_approval_mode": _field("approval_mode"),
    "session.mcp_startup": _servers,
    "session.superseded": _field("target_conversation_id"),
    "session.btw_sidechat": _field("question"),
    **dict.fromkeys((*RESPONSE_BEGINS, *RESPONSE_ENDS), _response),
    **{f"response.{part}.delta": lambda data: quoted(data.get("delta")) for part in _IN_DELTAS},
    "response.output_item.done": _item,
    "response.output_file.done": _field("filename"),
    "response.error": _trouble,
    "response.retry": _trouble,
    "response.policy_denied": _field("phase", "reason"),
    "response.heartbeat": _field("server_time"),
    "response.elicitation_request": lambda data: f"asks: {text_in(as_dict(data.get('params')).get('message'))}",
    "response.elicitation_resolved": lambda data: _first(data, "action", "reason") or "settled",
    "response.client_task.cancel": _field("task_id"),
    "browser.action_request": _field("action"),
    "turn.failed": lambda data: _error(data.get("error")),
    **dict.fromkeys(
        (
            "response.reasoning.started",
            "session.model_options",
            "session.skills",
            "turn.started",
            "turn.completed",
            "turn.cancelled",
        ),
        _field(),
    ),
}


def _first(data: Data, *names: str) -> str:
    """Return the first of these fields that is a text."""
    return next((text for name in names if isinstance(text := data.get(name), str) and text), "")


def _denied(data: Data) -> str:
    phase = _first(data, "phase")
    return f"a policy said no{f' ({phase})' if phase else ''}: {_first(data, 'reason')}"


def _compacted(data: Data) -> str:
    left = data.get("total_tokens")
    return "the history was summarised" + (f": {left} tokens now" if type(left) is int else "")


def _sandbox(data: Data) -> str:
    stage = _first(data, "stage")
    return f"sandbox {stage}: {_first(data, 'error')}".rstrip(": ") if stage == "failed" else ""


def _failed_servers(data: Data) -> str:
    servers = [(name, as_dict(server)) for name, server in as_dict(data.get("servers")).items()]
    failed = [f"{name}: {_first(server, 'error')}" for name, server in servers if server.get("status") == "failed"]
    return f"MCP server failed to start: {', '.join(failed)}" if failed else ""


_SENTENCES: Mapping[str, Callable[[Data], str]] = {
    "response.policy_denied": _denied,
    "response.output_file.done": lambda data: f"file {_first(data, 'filename', 'file_id')}",
    "response.compaction.in_progress": lambda _: "the history is being summarised",
    "response.compaction.completed": _compacted,
    "response.compaction.failed": lambda _: "the history could not be summarised",
    "response.client_task.cancel": lambda data: f"client task {_first(data, 'task_id')} cancelled",
    "browser.action_request": lambda data: f"asked the browser to {_first(data, 'action')}",
    "session.agent_changed": lambda data: f"the agent is now {_first(data, 'agent_name', 'agent_id')}",
    "session.superseded": lambda data: f"goes on in session {_first(data, 'target_conversation_id')}",
    "session.btw_sidechat": lambda data: f"by the way: {_first(data, 'question')}: {_first(data, 'answer')}",
    "session.sandbox_status": _sandbox,
    "session.mcp_startup": _failed_servers,
}
