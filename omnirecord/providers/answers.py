"""Reads the answer of a model API, streamed or whole, into its texts, tool requests, usage and end. Pure.

No content makes it fail: a value of another type is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ..text import as_json, one_line, text_of_error
from ..wire.strict_json import as_dict, as_int, as_number, as_text, loads

ERROR = "error"
"""The type of an event that ends an answer of each API."""
_MOST_USD = 1e6
CallEnding = Literal["completed", "failed", "incomplete", "refused", "cut", "open", "unknown"]


@dataclass(frozen=True, slots=True)
class CallUsage:
    """The tokens of one call, as the provider counts them; None if it does not report them."""

    input_tokens: int | None
    """All tokens of the request, cached ones included, in each API."""
    output_tokens: int | None
    """Reasoning included."""
    cached_tokens: int | None
    """The part of the input that the provider read from its cache."""
    reasoning_tokens: int | None
    total_tokens: int | None
    uncached_tokens: int | None = None
    """The input that was neither read from a cache nor written to one: Anthropic's `input_tokens`; else None."""
    cost_usd: float | None = None
    """The cost of the call. Only some gateways state it; omnirecord has no prices."""


@dataclass(frozen=True, slots=True)
class ToolRequest:
    call_id: str
    name: str
    arguments: str
    """As the model wrote them, usually JSON."""
    at_ns: int | None
    """The time at which the request was complete; None if it never was."""


_COUNTED = re.compile(r"(?:[A-Za-z][A-Za-z_.:-]*)?[0-9]{0,3}")
"""Ids that a provider may count from 1 in each answer."""


def is_counted(call_id: str) -> bool:
    """Return whether a provider may have counted a tool call, so that other calls have the same id: `call_1`."""
    return _COUNTED.fullmatch(call_id) is not None


class Delta(NamedTuple):
    """A piece of streamed text or reasoning."""

    seq: int
    """The frame that has it."""
    at_ns: int
    text: str
    part: int
    """The index of its text among `texts`; of reasoning -1."""


@dataclass(slots=True)
class _Tool:
    """A tool that the model asks for, while its arguments grow."""

    call_id: str
    name: str
    at_ns: int | None = None
    parts: list[str] = field(default_factory=list)

    def request(self) -> ToolRequest:
        return ToolRequest(self.call_id, self.name, "".join(self.parts), self.at_ns)


