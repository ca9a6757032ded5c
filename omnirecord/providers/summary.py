"""One line for an event of a model API. Pure, and never raises: the data is any JSON.

The texts are as they are in the event: `omnirecord.analysis.summary` shortens them and replaces control characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ..text import joined, text_in
from ..wire.strict_json import as_dict
from .answers import ERROR
from .api import Data, ModelApi, Summary, TextKind
from .register import model_apis


def summary(type_: str | None, data: Data) -> str | None:
    """Return the summary of an event; None if its type is of no model API alone."""
    write = _summaries().get(type_ or "")
    return None if write is None else write(data)


def text_delta(type_: str | None, data: Data) -> tuple[TextKind, str] | None:
    """Return the text or reasoning in an event of a type that is of one model API alone; None for another event."""
    api = api_of_type(type_)
    return None if api is None else next(iter(api.deltas(data)), None)


def api_of_type(type_: str | None) -> ModelApi | None:
    """Return the API that alone has events of this type; None if there is none. Responses has those of Omnigent."""
    return _apis_by_type().get(type_ or "")


@cache
def _summaries() -> Mapping[str, Summary]:
    found: dict[str, Summary] = {ERROR: _error}
    for api in model_apis():
        found |= api.summaries
    return found


@cache
def _apis_by_type() -> Mapping[str, ModelApi]:
    return {type_: api for api in model_apis() for type_ in api.own_types}


def _error(data: Data) -> str:
    error = as_dict(data.get("error")) or data
    kind = text_in(error.get("code")) or text_in(error.get("type"))
    return joined([kind, text_in(error.get("message")) or text_in(data.get("error"))], ": ")
