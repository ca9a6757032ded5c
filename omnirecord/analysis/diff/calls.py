"""The comparison of the model calls of two turns.

Of each request: the model, attempts, endings, tokens, and the first difference of its conversation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from ...providers.call import ModelCall, ToolRequest
from ...providers.conversation import Conversation, differences
from ...providers.parts import canonical
from ...wire.strict_json import loads
from ..model_calls import Link, requests_of
from .align import aligned
from .differences import Differences

_ITEM = re.compile(r"item (\d+)(?: \(.*?\))?(, its call)?\Z", re.DOTALL)
_HEADS = ("API", "model", "stream", "instructions")
_USAGE = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
Told = set[tuple[object, object]]
"""Pairs of texts that are reported."""


def compare_calls(out: Differences, path: str, a: Sequence[Link], b: Sequence[Link], told: Told) -> None:
    """Add the differences of the model calls of two turns, or without a path, of two cassettes. `told`: of the session;
    a later request repeats the messages of earlier ones."""
    for found in out.found:
        if isinstance(found.a, str) and isinstance(found.b, str):
            told.update(zip(_forms(found.a), _forms(found.b), strict=True))
    sides = requests_of(a), requests_of(b)
    for i, j in aligned(*sides, _key, lambda one: _key(one).partition("\0")[0], pair_rest=True):
        one, other = None if i is None else sides[0][i], None if j is None else sides[1][j]
        at = f"{path}.model_calls[{j if i is None else i}]".lstrip(".")
        if one is None or other is None:
            out.add("calls", at, one and _summary(one), other and _summary(other))
            continue
        mine, theirs = _summary(one), _summary(other)
        for name in ("model", "attempts", "endings"):
            if mine[name] != theirs[name]:
                out.add("calls", f"{at}.{name}", mine[name], theirs[name])
        _usage(out, f"{at}.usage", mine["usage"], theirs["usage"])
        if not path:  # a turn has these
            _answers(out, at, one[-1].call, other[-1].call)
        conversations = one[-1].call.conversation, other[-1].call.conversation
        if conversations[0] is not None and conversations[1] is not None:
            _conversations(out, f"{at}.request", conversations[0], conversations[1], told)


def _forms(text: str) -> Iterator[str]:
    """A text as it is, and as JSON with sorted keys."""
    yield text
    value = loads(text)
    yield canonical(value) if isinstance(value, (dict, list)) else text


def _key(attempts: Sequence[Link]) -> str:
    call = attempts[-1].call
    asked = "" if call.conversation is None else call.conversation.asked
    return f"{asked}\0{call.text}\0{[one.name for one in call.tool_calls]}"


def _summary(attempts: Sequence[Link]) -> dict[str, Any]:
    """The facts of a request that are compared."""
    call, usage = attempts[-1].call, attempts[-1].call.usage
    return {
        "model": call.model, "attempts": max(call.attempt, len(attempts)),
        "endings": ", ".join(_ending(link) for link in attempts),
        "usage": None if usage is None else {name: getattr(usage, name) for name in _USAGE},
    }  # fmt: skip


def _ending(link: Link) -> str:
    call = link.call
    return call.ending if call.ending == "completed" or not call.reason else f"{call.ending} ({call.reason})"


def _answers(out: Differences, path: str, a: ModelCall, b: ModelCall) -> None:
    """Add the differences of the texts and tool calls of two answers."""
    for n, (one, other) in enumerate(zip_longest(a.texts, b.texts)):
        if not out.same_text(one, other):
            out.add("calls", f"{path}.texts[{n}]", one, other)
    for n, (mine, theirs) in enumerate(zip_longest(a.tool_calls, b.tool_calls)):
        if not out.same_value(_tool(mine), _tool(theirs)):
            out.add("calls", f"{path}.tool_calls[{n}]", _tool(mine), _tool(theirs))


def _tool(tool: ToolRequest | None) -> dict[str, str] | None:
    return None if tool is None else {"name": tool.name, "arguments": tool.arguments}


def _usage(out: Differences, path: str, a: dict[str, Any] | None, b: dict[str, Any] | None) -> None:
    if a is None or b is None:
        if a is not b:
            out.add("calls", path, a, b)
        return
    for name in _USAGE:
        if a[name] != b[name]:
            out.add("calls", f"{path}.{name}", a[name], b[name])


def _conversations(out: Differences, path: str, a: Conversation, b: Conversation, told: Told) -> None:
    """Add the first difference that is not reported yet. Models are compared by the names of the provider.

    If one side has more messages, only the first message that differs counts: after it, others stand at each place.
    """
    is_shifted = len(a.items) != len(b.items)
    for one in differences(a, b):
        if one.where == "model":
            continue
        if (one.recorded, one.got) not in told:
            told.add((one.recorded, one.got))
            out.add("calls", f"{path}.{_name(one.where)}", one.recorded, one.got)
            return
        if is_shifted and _ITEM.match(one.where):
            return


def _name(where: str) -> str:
    """The place of a difference as a path."""
    item = _ITEM.match(where)
    if item is not None:
        return f"messages[{int(item[1]) - 1}]" + (".call" if item[2] else "")
    if where.startswith("tool "):
        return f"tools[{where.removeprefix('tool ')}]"
    return where if where in _HEADS else f"settings.{where}"
