"""The items of a conversation, and the reading of the form that several APIs share: `messages` or `input`. Pure.

`drafts_of` reads what was sent; `Draft.item` normalises it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

from ..wire.normal import ID, TIME, Normal
from ..wire.strict_json import as_dict, as_list, as_text, loads, text_of, written

Kind = Literal["user", "assistant", "system", "reasoning", "call", "output", "other"]
_ROLES: dict[str, Kind] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
OF_MODEL = ("assistant", "call", "reasoning")
"""The kinds of the parts of an answer."""
_TEXTS = ("text", "input_text", "output_text", "summary_text", "reasoning_text")
_VOLATILE = frozenset(
    {"id", "status", "encrypted_content", "signature", "cache_control", "annotations", "logprobs", "citations"}
)
"""Fields of parts and items that differ between runs, or only affect costs."""
_SETTINGS = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "stop_sequences": "stop",
    "response_format": "format",
    **{
        name: name
        for name in (
            "max_tokens",
            "stop",
            "temperature",
            "top_p",
            "top_k",
            "seed",
            "n",
            "tool_choice",
            "parallel_tool_calls",
            "text",
            "reasoning",
            "reasoning_effort",
            "thinking",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "modalities",
            "function_call",
            "output_config",
            "output_format",
            "verbosity",
            "prompt",
        )
    },
}
"""The parameters that change an answer, and the names under which they are compared."""
_CALLS_AS_TEXT = "Calling tools:\n["
"""How smolagents begins a message of the model that has only tool calls."""
_LONG = 512
"""Characters from which a text without white space counts as binary data."""


@dataclass(frozen=True, slots=True)
class Item:
    """One text, tool call, tool output or other part of a conversation. Fields that are not compared are as sent."""

    kind: Kind
    same: str
    """The compared text, or canonical JSON of a part. `<id>` and `<time>` stand for ids and times."""
    name: str = ""
    """The tool of a call; the `name` of a message; the role, if it is none of `Kind`."""
    call: int | None = None
    """The number of its `call_id` in the conversation, from 0."""
    text: str = field(default="", compare=False)
    """The text; a call's arguments as text; empty for another part."""
    value: Any = field(default=None, compare=False)
    """A call's arguments as JSON value, or as text if they are no JSON; another part as JSON value."""
    call_id: str | None = field(default=None, compare=False)
    place: int = field(default=0, compare=False)
    """The index of its message in the body of the request."""

    @property
    def label(self) -> str:
        """The kind and the name: `user`, `call of get_weather`, `tool output`."""
        if self.kind == "call":
            return f"call of {self.name}"
        return {"output": "tool output", "other": "part"}.get(self.kind, self.kind)


@dataclass(slots=True)
class Draft:
    """One part as sent."""

    kind: Kind
    text: str = ""
    name: str = ""
    value: Any = None
    call_id: str | None = None
    place: int = 0
    """The index of its message in the body of the request."""

    def item(self, normal: Normal, call: int | None) -> Item:
        """Return the item. `normal` collects the ids of its text."""
        return Item(self.kind, self.same(normal), self.name, call, self.text, self.value, self.call_id, self.place)

    def same(self, normal: Normal) -> str:
        if self.kind in ("user", "assistant"):
            return _shown(normal.asked(self.text))
        if self.kind in ("system", "reasoning") or (self.kind == "output" and self.value is None):
            return canonical(normal.written(self.text))
        if self.kind == "call" and isinstance(self.value, str):
            return canonical(normal.written(self.value))
        return canonical(normal.of(_without_data(self.value)))


def canonical(value: Any) -> str:
    """Return a normalised value as text: a text as it is, JSON with sorted keys."""
    if isinstance(value, str):
        return _shown(value)
    if isinstance(value, dict) and value.keys() == {"\0json"}:
        value = value["\0json"]
    return _shown(json.dumps(value, ensure_ascii=False, sort_keys=True))


def _shown(text: str) -> str:
    """Return the text with readable marks."""
    for mark in (ID, TIME) if "\0" in text or "\\u0000" in text else ():
        text = text.replace(mark, f"<{mark[1:]}>").replace(f"\\u0000{mark[1:]}", f"<{mark[1:]}>")
    return text


def after_answer(parts: Sequence[Item | Draft]) -> int:
    """Return the index of the first part after the model's last answer: what is new in a request."""
    return 1 + max((n for n, one in enumerate(parts) if one.kind in OF_MODEL), default=-1)


def with_outputs(drafts: Iterable[Draft]) -> Iterator[Draft]:
    """Yield the parts. A message of the user behind a list of tool calls as text becomes their output.

    smolagents sends both as text, since not every model takes messages of tools."""
    before = ""
    for draft in drafts:
        if draft.kind == "user" and before.startswith(_CALLS_AS_TEXT):
            yield replace(draft, kind="output")
        else:
            yield draft
            before = draft.text if draft.kind == "assistant" else ""


def drafts_of(value: Any) -> Iterator[Draft]:
    """Yield the parts of `input` or `messages`: a text, or a list of messages and items."""
    if isinstance(value, str):
        yield from _text("user", value)
    for place, one in enumerate(as_list(value)):
        if isinstance(one, str):
            yield from placed(_text("user", one), place)
        elif isinstance(one, dict):
            yield from placed(_entry(one), place)


def placed(drafts: Iterator[Draft], place: int) -> Iterator[Draft]:
    """Yield the parts of the message at this index."""
    for draft in drafts:
        draft.place = place
        yield draft


def _entry(data: dict[str, Any]) -> Iterator[Draft]:
    role = as_text(data.get("role"))
    kind = as_text(data.get("type")) or "message"
    if role is None or kind != "message":
        yield _item(data, kind)
    elif role == "tool" or (role == "function" and "content" in data):
        call_id = as_text(data.get("tool_call_id"))
        yield _output(data.get("content"), call_id, as_text(data.get("name")) if call_id is None else None)
    else:
        yield from _message(data, role)


