"""Reads the answer of a model API, streamed or whole, into its texts, tool requests, usage and end. Pure.

No content makes it fail: a value of another type is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ..text import as_json, one_line
from ..wire.strict_json import as_dict, as_int, as_list, as_text, loads, text_of
from .conversation import Api

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


@dataclass(frozen=True, slots=True)
class ToolRequest:
    call_id: str
    name: str
    arguments: str
    """As the model wrote them, usually JSON."""
    at_ns: int | None
    """The time at which the request was complete; None if it never was."""


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

    def done(self) -> None:
        """Read a `[DONE]`. It ends an answer only in Chat Completions."""

    def head(self, data: dict[str, Any], asked: str, said: str) -> None:
        """Read the id, the model and the usage of an OpenAI answer; a missing one keeps its value. `asked`, `said`: the
        names of the fields for input and output tokens."""
        self.id, self.model = as_text(data.get("id")) or self.id, as_text(data.get("model")) or self.model
        if (usage := data.get("usage")) and isinstance(usage, dict):
            self.usage = CallUsage(
                _number(usage.get(asked)), _number(usage.get(said)),
                _number(as_dict(usage.get(f"{asked}_details")).get("cached_tokens")),
                _number(as_dict(usage.get(f"{said}_details")).get("reasoning_tokens")),
                _number(usage.get("total_tokens")),
            )  # fmt: skip

    def numbered(self) -> Iterable[Delta]:
        """Return the deltas, with the index of their texts."""
        places = {place: n for n, place in enumerate(sorted(self.texts))}
        for seq, at_ns, text, place in self._deltas:
            yield Delta(seq, at_ns, text, -1 if place is None else places[place])

    def said(self) -> Iterable[str]:
        """Return the texts by place."""
        for place in sorted(self.texts):
            text, whole = "".join(self.texts[place]), self._wholes.get(place, "")
            yield whole if whole.startswith(text) else text

    def end(self, ending: CallEnding, reason: str | None, error: str | None = None) -> None:
        """Set the end. The first end counts: an event after it changes nothing."""
        if self.ending is None:
            self.ending, self.reason, self.error, self.ended_ns = ending, reason, error or self.error, self.at_ns

    def fail(self, error: Any) -> None:
        self.end("failed", *_error(error))

    def refuse(self, body: bytes) -> None:
        """Set the end of an error status, with the error in the body."""
        data = as_dict(loads(body))
        code, message = _error(data.get("error") or data.get("detail") or data)
        self.ending, self.reason, self.ended_ns = "refused", code or self.reason, None
        self.error = message or self.error

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
        known.call_id, known.name = call_id or known.call_id, name or known.name
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


class _Responses(Answer):
    _ENDS = ("completed", "failed", "incomplete", "cancelled")

    def event(self, data: dict[str, Any]) -> None:
        type_ = as_text(data.get("type")) or ""
        kind = type_.removeprefix("response.")
        place = as_int(data.get("output_index")) or 0, as_int(data.get("content_index")) or 0
        if kind in ("output_text.delta", "refusal.delta"):
            self.say(as_text(data.get("delta")), place)
        elif kind == "content_part.done":
            self.say(_said(data.get("part")), place, whole=True)
        elif kind in ("output_text.done", "refusal.done"):
            self.say(_said(data), place, whole=True)
        elif kind in ("reasoning_text.delta", "reasoning_summary_text.delta"):
            self.think(as_text(data.get("delta")))
        elif kind in ("function_call_arguments.delta", "custom_tool_call_input.delta"):
            self.argue(place[0], as_text(data.get("delta")))
        elif kind in ("output_item.added", "output_item.done"):
            self._item(as_dict(data.get("item")), place[0], is_done=kind == "output_item.done")
        elif kind in ("created", "in_progress", "queued", *self._ENDS):
            self._response(as_dict(data.get("response")), kind)
        elif type_ == "error":
            self.fail(data.get("error") or data)

    def whole(self, data: dict[str, Any]) -> None:
        self._response(data)
        if data.get("error") and self.ending is None:
            self.fail(data["error"])

    def _item(self, item: dict[str, Any], index: int, *, is_done: bool) -> None:
        type_, call_id = as_text(item.get("type")), as_text(item.get("call_id"))
        if (id_ := as_text(item.get("id"))) is not None:
            self.ids.append(id_)
        if call_id is not None and type_ is not None and not type_.endswith("_output"):
            name = as_text(item.get("name")) or type_
            if is_done:
                arguments = next((item[key] for key in ("arguments", "input", "action") if item.get(key)), None)
                self.asked(index, call_id, name, arguments)
            else:
                self.tool(index, call_id, name)
        elif type_ == "message" and is_done:
            for number, part in enumerate(as_list(item.get("content"))):
                self.say(_said(part), (index, number), whole=True)
        elif type_ == "reasoning" and is_done:
            self.think(text_of(item.get("summary")) or text_of(item.get("content")), whole=True)

    def _response(self, response: dict[str, Any], kind: str = "") -> None:
        """`kind`: the status in the type of the event, which counts if the response has no such status."""
        self.head(response, "input_tokens", "output_tokens")
        status = next((one for one in (response.get("status"), kind) if one in self._ENDS), None)
        if status is None:
            return
        for index, item in enumerate(as_list(response.get("output"))):
            if index not in self.tools:
                self._item(as_dict(item), index, is_done=True)
        if status == "completed":
            self.end("completed", None)
        elif status == "incomplete":
            self.end("incomplete", as_text(as_dict(response.get("incomplete_details")).get("reason")))
        else:
            code, message = _error(response.get("error"))
            self.end("failed", code or (status if status == "cancelled" else None), message)


class _Chat(Answer):
    _INCOMPLETE = frozenset({"length", "content_filter"})

    def event(self, data: dict[str, Any]) -> None:
        self._read(data, "delta")

    def whole(self, data: dict[str, Any]) -> None:
        self._read(data, "message")

    def _read(self, data: dict[str, Any], key: str) -> None:
        self.head(data, "prompt_tokens", "completion_tokens")
        if data.get("error"):
            self.fail(data["error"])
        for choice in map(as_dict, as_list(data.get("choices"))):
            index, said = as_int(choice.get("index")) or 0, as_dict(choice.get(key))
            self._said(said, index, whole=key == "message")
            reason = as_text(choice.get("finish_reason"))
            if reason and index == 0:
                self._finish("incomplete" if reason in self._INCOMPLETE else "completed", reason)

    def done(self) -> None:
        self._finish("completed", None)

    def _finish(self, ending: CallEnding, reason: str | None) -> None:
        for tool in self.tools.values():
            tool.at_ns = self.at_ns if tool.at_ns is None else tool.at_ns
        self.end(ending, reason)

    def _said(self, said: dict[str, Any], choice: int, *, whole: bool) -> None:
        self.think(as_text(said.get("reasoning_content")) or as_text(said.get("reasoning")), whole=whole)
        content = said.get("content")
        self.say(content if isinstance(content, str) else text_of(content), (choice, 0), whole=whole)
        self.say(as_text(said.get("refusal")), (choice, 1), whole=whole)
        for number, tool in enumerate(map(as_dict, as_list(said.get("tool_calls")))):
            index = as_int(tool.get("index"))
            key, function = (choice, number if index is None else index), as_dict(tool.get("function"))
            custom = as_dict(tool.get("custom"))
            call_id, name = as_text(tool.get("id")), as_text(function.get("name")) or as_text(custom.get("name"))
            self.tool(key, call_id, name)
            self.argue(key, as_text(function.get("arguments")) or as_text(custom.get("input")))
        if whole:
            self.first_ns = None


class _Messages(Answer):
    _INCOMPLETE = frozenset({"max_tokens", "model_context_window_exceeded", "refusal"})

    def __init__(self) -> None:
        super().__init__()
        self._counted: dict[str, Any] = {}

    def event(self, data: dict[str, Any]) -> None:
        type_, index = data.get("type"), as_int(data.get("index")) or 0
        if type_ == "message_start":
            self._message(as_dict(data.get("message")))
        elif type_ == "content_block_start":
            block = as_dict(data.get("content_block"))
            if block.get("type") == "tool_use":
                self.tool(index, as_text(block.get("id")), as_text(block.get("name")))
            self.say(as_text(block.get("text")), (index, 0))
        elif type_ == "content_block_delta":
            delta = as_dict(data.get("delta"))
            self.say(as_text(delta.get("text")), (index, 0))
            self.think(as_text(delta.get("thinking")))
            self.argue(index, as_text(delta.get("partial_json")))
        elif type_ == "content_block_stop" and index in self.tools:
            self.tools[index].at_ns = self.at_ns
        elif type_ == "message_delta":
            self._count(data.get("usage"))
            self._stop(as_text(as_dict(data.get("delta")).get("stop_reason")))
        elif type_ == "message_stop":
            self.end("completed", None)
        elif type_ == "error":
            self.fail(data.get("error"))

    def whole(self, data: dict[str, Any]) -> None:
        self._message(data)
        for index, block in enumerate(map(as_dict, as_list(data.get("content")))):
            if block.get("type") == "tool_use":
                self.asked(index, as_text(block.get("id")), as_text(block.get("name")), block.get("input"))
            elif block.get("type") == "text":
                self.say(as_text(block.get("text")), (index, 0), whole=True)
            self.think(as_text(block.get("thinking")), whole=True)
        self._stop(as_text(data.get("stop_reason")))
        if data.get("type") == "error":
            self.fail(data.get("error"))

    def _message(self, message: dict[str, Any]) -> None:
        self.id, self.model = as_text(message.get("id")), as_text(message.get("model"))
        self._count(message.get("usage"))

    def _stop(self, reason: str | None) -> None:
        if reason:
            self.end("incomplete" if reason in self._INCOMPLETE else "completed", reason)

    def _count(self, usage: Any) -> None:
        """Add counts: later ones replace earlier ones, and a count that is left out stays."""
        self._counted |= {key: value for key, value in as_dict(usage).items() if value is not None}
        if not self._counted:
            return
        keys = "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"
        uncached, said, cached, kept = (_number(self._counted.get(key)) for key in keys)
        asked = None if uncached is None else uncached + (cached or 0) + (kept or 0)
        total = None if asked is None or said is None else asked + said
        self.usage = CallUsage(asked, said, cached, None, total, uncached)


READERS: dict[Api, type[Answer]] = {
    "openai-responses": _Responses, "openai-chat": _Chat, "anthropic-messages": _Messages,
}  # fmt: skip


APIS: Mapping[str, Api] = {
    "chat.completion.chunk": "openai-chat",
    **dict.fromkeys(
        (
            "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
            "message_stop",
        ),
        "anthropic-messages",
    ),
}  # fmt: skip
"""The types of events that only one API has, with this API. Responses has those of Omnigent."""
LAST = "message_stop"
ERROR = "error"
"""The type of an event that ends an answer of each API."""


def finishes(data: dict[str, Any]) -> bool:
    """Return whether a chunk of Chat Completions has a finish reason, maybe beside a text."""
    return any(as_dict(one).get("finish_reason") for one in as_list(data.get("choices")))


def _number(count: Any) -> int | None:
    """Return a count; None for a value that is none, such as a negative one."""
    number = as_int(count)
    return None if number is None or number < 0 else number


def _error(error: Any) -> tuple[str | None, str | None]:
    """Return code and message of an error object, or of an error that is a text."""
    data = as_dict(error)
    inner = as_dict(data.get("error"))
    code, type_ = as_text(data.get("code")), as_text(data.get("type"))
    message = as_text(data.get("message")) or as_text(inner.get("message")) or as_text(error)
    return code or (type_ if type_ != "error" else None) or as_text(inner.get("type")), message and one_line(message)


def _said(part: Any) -> str | None:
    data = as_dict(part)
    return as_text(data.get("text")) or as_text(data.get("refusal"))
