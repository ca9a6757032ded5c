"""Contracts of pydantic models: an event is valid if the model of its type takes it. And the contract `none`.

`none` is for an API of which nothing is known: only the bytes of a frame decide its verdict. An event that is neither a
comment, nor `[DONE]`, nor cut off is `valid`: its data may be any text. Its type is the payload's `type`, else the line
`event:`, else the payload's `object` or `method`, as far as they exist. An answer of JSON-RPC has the type `result` or
`error`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from ..wire.json_rpc import message_of
from .events import TAG, Event, sequence_number, type_name
from .judge import OMNIGENTS, Api, Contract, Issue, Judgement, ProblemKind
from .known_fields import Known, Steps
from .shapes import Shapes

Models = Mapping[str, type[Event]]
"""The model of each type."""
_PROBLEMS: Mapping[str, ProblemKind] = {"missing": "missing field", "literal_error": "unknown value"}
_OTHER: ProblemKind = "wrong kind"
_PLAIN = {
    "missing": "is required",
    "dict_type": "should be an object",
    "model_type": "should be an object",
    "model_attributes_type": "should be an object",
    "list_type": "should be an array",
    "string_type": "should be a string",
}


def of_models(name: str, models: Models, api: Api = OMNIGENTS) -> Contract:
    """Return the contract of these models, applied as a client does: numbers in strings are numbers, and other fields
    are allowed."""

    def checked(type_: str, data: dict[str, Any]) -> list[Issue]:
        return check(models[type_], data)

    def known(type_: str) -> Known:
        schema = models[type_].model_json_schema()
        return Known(schema, [schema])

    return Contract(name, models, checked, known, shapes=Shapes(models.get), models=models, api=api)


def check(model: type[Event], data: dict[str, Any], *, strict: bool = False) -> list[Issue]:
    """Return the issues of a payload by its model. `strict`: a number in a string is no number."""
    try:
        # The core of `model_validate`, in two thirds of its time.
        model.__pydantic_validator__.validate_python(data, strict=strict or None)
    except ValidationError as error:
        return issues_of(error)
    return []


def issues_of(error: ValidationError, under: tuple[str | int, ...] = ()) -> list[Issue]:
    """pydantic's findings in our words. `under`: where in the event the value is."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        Issue.at((*under, *_steps(one["loc"])), _message(one["type"], one["msg"]), _PROBLEMS.get(one["type"], _OTHER))
        for one in found
    ]


def _steps(loc: Steps) -> Steps:
    return tuple(step for step in loc if not (isinstance(step, str) and step.startswith(TAG)))


def _message(kind: str, text: str) -> str:
    plain = text.removeprefix("Input ").removeprefix("Value error, ")
    return _PLAIN.get(kind) or plain[:1].lower() + plain[1:]


NONE = "none"
_FURTHER = ("object", "method")
_NO_NAME = "message"
"""What `event:` says by default, in the standard."""


class NoContract(Contract):
    """A contract that takes every event. `types`: those that other contracts of the same document know."""

    def __init__(self, name: str = NONE, types: Iterable[str] = ()) -> None:
        super().__init__(name, types, lambda _type, _data: (), api=Api("", any_type, has_ends=False))

    def _judge_payload(self, event: str | None, data: Any, _checkable: Any) -> Judgement:
        fields = data if isinstance(data, dict) else {}
        return Judgement("valid", any_type(fields, event), sequence_number(fields), (), data)

    def _malformed(self, event: str | None, text: str, _problem: str) -> Judgement:
        return Judgement("valid", any_type({}, event), data=text)


def any_type(data: Mapping[str, Any], event: str | None) -> str | None:
    """Return what names an event of an unknown API; None without a name."""
    found = type_name(data)
    if found is None and (event is None or event == _NO_NAME):
        found = next((text for name in _FURTHER if isinstance(text := data.get(name), str)), None)
        if found is None and (message := message_of(data)) is not None:
            found = message.kind
    return found if found is not None else event or None
