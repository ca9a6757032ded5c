"""Reads the request body of a model API into one `Conversation`, equal for requests with the same meaning. Pure.

The module of an API says what a request has (`api.Asked`). Text and JSON are compared
without ids, times and temporary folders, as in `wire.normal`. Tools have no order. Ids of tool calls are compared by
their position: the first id of one conversation stands for the first id of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby, zip_longest
from typing import Any

from ..model import by_key
from ..wire.normal import Normal
from ..wire.strict_json import as_dict, as_list, as_text, loads, parse_quickly
from .parts import Draft, Item, after_answer, canonical, with_outputs
from .register import Api, api_of, model_api, model_apis


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    """The name of a function; the type of another tool, such as `web_search`."""
    same: str
    """Everything that is compared, as canonical JSON: description, schema, type, options."""
    description: str = field(default="", compare=False)
    schema: Any = field(default=None, compare=False)
    """The JSON schema of the arguments, as sent; None if there is none."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a request asks a model. Two are equal if they mean the same. Fields that are not compared hold values as
    sent."""

    api: Api
    model: str
    is_streamed: bool
    same_instructions: str
    tools: tuple[Tool, ...]
    """Sorted by name."""
    items: tuple[Item, ...]
    """The messages, part by part, with tool calls and tool outputs, in order."""
    settings: tuple[tuple[str, str], ...] = ()
    """Parameters that change an answer, such as `temperature`, sorted by name; values are canonical JSON."""
    instructions: str = field(default="", compare=False)
    """`instructions`, `system`, or the system messages that open a Chat Completions request; texts are joined by empty
    lines."""
    previous_id: str | None = field(default=None, compare=False)
    """`previous_response_id`, or the id of a `conversation`, of OpenAI Responses."""
    conversation_id: str | None = field(default=None, compare=False)
    """The id of a `conversation` of OpenAI Responses."""
    history_ids: tuple[str, ...] = field(default=(), compare=False)
    """The ids in the request: of earlier answers, their items and tool calls, in order."""
    ids: tuple[str, ...] = field(default=(), compare=False)
    """The ids that are not compared, in order: `previous_id`, ids of tool calls, ids in texts."""

    @property
    def asked(self) -> str:
        """The last user text; empty if there is none."""
        return next((item.text for item in reversed(self.items) if item.kind == "user"), "")


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference of two conversations. `recorded` and `got` are None if one side has no such part."""

    part: str
    """`model`, `stream`, `instructions`, `tools`, `messages` or `settings`."""
    where: str
    """`model`, `stream`, `instructions`, `item 3 (user)`, `tools` (names that one side lacks), `tool NAME`, or the
    name of a setting."""
    recorded: str | None
    got: str | None
    place: int | None = field(default=None, compare=False)
    """Of a message: its index in the body of the recorded request, else of the other one."""


def conversation_of(body: bytes | Any, target: str = "") -> Conversation | None:
    """Return the conversation in a decoded body or JSON value; None if there is none. `target`: the target of the
    request, which tells the API. Without it, the body tells it."""
    if isinstance(body, bytes):
        body = parse_quickly(body) or loads(body.decode("utf-8", "replace"))
    data = as_dict(body)
    try:
        api = _api_of(data, target)
        return None if api is None else _conversation(api, data, target)
    except RecursionError:
        return None


def names_tool(asked: Conversation) -> bool:
    """Return whether a request makes the model call one tool, which it names or which is the only one."""
    choice = dict(asked.settings).get("tool_choice", "")
    data = as_dict(loads(choice))
    config = as_dict(data.get("functionCallingConfig"))
    named = data.get("name") or as_dict(data.get("function")).get("name")
    allowed = as_list(config.get("allowedFunctionNames"))
    must_call = choice == "required" or data.get("type") == "any" or config.get("mode") == "ANY"
    return bool(named) or (must_call and 1 in (len(asked.tools), len(allowed)))


def new_in(body: bytes, target: str = "") -> list[Draft]:
    """Return the parts of a request after the model's last answer, as sent; empty if it is no conversation. This takes
    a fraction of the time of `conversation_of`."""
    data = as_dict(parse_quickly(body))
    try:
        api = _api_of(data, target)
        drafts = [] if api is None else list(with_outputs(model_api(api).drafts(data)))
    except RecursionError:
        return []
    return drafts[after_answer(drafts) :]


def differences(recorded: Conversation, got: Conversation) -> Iterator[Difference]:
    """Yield the differences of two conversations: model, stream, instructions, items, tools, settings."""
    heads = (
        ("model", "API", recorded.api, got.api),
        ("model", "model", recorded.model, got.model),
        ("stream", "stream", str(recorded.is_streamed).lower(), str(got.is_streamed).lower()),
        ("instructions", "instructions", recorded.same_instructions, got.same_instructions),
    )
    yield from (Difference(*one) for one in heads if one[2] != one[3])
    for number, (one, other) in enumerate(zip_longest(recorded.items, got.items), 1):
        if one != other:
            known = other if one is None else one
            place = None if known is None else known.place
            yield replace(_item_difference(f"item {number}", one, other), place=place)
    yield from _tool_differences(recorded.tools, got.tools)
    ours = dict(recorded.settings)
    theirs = dict(got.settings)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield Difference("settings", name, ours.get(name), theirs.get(name))


