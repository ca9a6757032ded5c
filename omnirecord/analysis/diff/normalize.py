"""Removes what differs from run to run without a meaning: ids, times, temporary folders, sequence numbers.

`Normal.of` replaces them by marks, so that the rest can be compared. `Ids` compares the removed ids: each id of one
side has exactly one partner on the other. `Steps` makes the events of a turn comparable: deltas joined, noise dropped,
each step with a key that the other side's step shares.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from typing import Any, Literal

from ...model import TimedFrame
from ...omnigent import protocol
from ...wire.sse import read_fields
from ...wire.strict_json import MalformedError, as_dict, as_text, parse, payload, text_of

Role = Literal["", "noise", "id", "time", "length"]
ID, TIME = "\0id", "\0time"
"""The marks. They hold a NUL, which recorded JSON hardly ever does."""
_NOISE = frozenset({"sequence_number", "last_event_seq", "stream_epoch", "epoch"})
_LENGTHS = frozenset({"duration", "elapsed", "latency"})
_LONG = 16
"""Characters from which the value of an id field counts as an id without a digit."""
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_IDS = (
    r"(?<![\w-])(?:[A-Za-z]{2,24}_)*(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32})(?![\w-])"
    r"|(?<![\w-])(?:[A-Za-z]{2,24}_)+(?=[a-f]*\d)[0-9a-f]{8,64}(?![\w-])"
    r"|(?<![\w-])(?:call|toolu|msg|resp|conv|run|item)_(?=[A-Za-z]*\d)[0-9A-Za-z]{8,64}(?![\w-])"
    r"|(?<![\w/])(?:/private)?/(?:var/)?tmp/(?:[\w.@+-]+/)+|(?<![\w/])(?:/private)?/var/folders/(?:[\w.@+-]+/)+"
    r"|(?<!\w)tmp[a-z0-9_]{8}(?!\w)"
)
"""Ids of known shapes, and temporary folders with random names. A file's name in such a folder is compared."""
_TIMES = (
    r"(?<!\d)\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"
    rf"|(?<!\w){_MONTH} +\d{{1,2}} +(?:\d\d:\d\d(?::\d\d)?(?: [A-Z]{{3,4}})?(?: \d{{4}})?|\d{{4}})(?!\w)"
)
_ID = re.compile(_IDS)
_ID_OR_TIME = re.compile(f"(?P<id>{_IDS})|{_TIMES}")
_DIGIT = re.compile("[0-9]")
_PERHAPS = re.compile(r"^[{\[]|[0-9]|tmp|/var/folders/")
"""Every id and time matches this; so does text that may be JSON."""
_SHORTEST = 8
"""Least characters of an id or a time."""
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


@functools.lru_cache(maxsize=4096)
def role(name: str) -> Role:
    """The meaning of a field's value, by the field's name."""
    if name in _NOISE:
        return "noise"
    if name == "id" or name.endswith(("_id", "_ids", "Id")):
        return "id"
    if name.endswith(("_at", "_time", "timestamp")):
        return "time"
    return "length" if _is_length(name) else ""


def _is_length(name: str) -> bool:
    """Whether a field's value is a duration: `elapsed`, `tool_duration_s`, `delay`, `timeout_ms`."""
    words = name.split("_")
    return words[0] == "delay" or (len(words) > 1 and words[-1] == "ms") or not _LENGTHS.isdisjoint(words)


def is_absent(value: Any, name: str) -> bool:
    """Whether a field is ignored: null counts as no field."""
    return value is None or role(name) == "noise"


class Normal:
    """Normalises values, and collects their ids in `ids`, in an order that does not depend on the order of keys."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def of(self, value: Any, name: str = "") -> Any:
        """The normalised JSON value. `name`: the field that holds it."""
        kind = type(value)
        if kind is str:
            return self._named(value, role(name))
        if kind is dict:
            return self._dict(value)
        if kind is list:
            return [self.of(item, name) for item in value]
        return _number(value, role(name))

    def _dict(self, value: dict[str, Any]) -> dict[str, Any]:
        """The normalised object, its fields sorted by name."""
        made = {}
        for key in sorted(value):
            one = value[key]
            if one is None or (meaning := role(key)) == "noise":
                continue
            if meaning == "" and type(one) is str and not _PERHAPS.search(one):
                made[key] = one  # the common case, without a call
            else:
                made[key] = self.of(one, key)
        return made

    def _named(self, text: str, role: Role) -> Any:
        if role == "id" and (len(text) >= _LONG or _DIGIT.search(text)):
            self.ids.append(text)
            return ID
        if role == "time" and _DIGIT.search(text):
            return TIME
        return self.written(text)

    def written(self, text: str) -> Any:
        """A normalised text that may hold JSON, such as a tool's arguments. Ids and times are marks."""
        if text[:1] in ("{", "["):
            try:
                return {"\0json": self.of(parse(text)[0])}
            except (MalformedError, RecursionError):
                pass
        return self._replaced(_ID_OR_TIME, text)

    def said(self, text: str) -> str:
        """A normalised message text. Only ids are marks: a date in a message is content."""
        return self._replaced(_ID, text)

    def _replaced(self, pattern: re.Pattern[str], text: str) -> str:
        if len(text) < _SHORTEST or not _PERHAPS.search(text):
            return text
        return pattern.sub(self._mark, text)

    def _mark(self, found: re.Match[str]) -> str:
        if found.re is _ID_OR_TIME and found["id"] is None:
            return TIME
        self.ids.append(found[0])
        return ID