def _message(data: dict[str, Any], role: str) -> Iterator[Draft]:
    """Yield the parts of a message, with the reasoning and the calls that Chat Completions has beside its content."""
    yield from _text("reasoning", data.get("reasoning_content"))
    yield from content_items(role, data.get("content"), as_text(data.get("name")) or "")
    if data.get("refusal"):
        yield Draft("other", value={"type": "refusal", "refusal": data["refusal"]}, name=role)
    if data.get("audio"):
        yield Draft("other", value={"type": "audio", **as_dict(data["audio"])}, name=role)
    for call in as_list(data.get("tool_calls")):
        kind = as_text(as_dict(call).get("type")) or "function"
        yield _call(as_dict(as_dict(call).get(kind)), as_text(as_dict(call).get("id")))
    if isinstance(data.get("function_call"), dict):
        yield _call(data["function_call"], None)


def content_items(role: str, content: Any, name: str = "") -> Iterator[Draft]:
    """Yield the parts of a message's content: a text, or a list of content blocks. Empty texts are left out."""
    kind = _ROLES.get(role, "other")
    name = name or (role if kind == "other" else "")
    for part in [content] if isinstance(content, str | dict) else as_list(content):
        data = as_dict(part)
        text = part if isinstance(part, str) else None
        if data.get("type") in _TEXTS:
            text = as_text(data.get("text"))
        if text is None:
            yield from _block(data, kind, name)
        elif kind != "other":
            yield from _text(kind, text, name)
        elif text:
            yield Draft("other", text, name, {"role": role, "text": text})


def _block(data: dict[str, Any], kind: Kind, name: str) -> Iterator[Draft]:
    type_ = as_text(data.get("type")) or ""
    if type_ in ("thinking", "redacted_thinking"):
        yield Draft("reasoning", as_text(data.get("thinking")) or "")
    elif type_.endswith("tool_use"):
        yield _call({"name": data.get("name"), "arguments": data.get("input")}, as_text(data.get("id")))
    elif type_.endswith("tool_result"):
        call_id = as_text(data.get("tool_use_id"))
        is_error = data.get("is_error") is True
        yield _output(data.get("content"), call_id, None, is_error=is_error)
    elif data:
        yield Draft("other", value=_stable(data), name=name or kind)


def _item(data: dict[str, Any], kind: str) -> Draft:
    call_id = as_text(data.get("call_id"))
    if kind == "reasoning":
        texts = (text_of(data.get("summary")), text_of(data.get("content")))
        return Draft("reasoning", "\n".join(filter(None, texts)))
    if kind.endswith("_output") and call_id is not None:
        return _output(data.get("output"), call_id, None)
    if kind.endswith("_call") and call_id is not None:
        if "arguments" in data or "input" in data:
            return _call(data, call_id)
        rest = {key: value for key, value in _stable(data).items() if key not in ("type", "call_id", "name")}
        return _call({"name": kind, "arguments": rest}, call_id)
    return Draft("other", value=_stable(data), name=kind)


def _call(data: dict[str, Any], call_id: str | None) -> Draft:
    sent = data.get("arguments", data.get("input"))
    value = loads(sent) if isinstance(sent, str) else sent
    name = as_text(data.get("name")) or ""
    return Draft("call", written(sent) or "", name, sent if value is None else value, call_id)


def _output(content: Any, call_id: str | None, name: str | None, *, is_error: bool = False) -> Draft:
    """Return a tool output. One text and its only part are equal; other parts are compared as JSON."""
    parts = as_list(content)
    only = as_dict(parts[0]) if len(parts) == 1 else {}
    if only.get("type") in _TEXTS and isinstance(only.get("text"), str):
        content = only["text"]
        parts = []
    is_plain = not is_error and not parts and (content is None or isinstance(content, str))
    stable = [_stable(one) if isinstance(one, dict) else one for one in parts]
    value = None if is_plain else {"content": stable if parts else content, "is_error": is_error or None}
    return Draft("output", text_of(content) if parts else written(content) or "", name or "", value, call_id)


def _text(kind: Kind, text: Any, name: str = "") -> Iterator[Draft]:
    if isinstance(text, str) and text:
        yield Draft(kind, text, name)


def _stable(data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a part that count."""
    return {key: value for key, value in data.items() if key not in _VOLATILE}


def _without_data(value: Any) -> Any:
    """Return the JSON value with a digest for each long text without white space, such as an image."""
    if isinstance(value, str) and len(value) >= _LONG and not any(map(str.isspace, value[:_LONG])):
        digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        return f"{value[:24]}… ({len(value):,} characters, digest {digest})"
    if isinstance(value, list):
        return [_without_data(one) for one in value]
    if isinstance(value, dict):
        return {key: _without_data(one) for key, one in value.items()}
    return value


def are_messages(value: Any) -> bool:
    """Return whether a value is a list of messages, possibly an empty one."""
    return isinstance(value, list) and all(isinstance(one, dict) and "role" in one for one in value)


def tools_in(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the tools of a request."""
    for one in (*as_list(data.get("tools")), *as_list(data.get("functions"))):
        if isinstance(one, dict):
            yield one


def settings_in(data: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request that change an answer. A format of plain text is the default."""
    found = {name: value for sent, name in _SETTINGS.items() if (value := data.get(sent)) is not None}
    if as_dict(found.get("text")).keys() == {"format"}:
        found["format"] = found.pop("text")["format"]
    if as_dict(found.get("format")).get("type") == "text":
        del found["format"]
    return found
