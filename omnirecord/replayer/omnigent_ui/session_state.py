"""What the streams of one session told of its state, in the order of time: items, fields, what is asked. Pure.

Deltas are passed over: of a turn that goes on, who joins its stream gets the text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ...model import TimedFrame
from ...wire.payload import payload_of

Data = dict[str, Any]
_USED = {
    "context_tokens": "last_total_tokens", "context_window": "context_window", "total_cost_usd": "total_cost_usd",
    "usage_by_model": "usage_by_model",
}  # fmt: skip
"""What a session's usage is called on its stream, and in its snapshot."""
Epoch = Callable[[TimedFrame], int]
_ENDS = ("completed", "failed", "incomplete", "cancelled")


@dataclass(slots=True)
class Heard:
    """Each a list of what came and when, in ns of recorded time, ascending."""

    items: list[tuple[int, Data]] = field(default_factory=list)
    fields: list[tuple[int, Data]] = field(default_factory=list)
    asked: list[tuple[int, Data]] = field(default_factory=list)
    """Events that ask for an approval."""
    answered: list[tuple[int, str]] = field(default_factory=list)
    """Which of them were answered."""
    children: list[tuple[int, Data]] = field(default_factory=list)
    """What was told of sub-agents' sessions."""

    def changed(self, after: float, before: float) -> Data:
        """The fields that changed between two moments, as they are at the second."""
        at = [when for when, _ in self.fields]
        changed: Data = {}
        for _, one in self.fields[bisect_left(at, after) : bisect_left(at, before)]:
            changed |= one
        return changed

    def pending(self, before: float) -> list[Data]:
        """What is asked and not answered by then."""
        answered = {name for at, name in self.answered if at < before}
        open_ = {data["elicitation_id"]: data for at, data in self.asked if at < before}
        return [data for name, data in open_.items() if name not in answered]


def heard(frames: Iterable[TimedFrame], epoch: Epoch) -> Heard:
    """From the frames of all of its streams. `epoch`: when one came, in seconds since 1970."""
    told = Heard()
    for frame in sorted(frames, key=lambda frame: frame.offset_ns):
        reader = _READERS.get(frame.type or "")
        data = payload_of(frame) if reader is not None else None
        if reader is not None and isinstance(data, dict):
            reader(told, frame, data, epoch)
    return told


Reader = Callable[[Heard, TimedFrame, Data, Epoch], None]


def _item(told: Heard, frame: TimedFrame, data: Data, _: Epoch) -> None:
    item = data.get("item")
    if isinstance(item, dict) and isinstance(item.get("id"), str):
        told.items.append((frame.offset_ns, item))


def _consumed(told: Heard, frame: TimedFrame, data: Data, epoch: Epoch) -> None:
    """A user's message becomes an item."""
    said = data.get("data")
    name, content = (said.get("item_id"), said.get("data")) if isinstance(said, dict) else (None, None)
    if isinstance(said, dict) and isinstance(name, str) and isinstance(content, dict):
        item = {"id": name, "response_id": f"turn_{name}", "type": said.get("type"), "status": "completed"}
        told.items.append((frame.offset_ns, item | {"created_at": epoch(frame)} | content))


def _asks(told: Heard, frame: TimedFrame, data: Data, _: Epoch) -> None:
    if isinstance(data.get("elicitation_id"), str):
        told.asked.append((frame.offset_ns, data))


def _answers(told: Heard, frame: TimedFrame, data: Data, _: Epoch) -> None:
    told.answered.append((frame.offset_ns, str(data.get("elicitation_id"))))


def _child(told: Heard, frame: TimedFrame, data: Data, _: Epoch) -> None:
    child = data.get("child")
    if isinstance(child, dict) and isinstance(child.get("id"), str):
        told.children.append((frame.offset_ns, child))


def _status(told: Heard, frame: TimedFrame, data: Data, _: Epoch) -> None:
    error = data.get("error") if data.get("status") == "failed" else None
    told.fields.append((frame.offset_ns, {"status": data.get("status"), "last_task_error": error}))


def _usage(told: Heard, frame: TimedFrame, data: Data, _: Epoch) -> None:
    names = {"context_tokens": "last_total_tokens"}
    kept = ("context_tokens", "context_window", "total_cost_usd", "usage_by_model")
    told.fields.append(
        (frame.offset_ns, {names.get(name, name): data[name] for name in kept if data.get(name) is not None})
    )


def _begins(told: Heard, frame: TimedFrame, data: Data, _: Epoch) -> None:
    response = data.get("response")
    name = response.get("id") if isinstance(response, dict) else None
    told.fields.append((frame.offset_ns, {"active_response_id": name}))


def _ends(told: Heard, frame: TimedFrame, _data: Data, _: Epoch) -> None:
    told.fields.append((frame.offset_ns, {"active_response_id": None}))


def _same(name: str, *fields: str) -> dict[str, Reader]:
    """Fields that the event has under the names that the session has."""

    def read(told: Heard, frame: TimedFrame, data: Data, _: Epoch) -> None:
        told.fields.append((frame.offset_ns, {one: data[one] for one in fields if one in data}))

    return {name: read}


def _model(told: Heard, frame: TimedFrame, data: Data, _: Epoch) -> None:
    told.fields.append((frame.offset_ns, {"llm_model": data.get("model")}))


_READERS: dict[str, Reader] = {
    "response.output_item.done": _item,
    "session.input.consumed": _consumed,
    "response.elicitation_request": _asks,
    "response.elicitation_resolved": _answers,
    "session.child_session.updated": _child,
    "session.status": _status,
    "session.usage": _usage,
    "session.model": _model,
    "response.created": _begins,
    "response.in_progress": _begins,
    **{f"response.{end}": _ends for end in _ENDS},
    **_same("session.title", "title"),
    **_same("session.todos", "todos"),
    **_same("session.agent_changed", "agent_id", "agent_name"),
    **_same("session.reasoning_effort", "reasoning_effort"),
}
