"""The JSON value of a frame's data, as every client reads it. No I/O.

1. Text that Python's `json` accepts is accepted, a lone surrogate escape included.
2. Refused are NaN and the infinities, a duplicate key, and nesting deeper than `MAX_DEPTH`, where the result would
   depend on the reader's stack.
3. The only exception is `MalformedError`.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import jiter

from ..model import TimedFrame
from .sse import data_start, read_fields

MAX_DEPTH = 500
"""The deepest nesting of a payload. Recorded events have at most 20 levels."""


class MalformedError(ValueError):
    """The text is no JSON, or clients would read it differently."""


def parse(text: str) -> tuple[Any, Any]:
    """Return the value, and the value without lone surrogates, for a validator. Raises `MalformedError`."""
    value = parse_quickly(text.encode("utf-8", "surrogatepass"))
    return _parse_slowly(text) if value is None else (value, value)


def parse_quickly(data: bytes) -> Any:
    """Return the value; None if it is null, or if only `parse` can read it."""
    try:
        return jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError:
        return None


def _parse_slowly(text: str) -> tuple[Any, Any]:
    """Parse text that jiter refuses: a lone surrogate, deep nesting, or malformed text."""
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
    """Return the JSON value with U+FFFD for each lone surrogate."""
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
    """Return the JSON value of a frame's data; None if it has none, or if it is malformed."""
    raw = frame.raw
    if raw is None:
        return None
    if (start := data_start(raw)) and (value := parse_quickly(raw[start:-2])) is not None:
        return value
    try:
        return parse(read_fields(raw, bom=frame.seq == 1).data or "")[0]
    except MalformedError:
        return None
