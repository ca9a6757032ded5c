"""Whether two bodies say the same as a whole, and where they first differ. Pure.

JSON is compared by value. Ids that a client makes up, times, and the names of temporary folders mean nothing, as in
`omnirecord diff`. A form is compared by its fields, other text as it is. Binary data and multipart bodies are not
compared.

How the body of a request that came and of one that was recorded compare. Secrets count as equal. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from ...analysis.diff.normalize import Ids, Normal
from ...analysis.diff.text import Span, spans
from ...model import Exchange, Headers
from ...redaction.redactor import body_without_secrets
from ...wire.content_coding import decoded
from ...wire.headers import header
from .jsonpaths import spelled, values_at
from .key import Incoming

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


_REPORTED = ("type", "action")
_SHOWN_FIELDS = 60
"""Characters of a value."""

Values = list[str]


class Bodies:
    """The decoded bodies of recorded requests, which `read` reads; what lay at a JSON path of one is remembered."""

    def __init__(self, read: Callable[[Exchange], bytes], exchanges: Sequence[Exchange] = ()) -> None:
        self._read = read
        self._exchanges = exchanges
        self._values: dict[tuple[int, str], Values] = {}
        self._wholes: dict[int, Any] = {}
        self._known: set[str] | None = None

    def fitting(self, request: Incoming, recorded: list[Exchange], paths: Sequence[str]) -> list[Exchange]:
        """Those with the same at each of these JSON paths."""
        if not paths:
            return recorded
        safe = _without_secrets(_content(request))
        got = {path: values_at(path, safe) for path in paths if path}
        found = [x for x in recorded if all(self._at(path, x) == values for path, values in got.items())]
        if "" not in paths or len(request.body) >= COMPARED:
            return found
        value = value_of(safe, request.headers)
        return [x for x in found if first_unlike(self._whole(x), value, self._known_ids) is None]

    def differences(self, request: Incoming, exchange: Exchange, paths: Sequence[str]) -> str:
        """What is not the same at them: `body $.x: recorded "a", got "b"`."""
        safe = _without_secrets(_content(request))
        pairs = ((path, self._at(path, exchange), values_at(path, safe)) for path in paths if path)
        told = [f"body {path}: recorded {_told_fields(a)}, got {_told_fields(b)}" for path, a, b in pairs if a != b]
        if "" in paths:
            unlike = first_unlike(self._whole(exchange), value_of(safe, request.headers), self._known_ids)
            told += [] if unlike is None else [str(unlike)]
        return " and ".join(told)

    def most_like(self, request: Incoming, recorded: Sequence[Exchange]) -> Exchange:
        """The first with the same body, else with the same `type` and `action`, else the first."""
        safe = _without_secrets(_content(request))
        got, said = _spelled(safe), _object(safe)

        def likeness(x: Exchange) -> int:
            other = self._safe(x)
            return 2 * (_spelled(other) == got) + (said is not None and not list(_mismatches(said, _object(other))))

        return max(recorded, key=likeness)

    def mismatches(self, request: Incoming, exchange: Exchange) -> list[tuple[str, Any, Any]]:
        """Where the two say another `type` or `action`: the name, what was recorded, what came."""
        got = _object(_content(request))
        if got is None:
            return []
        return list(_mismatches(got, _object(self._read(exchange))))

    def _whole(self, exchange: Exchange) -> Any:
        """The content of a recorded body as a value, remembered."""
        if exchange.exchange not in self._wholes:
            self._wholes[exchange.exchange] = value_of(self._safe(exchange), exchange.request.headers)
        return self._wholes[exchange.exchange]

    def _known_ids(self) -> set[str]:
        """The ids that recorded requests hold."""
        if self._known is None:
            self._known = {one for x in self._exchanges for one in ids_in(self._whole(x))}
            self._known |= {x.session_id for x in self._exchanges if x.session_id is not None}
        return self._known

    def _at(self, path: str, exchange: Exchange) -> Values:
        where = exchange.exchange, path
        if where not in self._values:
            self._values[where] = values_at(path, self._safe(exchange))
        return self._values[where]

    def _safe(self, exchange: Exchange) -> bytes:
        return _without_secrets(self._read(exchange))


def _content(request: Incoming) -> bytes:
    """The decoded body of a request that came."""
    return decoded(request.body, header(request.headers, "content-encoding")) if request.body else b""


def _without_secrets(content: bytes) -> bytes:
    """The content of a body with one constant for every secret, as recorded ones have pseudonyms."""
    return body_without_secrets(content) if content else b""


def _spelled(body: bytes) -> str | bytes:
    """A body so that equal JSON is equal; as it is where it is none."""
    try:
        return spelled(json.loads(body))
    except (ValueError, RecursionError):
        return body


def _object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that a body is; None where it is something else, or was not taken whole."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _mismatches(got: dict[str, Any], recorded: dict[str, Any] | None) -> Iterator[tuple[str, Any, Any]]:
    for name in _REPORTED if recorded is not None else ():
        if recorded is not None and got.get(name) != recorded.get(name):
            yield name, recorded.get(name), got.get(name)


def _told_fields(values: Values) -> str:
    """For a sentence, not too long; JSON may hold lone surrogates, which no text may."""
    said = values[0] if len(values) == 1 else f"[{', '.join(values)}]" if values else "nothing"
    said = said.encode("utf-8", "backslashreplace").decode()
    return said if len(said) <= _SHOWN_FIELDS else said[: _SHOWN_FIELDS - 1] + "…"
