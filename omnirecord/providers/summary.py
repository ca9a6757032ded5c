"""One line for an event of a model API. Pure, and never raises: the data is any JSON.

The texts are as they are in the event: `omnirecord.analysis.summary` shortens them and replaces control characters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..text import joined, quoted, text_in, tokens
from ..wire.strict_json import as_dict, as_list, as_text

Data = dict[str, Any]


def summary(type_: str | None, data: Data) -> str | None:
    """Return the summary of an event; None if its type is of no model API alone."""
    write = _SUMMARIES.get(type_ or "")
    return None if write is None else write(data)


def text_delta(type_: str | None, data: Data) -> tuple[str, str] | None:
    """Return a delta of text or reasoning of Chat Completions or Messages as that of Responses: its type there, and the
    text. None for another event."""
    delta = data.get("delta")
    if type_ == "chat.completion.chunk":
        delta = next((as_dict(one).get("delta") for one in as_list(data.get("choices"))), None)
    elif type_ != "content_block_delta":
        return None
    texts = ((kind, as_text(as_dict(delta).get(name))) for name, kind in _DELTAS.items())
    return next(((kind, text) for kind, text in texts if text), None)


_DELTAS = {
    **dict.fromkeys(("content", "text"), "response.output_text.delta"),
    **dict.fromkeys(("reasoning_content", "thinking"), "response.reasoning_text.delta"),
}


def _of(*names: str) -> Callable[[Data], str]:
    """Return a function that quotes the first of these fields."""
    return lambda data: next((quoted(data[name]) for name in names if isinstance(data.get(name), str)), "")


def _error(data: Data) -> str:
    error = as_dict(data.get("error")) or data
    kind = text_in(error.get("code")) or text_in(error.get("type"))
    return joined([kind, text_in(error.get("message")) or text_in(data.get("error"))], ": ")


def _item(data: Data) -> str:
    item = as_dict(data.get("item"))
    return joined([text_in(item.get("type")), text_in(item.get("role")) or text_in(item.get("name"))])


def _part(data: Data) -> str:
    part = as_dict(data.get("part"))
    return joined([text_in(part.get("type")), quoted(part.get("text", part.get("refusal")))])


def _chunk(data: Data) -> str:
    usage = as_dict(data.get("usage"))
    choices = [as_dict(one) for one in as_list(data.get("choices"))]
    used = tokens(usage.get("prompt_tokens"), usage.get("completion_tokens"))
    return joined([*map(_choice, choices[:8]), used], " · ")


def _choice(choice: Data) -> str:
    delta = as_dict(choice.get("delta"))
    calls = [as_dict(as_dict(one).get("function")) for one in as_list(delta.get("tool_calls"))]
    called = [joined([text_in(call.get("name")), text_in(call.get("arguments"))]) for call in calls]
    role = text_in(delta.get("role"))
    text = "" if role and not delta.get("content") else quoted(delta.get("content"))
    return joined([role, text, quoted(delta.get("refusal")), *called, text_in(choice.get("finish_reason"))])


def _usage(usage: Any) -> str:
    data = as_dict(usage)
    return tokens(data.get("input_tokens"), data.get("output_tokens"))


def _message_start(data: Data) -> str:
    message = as_dict(data.get("message"))
    return joined([text_in(message.get("id")), text_in(message.get("model")), _usage(message.get("usage"))], " · ")


def _message_delta(data: Data) -> str:
    reason = as_dict(data.get("delta")).get("stop_reason")
    return joined([text_in(reason), _usage(data.get("usage"))], " · ")


def _block(data: Data) -> str:
    block = as_dict(data.get("content_block"))
    return joined([text_in(block.get("type")), text_in(block.get("name"))])


def _block_delta(data: Data) -> str:
    delta = as_dict(data.get("delta"))
    return _of("text", "partial_json", "thinking")(delta) or text_in(delta.get("type"))


_OF_ITEM = _of("delta", "text", "refusal", "arguments", "input", "code", "item_id")
_IN_PIECES = (
    "refusal", "function_call_arguments", "mcp_call_arguments", "custom_tool_call_input", "code_interpreter_call_code",
)  # fmt: skip
_SUMMARIES: Mapping[str, Callable[[Data], str]] = {
    "error": _error,
    "response.output_item.added": _item,
    "response.content_part.added": _part,
    "response.content_part.done": _part,
    "response.reasoning_summary_part.added": _part,
    "response.reasoning_summary_part.done": _part,
    **{f"response.{of}_text.done": _OF_ITEM for of in ("output", "reasoning", "reasoning_summary")},
    **{f"response.{name}.{step}": _OF_ITEM for name in _IN_PIECES for step in ("delta", "done")},
    "chat.completion.chunk": _chunk,
    "message_start": _message_start,
    "message_delta": _message_delta,
    "message_stop": lambda _: "",
    "content_block_start": _block,
    "content_block_delta": _block_delta,
    "content_block_stop": lambda data: text_in(f"block {data.get('index')}"),
    "ping": lambda _: "",
}
