"""Whether two bodies say the same as a whole, and where they first differ. Pure.

JSON is compared by value. Ids that a client makes up, times, and the names of temporary folders mean nothing, as in
`omnirecord diff`. A form is compared by its fields, other text as it is. Binary data and multipart bodies are not
compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from ...analysis.diff.normalize import Ids, Normal
from ...analysis.diff.text import Span, spans
from ...model import Headers
from ...wire.headers import header

COMPARED = 1 << 20
"""The most of a request's body that is looked at, in bytes."""
_SHOWN = 160
"""Characters of one side of a difference."""
_UNSEEN = object()
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Unlike:
    """The first place at which two bodies differ, as a JSON path, and what lies there; None for nothing."""

    path: str
    recorded: Any
    got: Any

    def __str__(self) -> str:
        return f"body {self.path}: {marked(_told(self.recorded), _told(self.got))}"


def value_of(body: bytes, headers: Headers) -> Any:
    """The content of a body as a value to compare; one and the same mark for everything that is not compared."""
    kind = (header(headers, "content-type") or "").partition(";")[0].strip().lower()
    if kind.startswith("multipart/") or kind == "application/octet-stream":
        return _UNSEEN
    try:
        text = body.decode()
        if kind == "application/x-www-form-urlencoded":
            return parse_qs(text, keep_blank_values=True)
        return json.loads(text) if text else _NOTHING
    except UnicodeDecodeError:
        return _UNSEEN
    except (ValueError, RecursionError):
        return text


def first_unlike(recorded: Any, got: Any, known: Callable[[], Set[str]]) -> Unlike | None:
    """The first place at which two values differ; None where they say the same. `known`: the ids of the recording:
    none of these stands for another one."""
    if recorded is _UNSEEN and got is _UNSEEN:
        return None
    try:
        return _Comparing(known).unlike(recorded, got, "$", "")
    except RecursionError:
        return None if recorded == got else Unlike("$", recorded, got)


def ids_in(value: Any) -> list[str]:
    """The ids in a body."""
    found = Normal()
    try:
        found.of(value)
    except RecursionError:
        return []
    return found.ids


def marked(recorded: str, got: str) -> str:
    """Two texts as one, with what was recorded in `[-…-]` and what came in its place in `{+…+}`."""
    return "".join(_short(one) if one.tone == "same" else _mark(one) for one in spans(recorded, got))


def _mark(span: Span) -> str:
    return f"[-{_short(span)}-]" if span.tone == "gone" else f"{{+{_short(span)}+}}"


class _Comparing:
    """One comparison, in which each id of one side stands for one of the other."""

    def __init__(self, known: Callable[[], Set[str]]) -> None:
        self._known = known
        self._ids = Ids()

    def unlike(self, recorded: Any, got: Any, path: str, name: str) -> Unlike | None:
        if isinstance(recorded, dict) and isinstance(got, dict):
            keys = sorted(recorded.keys() | got.keys())
            pairs = ((f"{path}.{key}", recorded.get(key, _NOTHING), got.get(key, _NOTHING), key) for key in keys)
        elif isinstance(recorded, list) and isinstance(got, list):
            size = max(len(recorded), len(got))
            pairs = ((f"{path}[{n}]", _item(recorded, n), _item(got, n), name) for n in range(size))
        elif self._is_alike(recorded, got, name):
            return None
        else:
            return Unlike(path, recorded, got)
        found = (self.unlike(one, other, at, key) for at, one, other, key in pairs)
        return next((one for one in found if one is not None), None)

    def _is_alike(self, recorded: Any, got: Any, name: str) -> bool:
        if _NOTHING in (recorded, got) or _UNSEEN in (recorded, got) or type(recorded) in (dict, list):
            return recorded is got
        left, right = Normal(), Normal()
        if json.dumps(left.of(recorded, name)) != json.dumps(right.of(got, name)):
            return False
        for one, other in zip(left.ids, right.ids, strict=False):
            if not self._ids.bind(one, other) or (one != other and other in self._known()):
                return False
        return len(left.ids) == len(right.ids)


def _item(values: list[Any], number: int) -> Any:
    return values[number] if number < len(values) else _NOTHING


def _told(value: Any) -> str:
    """A value as JSON, a text without its quotes. JSON may hold lone surrogates, which no text may."""
    if value is _NOTHING:
        return "nothing"
    if value is _UNSEEN:
        return "data that is not text"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


def _short(span: Span) -> str:
    return span.text if len(span.text) <= _SHOWN else f"{span.text[: _SHOWN - 1]}…"
