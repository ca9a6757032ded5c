"""The contract `omnigent`: an event is right if Omnigent's own client would take it.

The models are the contract. They are applied as that client applies its own: numbers in strings pass for
numbers, a field that is not named is no fault, and what the live schema leaves open is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ..events.union import MODELS
from .judge import Contract, Issue, ProblemKind
from .known_fields import Known
from .shapes import Shapes

_PROBLEMS: Mapping[str, ProblemKind] = {"missing": "missing field", "literal_error": "unknown value"}
_PLAIN = {
    "missing": "is required",
    "dict_type": "should be an object",
    "model_type": "should be an object",
    "list_type": "should be an array",
    "string_type": "should be a string",
}


def omnigent() -> Contract:
    """What the page documents and what the live union has: 56 types."""
    return Contract("omnigent", MODELS, check, names, shapes=Shapes(MODELS.get))


def check(type_: str, data: dict[str, Any], *, strict: bool = False) -> list[Issue]:
    """What its model says of a payload. `strict`: a number in a string is no number."""
    try:
        # What `model_validate` comes down to, at two thirds of its time.
        MODELS[type_].__pydantic_validator__.validate_python(data, strict=strict or None)
    except ValidationError as error:
        return issues_of(error)
    return []


def names(type_: str) -> Known:
    """The fields that its model has."""
    schema = MODELS[type_].model_json_schema()
    return Known(schema, [schema])


def issues_of(error: ValidationError, under: tuple[str | int, ...] = ()) -> list[Issue]:
    """pydantic's findings in our words. `under`: where in the event the value is."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        Issue.at((*under, *one["loc"]), _message(one["type"], one["msg"]), _PROBLEMS.get(one["type"], "wrong kind"))
        for one in found
    ]


def _message(kind: str, text: str) -> str:
    plain = text.removeprefix("Input ").removeprefix("Value error, ")
    return _PLAIN.get(kind) or plain[:1].lower() + plain[1:]
