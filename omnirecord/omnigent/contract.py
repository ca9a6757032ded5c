"""Contracts, which judge events, and the models of Omnigent's events.

    contract = load("omnigent")
    contract.judge(frame).verdict
    contract.event(data)

`omnirecord.contract` has the engine. Every model of `response_events` and `session_events` can be imported from here.
`cassette.contracts.load` also knows the contracts of other APIs.

A new event type is a model in one of these, below `OmnigentEvent`, and a line in `omnigent/summary.py`. An event
that changes a turn also gets a constant in `omnigent/protocol.py` and a function in `analysis/turns/events.py`.

The contract `documented`: Omnigent's reference page. It is the models, applied strictly, and the tables below:

- A key field without a condition on the page is required and not null. A field with a condition ("for terminal-backed
  sessions", "optional", "or null on legacy emissions") is optional.
- `index` and `final` of a text delta go with the `message_id` before them: the page's own example has none.
- `sequence_number` is a required integer on every event.
- Where the page lists the values of a field, those are its values.
- A value that the page leaves open is as in the live schema. Other fields are allowed.
- Named are the fields of the tables, `type` and `sequence_number`. Where the page lists the fields of an object
  (`params.…`), those are its fields; where it gives it a shape by name (`ResponseObject`), the live schema's are.

Paths are dotted; `[]` stands for each element of an array.

The contract `omnigent`: the events that Omnigent's own client accepts. It is the models, applied as that client does:
numbers in strings are numbers, and other fields are allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, reduce
from itertools import chain
from operator import or_
from os import PathLike, fspath
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from ..contract import Issue
from ..contract.base import Event, Shape, by_type
from ..contract.judge import Contract, check, issues_of, of_models
from ..contract.known import Known, Steps
from ..contract.shapes import Shapes
from .response_events import *  # noqa: F403 - a new model is exported without a change here
from .response_events import OmnigentEvent
from .session_events import *  # noqa: F403
from .session_events import ChildSessionSummary, SessionResourceObject, TodoEntry

MODELS = by_type(OmnigentEvent)
"""The model of each type: the reference page's 43 and the live union's 55, 56 together."""
if TYPE_CHECKING:
    ServerStreamEvent = OmnigentEvent
else:
    ServerStreamEvent = Annotated[reduce(or_, dict.fromkeys(MODELS.values())), Field(discriminator="type")]
"""Any event of Omnigent's. `type` tells them apart."""


def omnigent() -> Contract:
    """Return the contract of the page's and the live union's types: 56."""
    return of_models("omnigent", MODELS)


REQUIRED: Mapping[str, str] = {
    "session.status": "conversation_id status",
    "session.heartbeat": "server_time",
    "session.interrupted": "data data.requested_at data.response_id",
    "session.created": "conversation_id child_session_id agent_id parent_session_id",
    "session.child_session.updated": "conversation_id child_session_id child",
    "session.agent_changed": "conversation_id agent_id agent_name",
    "session.model": "conversation_id model",
    "session.usage": "conversation_id context_tokens context_window total_cost_usd",
    "session.presence": "conversation_id viewers viewers[].user_id viewers[].joined_at viewers[].idle",
    "session.skills": "conversation_id",
    "session.todos": "conversation_id todos todos[].content todos[].status todos[].activeForm",
    "session.sandbox_status": "conversation_id stage error",
    "session.terminal_pending": "conversation_id pending",
    "session.terminal.activity": "session_id terminal_id",
    "session.resource.created": "resource",
    "session.resource.deleted": "resource_id resource_type session_id",
    "session.changed_files.invalidated": "session_id environment_id",
    "response.created": "response response.status",
    "response.queued": "response",
    "response.in_progress": "response",
    "response.output_text.delta": "delta",
    "response.reasoning.started": "",
    "response.reasoning_text.delta": "delta",
    "response.reasoning_summary_text.delta": "delta",
    "response.output_item.done": "item",
    "response.output_file.done": "file_id filename content_type",
    "response.completed": "response response.status",
    "response.failed": "response response.error",
    "response.incomplete": "response response.incomplete_details response.incomplete_details.reason",
    "response.cancelled": "response",
    "response.error": "source tool_name error error.code error.message",
    "response.retry": "source tool_name attempt max_attempts delay_seconds error",
    "response.heartbeat": "server_time last_event_seq",
    "turn.started": "session_id",
    "turn.completed": "session_id",
    "turn.failed": "session_id error",
    "turn.cancelled": "session_id",
    "response.compaction.in_progress": "",
    "response.compaction.completed": "total_tokens",
    "response.compaction.failed": "",
    "response.elicitation_request": (
        "elicitation_id params params.message params.mode params.phase params.policy_name "
        "params.content_preview params.requestedSchema"
    ),
    "response.elicitation_resolved": "elicitation_id",
    "response.client_task.cancel": "task_id",
}

CONDITIONAL: Mapping[str, str] = {
    "session.status": "response_id error",
    "session.usage": "usage_by_model",
    "response.output_text.delta": "message_id index final",
    "response.client_task.cancel": "call_id",
}
"""Key fields that may be absent or null."""

