"""What lies at a JSON path (RFC 9535) of a body, made comparable. Its library is loaded when a rule needs it. Pure."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonpath import CompoundJSONPath, JSONPath


def problem(path: str) -> str | None:
    """Why this is no JSON path, in a few words; None where it is one."""
    from jsonpath import JSONPathError

    try:
        _compiled(path)
    except (JSONPathError, RecursionError, ValueError, ArithmeticError) as error:  # the last two of a number's
        return str(error.args[0]) if error.args else "it cannot be read"  # its str() adds lines of context
    return None


def values_at(path: str, body: bytes) -> list[str]:
    """What lies there, each as JSON in one spelling; nothing in a body that is no JSON, or was not taken whole."""
    from jsonpath import JSONPathError

    try:
        compiled, value = _compiled(path), _loaded(body)
        if isinstance(value, str):  # the library would take it for JSON yet to be read
            return [spelled(value)] if str(compiled) == "$" else []
        return [spelled(found) for found in compiled.findall(value)]
    except (ValueError, ArithmeticError, RecursionError, JSONPathError):
        return []


def spelled(value: Any) -> str:
    """The same for everything that is equal as JSON: the order of members does not count, nor that 1.0 is a float."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _loaded(body: bytes) -> Any:
    return json.loads(body, parse_float=_number)


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


@lru_cache(64)
def _compiled(path: str) -> JSONPath | CompoundJSONPath:
    import jsonpath

    return jsonpath.compile(path, strict=True)
