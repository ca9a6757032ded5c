"""Contracts of pydantic models: an event is valid if the model of its type takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from .events import TAG, Event
from .judge import OMNIGENTS, Api, Contract, Issue, ProblemKind
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