def _number(value: Any, role: Role) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if role == "time":
        return TIME
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Ids:
    """The one-to-one mapping between the ids of both sides."""

    def __init__(self) -> None:
        self._there: dict[str, str] = {}
        self._back: dict[str, str] = {}

    def bind(self, a: str, b: str) -> bool:
        """Whether both ids are partners; ids without a partner become partners."""
        if a not in self._there and b not in self._back:
            self._there[a], self._back[b] = b, a
        return self._there.get(a) == b and self._back.get(b) == a

    def bind_all(self, a: Sequence[str], b: Sequence[str]) -> bool:
        """Whether all ids at equal indexes are partners, as in `bind`."""
        bound = [self.bind(one, other) for one, other in zip(a, b, strict=False)]
        return len(a) == len(b) and all(bound)


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
        return None if self.raw is None else _parsed(read_fields(self.raw, bom=True).data or "")


class Steps:
    """Makes the steps of one turn from its frames."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._runs: dict[str, Step] = {}

    def add(self, frame: TimedFrame) -> None:
        """Add the next frame. A frame that the end of the stream cut off is ignored."""
        if frame.raw is None:
            self._add(Step("not kept", "not kept", (), None))
        elif frame.verdict == "sentinel":
            self._add(Step(DONE, DONE, (), None))
        elif frame.verdict == "truncated" or frame.type in IGNORED:
            return
        else:
            data = payload(frame) or _parsed(read_fields(frame.raw, bom=frame.seq == 1).data or "")
            delta = data.get("delta") if isinstance(data, dict) else None
            if isinstance(delta, str) and (frame.type or "").endswith(".delta"):
                self._delta(frame.type or "", data, delta)
            else:
                self._add(_step(frame, data))

    def _add(self, step: Step) -> None:
        self.steps.append(step)

    def _delta(self, type_: str, data: Data, delta: str) -> None:
        label = _TOLD.get(type_, type_)
        normal = Normal()
        rest = normal.of({name: value for name, value in data.items() if name not in _OF_CHUNKS})
        key = f"{label} {_dumped(rest)}" if rest else label
        if label != type_:
            last = self.steps[-1] if self.steps else None
            if delta and (last is None or (last.key, last.ids) != (key, tuple(normal.ids))):
                self._add(Step(label, key, tuple(normal.ids), None, about=label))
            return
        run = self._runs.get(key + "".join(normal.ids))
        if run is None:
            run = Step(type_, key, tuple(normal.ids), None, as_text(data.get("call_id")), parts=[])
            self._runs[key + "".join(normal.ids)] = run
            self._add(run)
        assert run.parts is not None
        run.parts.append(delta)

    def close(self) -> list[Step]:
        """The steps. The keys of runs are computed here."""
        for run in self._runs.values():
            normal = Normal()
            run.key = _digest(f"{run.key} {normal.written(''.join(run.parts or ()))}")
            run.ids += tuple(normal.ids)
        return _settled(self.steps)


def _settled(steps: list[Step]) -> list[Step]:
    """The steps, with adjacent steps of one group in a fixed order."""
    made: list[Step] = []
    for _, group in groupby(steps, lambda step: step.group or id(step)):
        made += sorted(group, key=lambda step: step.label if step.group == _BEGIN else step.key)
    return made


def _step(frame: TimedFrame, data: Any) -> Step:
    normal = Normal()
    if not isinstance(data, dict):
        text = data if isinstance(data, str) else json.dumps(data)
        return Step("malformed", _digest("malformed " + normal.said(text)), tuple(normal.ids), frame.raw)
    label = frame.type or "malformed"
    try:
        key = _digest(_dumped(normal.of(data)))
    except RecursionError:
        key = _digest(repr(frame.raw))
    return Step(label, key, tuple(normal.ids), frame.raw, _about(label, data), _family(data), _group(label, data))


def _family(data: Data) -> str:
    return as_text(as_dict(data.get("item")).get("type")) or ""


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


def _parsed(text: str) -> Any:
    try:
        return parse(text)[0]
    except MalformedError:
        return text


def _dumped(value: Any) -> str:
    return json.dumps(value)


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
