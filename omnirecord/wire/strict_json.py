"""From a frame's text to a JSON value: what a client would read, unless two would read it differently.

1. What Python's `json` accepts is accepted here, a lone surrogate escape included.
2. Refused beyond that: NaN and the infinities, a key given twice, and nesting deeper than `MAX_DEPTH`, where
   the answer would hang on the reader's stack.
3. Nothing here raises anything but `MalformedError`.

What a recorded frame carries, as JSON, and JSON as text. One way for whoever plays, tells or lists. Pure.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import jiter

from ..model import TimedFrame
from .sse import read_fields

MAX_DEPTH = 500
"""How deep a payload may be nested. No event was seen to pass 20."""


class MalformedError(ValueError):
    """The text is no JSON that every client would read alike."""


def parse(text: str) -> tuple[Any, Any]:
    """The value, and the same fit for a validator that knows no lone surrogates."""
    value = parse_quickly(text.encode("utf-8", "surrogatepass"))
    return _parse_slowly(text) if value is None else (value, value)


def parse_quickly(data: bytes) -> Any:
    """The value; None where it is null, or where it takes `parse` to say what it is."""
    try:
        return jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError:
        return None


def _parse_slowly(text: str) -> tuple[Any, Any]:
    """For what jiter refuses: a lone surrogate, deep nesting, and everything malformed."""
    try:
        value = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
        if not _is_shallow(value):
            raise MalformedError(f"is nested deeper than {MAX_DEPTH} levels")
        return value, without_surrogates(value)
    except MalformedError:
        raise
    except RecursionError:
        raise MalformedError(f"is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise MalformedError(f"is not JSON: {error}") from None


def without_surrogates(value: Any) -> Any:
    """The JSON value with U+FFFD for each lone surrogate."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise MalformedError("gives a key twice")
    return data


def _no_constant(name: str) -> NoReturn:
    raise MalformedError(f"holds {name}, which JSON does not have")


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def payload_of(frame: TimedFrame) -> Any:
    """The JSON value of a frame's data; None where it has none, or none that every client would read alike."""
    if frame.raw is None:
        return None
    try:
        return parse(read_fields(frame.raw, bom=frame.seq == 1).data or "")[0]
    except MalformedError:
        return None
