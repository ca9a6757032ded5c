"""Makes the events of a turn comparable: deltas joined, noise dropped, each step with a key that the other side's step
shares. `wire.normal` removes ids and times.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from typing import Any

from ...model import TimedFrame
from ...omnigent import protocol
from ...wire.normal import Normal
from ...wire.sse import read_fields
from ...wire.strict_json import as_dict, as_text, parsed, payload, text_of

IGNORED = protocol.HEARTBEATS | {protocol.SESSION_PRESENCE, protocol.SESSION_TERMINAL_ACTIVITY}
"""Event types that are not compared: heartbeats, presence, terminal activity."""
DONE = "DONE"
"""The label of `[DONE]`."""
_TOLD = {protocol.RESPONSE_OUTPUT_TEXT_DELTA: "text", **dict.fromkeys(protocol.REASONING_DELTAS, "reasoning")}
"""Deltas whose text is compared as the turn's messages and thoughts."""
_OF_CHUNKS = ("type", "delta", "sequence_number", "index", "final")
"""Fields of a delta that depend on how the text was divided."""
Data = dict[str, Any]
_BEGIN = "begin"


@dataclass(slots=True)
class Step:
    """One event, or a run of deltas. Complete after `Steps.close`."""

    label: str
    """The event's type; `text` or `reasoning` for such deltas; `malformed` or `not kept` for other frames."""
    key: str
    """Equal for steps with equal meaning, whatever their ids."""
    ids: tuple[str, ...]
    raw: bytes | None
    """The frame's bytes, parsed by `data` on demand; None for a run."""
    about: str | None = None
    """The id or text under which the turn has it, so that it is not reported twice."""
    family: str = ""
    """The type of an output item: a step only changes into one of the same family."""
    group: str | None = None
    """Adjacent steps of one group may have any order."""
    parts: list[str] | None = None
    """The deltas of a run, if the turn does not have its text."""

    @property
    def data(self) -> Any:
        """Its JSON object, or its text if it holds none."""
        if self.parts is not None:
            return {"type": self.label, "delta": "".join(self.parts)}
        return None if self.raw is None else parsed(read_fields(self.raw, bom=True).data or "")


class Steps:
    """Makes the steps of one turn from its frames."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._runs: dict[str, Step] = {}

    def add(self, frame: TimedFrame) -> None:
        """Add the next frame. A frame that the end of the stream cut off is ignored."""
        if frame.raw is None:
            self.steps.append(Step("not kept", "not kept", (), None))
        elif frame.verdict == "sentinel":
            self.steps.append(Step(DONE, DONE, (), None))
        elif frame.verdict == "truncated" or frame.type in IGNORED:
            return
        else:
            data = payload(frame) or parsed(read_fields(frame.raw, bom=frame.seq == 1).data or "")
            delta = data.get("delta") if isinstance(data, dict) else None
            if isinstance(delta, str) and (frame.type or "").endswith(".delta"):
                self._delta(frame.type or "", data, delta)
            else:
                self.steps.append(_step(frame, data))

    def _delta(self, type_: str, data: Data, delta: str) -> None:
        label = _TOLD.get(type_, type_)
        normal = Normal()
        rest = normal.of({name: value for name, value in data.items() if name not in _OF_CHUNKS})
        key = f"{label} {json.dumps(rest)}" if rest else label
        if label != type_:
            last = self.steps[-1] if self.steps else None
            if delta and (last is None or (last.key, last.ids) != (key, tuple(normal.ids))):
                self.steps.append(Step(label, key, tuple(normal.ids), None, about=label))
            return
        run = self._runs.get(key + "".join(normal.ids))
        if run is None:
            run = Step(type_, key, tuple(normal.ids), None, as_text(data.get("call_id")), parts=[])
            self._runs[key + "".join(normal.ids)] = run
            self.steps.append(run)
        assert run.parts is not None
        run.parts.append(delta)

    def close(self) -> list[Step]:
        """The steps. The keys of runs are computed here."""
        for run in self._runs.values():
            normal = Normal()
            run.key = _digest(f"{run.key} {normal.written(''.join(run.parts or ()))}")
            run.ids += tuple(normal.ids)
        made: list[Step] = []  # adjacent steps of one group are in a fixed order
        for _, group in groupby(self.steps, lambda step: step.group or id(step)):
            made += sorted(group, key=lambda step: step.label if step.group == _BEGIN else step.key)
        return made


def _step(frame: TimedFrame, data: Any) -> Step:
    normal = Normal()
    if not isinstance(data, dict):
        text = data if isinstance(data, str) else json.dumps(data)
        return Step("malformed", _digest("malformed " + normal.said(text)), tuple(normal.ids), frame.raw)
    label = frame.type or "malformed"
    try:
        key = _digest(json.dumps(normal.of(data)))
    except RecursionError:
        key = _digest(repr(frame.raw))
    family = as_text(as_dict(data.get("item")).get("type")) or ""
    return Step(label, key, tuple(normal.ids), frame.raw, _about(label, data), family, _group(label, data))


def _group(type_: str, data: Data) -> str | None:
    """The group of an event whose order means nothing: the two events that begin a turn, and the partial summaries of a
    child's status."""
    if type_ == protocol.SESSION_INPUT_CONSUMED or (
        type_ == protocol.SESSION_STATUS and data.get("status") == "running"
    ):
        return _BEGIN
    if type_ == protocol.SESSION_CHILD_SESSION_UPDATED:
        return f"{data.get('child_session_id')} {as_dict(data.get('child')).get('current_task_status')}"
    return None


def _about(type_: str, data: Data) -> str | None:
    """The part of the turn that an event is about, as in `Step.about`."""
    if type_ == protocol.RESPONSE_OUTPUT_ITEM_DONE:
        item = as_dict(data.get("item"))
        return as_text(item.get("call_id")) or text_of(item.get("content")) or None
    if type_ == protocol.SESSION_INPUT_CONSUMED:
        return text_of(as_dict(as_dict(data.get("data")).get("data")).get("content")) or None
    if type_ in protocol.ELICITATIONS:
        return as_text(data.get("elicitation_id"))
    if type_ in protocol.CHILD_EVENTS:
        return as_text(data.get("child_session_id"))
    if type_ in protocol.USAGE_EVENTS:
        return "usage"
    return "end" if type_ in protocol.ENDS else None


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