class Answer:
    """An answer, while it is read. `at_ns` and `seq` are those of the event that is read."""

    def __init__(self) -> None:
        self.at_ns = self.seq = 0
        self.id: str | None = None
        self.ids: list[str] = []
        """Of its items."""
        self.model: str | None = None
        self.first_ns: int | None = None
        self.ended_ns: int | None = None
        self.ending: CallEnding | None = None
        self.reason: str | None = None
        self.error: str | None = None
        self.usage: CallUsage | None = None
        self.texts: dict[tuple[int, int], list[str]] = {}
        """By place in the answer: the deltas, or the finished text."""
        self._wholes: dict[tuple[int, int], str] = {}  # the finished texts without deltas before them
        self._with_deltas: set[tuple[int, int]] = set()
        self.reasoning: list[str] = []
        self.tools: dict[object, _Tool] = {}
        self._deltas: list[tuple[int, int, str, tuple[int, int] | None]] = []

    def event(self, data: dict[str, Any]) -> None:
        """Read an event of a streamed answer."""
        raise NotImplementedError

    def whole(self, data: dict[str, Any]) -> None:
        """Read a plain JSON answer."""
        raise NotImplementedError

    def body(self, value: Any) -> None:
        """Read the JSON value of an answer that is no stream of events."""
        self.whole(as_dict(value))

    def done(self) -> None:
        """Read a `[DONE]`. It ends an answer only in Chat Completions."""

    def head(self, data: dict[str, Any], asked: str, said: str) -> None:
        """Read the id, the model and the usage of an OpenAI answer; a missing one keeps its value. `asked`, `said`: the
        names of the fields for input and output tokens."""
        self.id = as_text(data.get("id")) or self.id
        self.model = as_text(data.get("model")) or self.model
        if (usage := data.get("usage")) and isinstance(usage, dict):
            self.usage = CallUsage(
                count_of(usage.get(asked)),
                count_of(usage.get(said)),
                count_of(as_dict(usage.get(f"{asked}_details")).get("cached_tokens")),
                count_of(as_dict(usage.get(f"{said}_details")).get("reasoning_tokens")),
                count_of(usage.get("total_tokens")),
                cost_usd=_cost_of(usage.get("cost")),
            )

    def forget_deltas(self) -> None:
        """Forget the deltas of an answer that was no stream of events."""
        self._deltas.clear()

    def numbered(self) -> Iterable[Delta]:
        """Return the deltas, with the index of their texts."""
        places = {place: n for n, place in enumerate(sorted(self.texts))}
        for seq, at_ns, text, place in self._deltas:
            yield Delta(seq, at_ns, text, -1 if place is None else places[place])

    def said(self) -> Iterable[str]:
        """Return the texts by place."""
        for place in sorted(self.texts):
            text = "".join(self.texts[place])
            whole = self._wholes.get(place, "")
            yield whole if whole.startswith(text) else text

    def end(self, ending: CallEnding, reason: str | None, error: str | None = None) -> None:
        """Set the end. The first end counts: an event after it changes nothing."""
        if self.ending is None:
            self.ending = ending
            self.reason = reason
            self.error = error or self.error
            self.ended_ns = self.at_ns

    def fail(self, error: Any) -> None:
        self.end("failed", *self.error_of(error))

    def error_of(self, error: Any) -> tuple[str | None, str | None]:
        """Return the code and the message of an error."""
        return error_of(error)

    def refuse(self, body: bytes) -> None:
        """Set the end of an error status, with the error in the body: an object, or the first of an array; of another
        body its first words."""
        value = loads(body)
        data = as_dict(value[0] if isinstance(value, list) and value else value)
        code, message = self.error_of(data.get("error") or data.get("detail") or data)
        self.ending = "refused"
        self.reason = code or self.reason
        self.ended_ns = None
        self.error = message or self.error or (None if code else text_of_error(body) or None)

    def say(self, text: str | None, place: tuple[int, int], *, whole: bool = False) -> None:
        """Add a delta of text. `whole`: the finished text, which counts if no delta brought it before."""
        if not text or (whole and self.texts.get(place)):
            return
        if whole:
            self._wholes[place] = text
        elif place in self._wholes and place not in self._with_deltas:
            self.texts[place] = []
        self.texts.setdefault(place, []).append(text)
        if not whole:
            self._with_deltas.add(place)
            self._came(text, place)

    def think(self, text: str | None, *, whole: bool = False) -> None:
        """Add a delta of reasoning. `whole`: all of it, which counts if no delta brought it."""
        if not text or (whole and self.reasoning):
            return
        self.reasoning.append(text)
        if not whole:
            self._came(text, None)

    def _came(self, text: str, place: tuple[int, int] | None) -> None:
        self.first_ns = self.at_ns if self.first_ns is None else self.first_ns
        self._deltas.append((self.seq, self.at_ns, text, place))

    def tool(self, key: object, call_id: str | None, name: str | None) -> _Tool:
        """Return the tool request with this key, new or known."""
        known = self.tools.get(key)
        if known is None:
            known = self.tools[key] = _Tool(call_id or "", name or "")
        known.call_id = call_id or known.call_id
        known.name = name or known.name
        return known

    def argue(self, key: object, text: str | None) -> None:
        """Add a delta of a tool's arguments."""
        if text:
            self.first_ns = self.at_ns if self.first_ns is None else self.first_ns
            self.tool(key, None, None).parts.append(text)

    def asked(self, key: object, call_id: str | None, name: str | None, arguments: Any) -> None:
        """Complete a tool request."""
        tool = self.tool(key, call_id, name)
        if arguments is not None:
            tool.parts = [as_json(arguments)]
        tool.at_ns = self.at_ns


def count_of(count: Any) -> int | None:
    """Return a count; None for a value that is none, such as a negative one."""
    number = as_int(count)
    return None if number is None or number < 0 else number


def _cost_of(value: Any) -> float | None:
    """Return a cost in USD; None for a value that is none."""
    number = as_number(value)
    return float(number) if number is not None and 0 <= number < _MOST_USD else None


def error_of(error: Any) -> tuple[str | None, str | None]:
    """Return the code and the message of an error object, or of an error that is a text."""
    data = as_dict(error)
    inner = as_dict(data.get("error"))
    code = as_text(data.get("code"))
    type_ = as_text(data.get("type"))
    message = as_text(data.get("message")) or as_text(inner.get("message")) or as_text(error)
    return code or (type_ if type_ != "error" else None) or as_text(inner.get("type")), message and one_line(message)


def said_in(part: Any) -> str | None:
    """Return the text or the refusal of a part."""
    data = as_dict(part)
    return as_text(data.get("text")) or as_text(data.get("refusal"))
