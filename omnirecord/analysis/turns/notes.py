"""Events that are told in one sentence, each with the sentence; an empty one is not told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .lenient import as_dict, as_int, as_text

Data = dict[str, Any]


def _say(data: Data, *names: str) -> str:
    """The first of these fields that is a text."""
    return next((text for text in (as_text(data.get(name)) for name in names) if text), "")


def _denied(data: Data) -> str:
    phase = _say(data, "phase")
    return f"a policy said no{f' ({phase})' if phase else ''}: {_say(data, 'reason')}"


def _compacted(data: Data) -> str:
    tokens = as_int(data.get("total_tokens"))
    return "the history was summarised" + (f": {tokens} tokens now" if tokens is not None else "")


def _sandbox(data: Data) -> str:
    stage = _say(data, "stage")
    return f"sandbox {stage}: {_say(data, 'error')}".rstrip(": ") if stage == "failed" else ""


def _mcp(data: Data) -> str:
    servers = as_dict(data.get("servers")).items()
    failed = [f"{name}: {_say(as_dict(server), 'error')}" for name, server in servers
              if as_dict(server).get("status") == "failed"]  # fmt: skip
    return f"MCP server failed to start: {', '.join(failed)}" if failed else ""


NOTES: Mapping[str, Callable[[Data], str]] = {
    "response.policy_denied": _denied,
    "response.output_file.done": lambda data: f"file {_say(data, 'filename', 'file_id')}",
    "response.compaction.in_progress": lambda _: "the history is being summarised",
    "response.compaction.completed": _compacted,
    "response.compaction.failed": lambda _: "the history could not be summarised",
    "response.client_task.cancel": lambda data: f"client task {_say(data, 'task_id')} cancelled",
    "browser.action_request": lambda data: f"asked the browser to {_say(data, 'action')}",
    "session.agent_changed": lambda data: f"the agent is now {_say(data, 'agent_name', 'agent_id')}",
    "session.superseded": lambda data: f"goes on in session {_say(data, 'target_conversation_id')}",
    "session.btw_sidechat": lambda data: f"by the way: {_say(data, 'question')}: {_say(data, 'answer')}",
    "session.sandbox_status": _sandbox,
    "session.mcp_startup": _mcp,
}