VALUES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "session.status": {"status": ("idle", "running", "waiting", "failed")},
    "response.created": {"response.status": ("queued", "in_progress")},
    "response.completed": {"response.status": ("completed",)},
    "response.error": {"source": ("llm", "execution", "tool")},
}

_ITEMS = ("message", "function_call", "function_call_output", "reasoning", "compaction")
"""The types of item that the page lists. An item of another one is no fault: its shape is left open."""

SHAPES: Mapping[str, Mapping[str, type[Shape]]] = {
    "session.child_session.updated": {"child": ChildSessionSummary},
    "session.resource.created": {"resource": SessionResourceObject},
    "session.todos": {"todos[]": TodoEntry},
}
"""Open values that the page gives a shape by name."""

_PATHS = {type_: ("sequence_number", *paths.split()) for type_, paths in REQUIRED.items()}
_ABSENT = object()


def documented() -> Contract:
    """The page alone: 43 types."""
    return Contract("documented", REQUIRED, _check, _names, _unlisted, Shapes(_model), MODELS)


def _model(type_: str) -> type[Event] | None:
    """The model of a type if nothing but that says which of its words and numbers are right."""
    return None if type_ in VALUES or type_ in SHAPES else MODELS[type_]


def _names(type_: str) -> Known:
    """The fields that the page names, and below them those of the shapes that it names."""
    schema = MODELS[type_].model_json_schema()
    for path, shape in SHAPES.get(type_, {}).items():
        name, _, is_array = path.partition("[")
        of_it = shape.model_json_schema()
        schema["properties"][name] = {"type": "array", "items": of_it} if is_array else of_it
    named: dict[str, Any] = {}
    for path in ("type", "sequence_number", *REQUIRED[type_].split(), *CONDITIONAL.get(type_, "").split()):
        place = named
        for step in path.replace("[]", ".[]").split("."):
            place = place.setdefault(step, {})
    if "response" in named:
        named["response"] = {}  # the ResponseObject, of which the page picks out one field or another
    return Known(schema, [schema], named)


def _unlisted(type_: str, data: dict[str, Any]) -> Iterator[Issue]:
    item = data.get("item") if type_ == "response.output_item.done" else None
    if isinstance(item, dict) and "type" in item and item["type"] not in _ITEMS:
        yield Issue.at(("item", "type"), f"is none of {', '.join(_ITEMS)}", "unknown value")


def _check(type_: str, data: dict[str, Any]) -> list[Issue]:
    """Return the issues, one for each path."""
    found: dict[str, Issue] = {}
    of_model = check(MODELS[type_], data, strict=True)
    for issue in chain(of_model, _missing(type_, data), _shapes(type_, data), _values(type_, data)):
        found.setdefault(issue.path, issue)
    return list(found.values())


def _missing(type_: str, data: dict[str, Any]) -> Iterator[Issue]:
    for path in _PATHS[type_]:
        if path.isidentifier() and data.get(path) is not None:  # nearly always: a third of the cost
            continue
        for steps, value in _at(data, path):
            if value is _ABSENT:
                yield Issue.at(steps, "is required", "missing field")
            elif value is None:
                yield Issue.at(steps, "should not be null")


def _values(type_: str, data: dict[str, Any]) -> Iterator[Issue]:
    for path, allowed in VALUES.get(type_, {}).items():
        for steps, value in _at(data, path):
            if value not in allowed:
                yield Issue.at(steps, f"should be {' or '.join(map(repr, allowed))}", "unknown value")


def _shapes(type_: str, data: dict[str, Any]) -> Iterator[Issue]:
    for path, shape in SHAPES.get(type_, {}).items():
        for steps, value in _at(data, path):
            try:
                shape.model_validate(value, strict=True)
            except ValidationError as error:
                yield from issues_of(error, under=steps)


def _at(data: Any, path: str) -> list[tuple[Steps, Any]]:
    """Return the values at a path; none if its parent is no object, which is an issue of the parent."""
    found: list[tuple[Steps, Any]] = [((), data)]
    for part in path.split("."):
        name = part.removesuffix("[]")
        parents = [(steps, value) for steps, value in found if isinstance(value, dict)]
        found = [((*steps, name), parent.get(name, _ABSENT)) for steps, parent in parents]
        if part.endswith("[]"):
            arrays = [(steps, value) for steps, value in found if isinstance(value, list)]
            found = [((*steps, i), element) for steps, array in arrays for i, element in enumerate(array)]
    return found


_NAMED = {"omnigent": cache(omnigent), "documented": cache(documented)}


def load(name_or_path: str | PathLike[str], names: Sequence[str] = tuple(_NAMED)) -> Contract:
    """Return the contract `omnigent`, `documented`, or that of the OpenAPI document at this path. Raises `UsageError`,
    which lists the `names`."""
    name = fspath(name_or_path)
    if name in _NAMED:
        return _NAMED[name]()
    from ..contract.openapi import from_file  # it needs jsonschema-rs, which the named contracts do not

    return from_file(name, MODELS, names)