def _item_difference(where: str, recorded: Item | None, got: Item | None) -> Difference:
    if recorded is None:
        return Difference("messages", f"{where} ({got.label if got else ''})", None, got.same if got else None)
    if got is None:
        return Difference("messages", f"{where} ({recorded.label})", recorded.same, None)
    if recorded.label != got.label:
        return Difference("messages", where, f"{recorded.label}: {recorded.same}", f"{got.label}: {got.same}")
    where += f" ({recorded.label})"
    if recorded.same != got.same:
        return Difference("messages", where, recorded.same, got.same)
    return Difference("messages", f"{where}, its call", _call_text(recorded), _call_text(got))


def _call_text(item: Item) -> str:
    return "no call" if item.call is None else f"call {item.call + 1}"


def _tool_differences(recorded: Iterable[Tool], got: Iterable[Tool]) -> Iterator[Difference]:
    ours = _by_name(recorded)
    theirs = _by_name(got)
    gone = sorted(ours.keys() - theirs.keys())
    new = sorted(theirs.keys() - ours.keys())
    if gone or new:
        yield Difference("tools", "tools", ", ".join(gone) or None, ", ".join(new) or None)
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            yield Difference("tools", f"tool {name}", ours[name], theirs[name])


def _by_name(tools: Iterable[Tool]) -> dict[str, str]:
    named = by_key(tools, lambda tool: tool.name)
    return {name: "".join(tool.same for tool in own) for name, own in named.items()}


def _api_of(data: dict[str, Any], target: str) -> Api | None:
    """Return the API of a body, by the end of the path, else by the fields; None if it is no conversation."""
    if (api := api_of(target)) is not None:
        return api if model_api(api).asks(data) else None
    found = {one.name: one.likeness(data, target) for one in model_apis()}
    best = max(found, key=lambda name: found[name])
    return best if found[best] else None


def _conversation(api: Api, data: dict[str, Any], target: str) -> Conversation:
    normal = Normal()  # collects the ids that are not compared
    asked = model_api(api).asked(data, target)
    instructions = "\n\n".join(asked.instructions)
    same_instructions = canonical(normal.written(instructions))
    tools = [_tool(one, normal) for one in asked.tools]
    numbers: dict[str, int] = {}  # of the ids of calls
    items = tuple(_items(with_outputs(asked.drafts), normal, numbers))
    previous = asked.previous_id
    calls = (item.call_id for item in items)
    return Conversation(
        api=api,
        model=asked.model,
        is_streamed=asked.is_streamed,
        same_instructions=same_instructions,
        tools=tuple(sorted(tools, key=lambda tool: (tool.name, tool.same))),
        items=items,
        settings=_settings(asked.settings),
        instructions=instructions,
        previous_id=previous,
        conversation_id=asked.conversation_id,
        history_ids=tuple(dict.fromkeys(id_ for id_ in (*asked.history_ids, previous, *calls) if id_)),
        ids=(*((previous,) if previous else ()), *numbers, *normal.ids),
    )


def _tool(data: dict[str, Any], normal: Normal) -> Tool:
    kind = as_text(data.get("type")) or "function"
    inner = data.get(kind)
    fields = {**data, **inner} if isinstance(inner, dict) else data
    name = as_text(fields.get("name")) or as_text(fields.get("server_label")) or kind
    description = as_text(fields.get("description")) or ""
    schema = fields.get("parameters", fields.get("input_schema"))
    left_out = ("name", "type", "description", "parameters", "input_schema", "cache_control", "strict", kind)
    rest = {key: value for key, value in fields.items() if key not in left_out}
    compared = {
        "description": description or None,
        "schema": _unordered(schema),
        "strict": True if fields.get("strict") is True else None,
        "type": None if kind in ("function", "custom") and schema is not None else kind,
        **rest,
    }
    return Tool(name, canonical(normal.of(compared)), description, schema)


def _settings(sent: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    found = {name: value for name, value in sent.items() if value is not None and value != {}}
    return tuple((name, canonical(Normal().of(found[name], name))) for name in sorted(found))


def _unordered(schema: Any) -> Any:
    """Return a JSON schema with each `required` sorted: its order means nothing."""
    if isinstance(schema, list):
        return [_unordered(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _unordered(value) for key, value in schema.items()}
    required = made.get("required")
    if isinstance(required, list) and all(isinstance(one, str) for one in required):
        made["required"] = sorted(required)
    return made


def _items(drafts: Iterable[Draft], normal: Normal, numbers: dict[str, int]) -> Iterator[Item]:
    """Yield the items, and number the ids of their calls. Adjacent tool outputs come in the order of their calls."""

    def place(output: Draft) -> tuple[int, str]:
        return numbers.get(output.call_id or "", len(numbers)), output.same(Normal())

    for are_outputs, adjacent in groupby(drafts, lambda draft: draft.kind == "output"):
        for draft in sorted(adjacent, key=place) if are_outputs else adjacent:
            call = None if draft.call_id is None else numbers.setdefault(draft.call_id, len(numbers))
            yield draft.item(normal, call)
