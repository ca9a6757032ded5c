"""Compares the bodies of a request and of recorded ones, as a whole or at JSON paths. Secrets count as equal. Pure.

JSON is compared by value. Generated ids, times and names of temporary folders do not count, as in `omnirecord diff`. A
form is compared by its fields, other text as it is. Binary and multipart bodies are not compared. An empty body equals
none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import zip_longest
from typing import Any
from urllib.parse import parse_qs

from ...model import Exchange, Headers, Request
from ...omnigent.routes import OWN_ID, creates_session
from ...redaction.redactor import body_without_secrets
from ...text import clip
from ...wire.headers import header
from ...wire.json_rpc import SESSION_HEADER, Message, compared, message_of
from ...wire.normal import ID, TIME, Ids, Normal, is_made_up
from ...wire.strict_json import loads
from .key import Incoming
from .rules import WHOLE_BODY, spelled, values_at

OF_CALLS = ("$.method", "$.params.name")
"""JSON paths at which JSON-RPC requests have to be equal: the method, and the tool or prompt that it names."""
COMPARED = 1 << 20
"""Bytes of a request's body that are compared."""
_KEPT = 16
"""Recorded bodies that are kept as values."""
_SHOWN = 160
"""Characters of one side of a marked difference."""
_SHOWN_FIELDS = 60
"""Characters of a value at a JSON path."""
MARKS = {"same": "%s", "gone": "[-%s-]", "new": "{+%s+}"}
"""The form of equal, of recorded and of new text in a difference."""
_UNSEEN = object()
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Unlike:
    """The first difference of two bodies: its JSON path and both values."""

    path: str
    recorded: Any
    got: Any

    def __str__(self) -> str:
        return f"body {self.path}: {marked(_value_text(self.recorded), _value_text(self.got))}"


def is_upload(headers: Headers) -> bool:
    """Whether the body of a request with these headers is an upload. It differs each time, and is not compared."""
    kind = _kind(headers)
    return kind.startswith("multipart/") or kind == "application/octet-stream"


def _kind(headers: Headers) -> str:
    return (header(headers, "content-type") or "").partition(";")[0].strip().lower()


def value_of(body: bytes, headers: Headers) -> Any:
    """Return the content of a body as a value to compare; one mark for all bodies that are not compared."""
    if not body:
        return _NOTHING
    if is_upload(headers):
        return _UNSEEN
    try:
        text = body.decode()
        if _kind(headers) == "application/x-www-form-urlencoded":
            return parse_qs(text, keep_blank_values=True)
        return json.loads(text)
    except UnicodeDecodeError:
        return _UNSEEN
    except (ValueError, RecursionError):
        return text


_Known = Callable[[], Mapping[str, int]]
"""The number of recorded requests that hold an id, by this id. None of these ids stands for another one."""


def first_unlike(recorded: Any, got: Any, known: _Known) -> Unlike | None:
    """Return the first difference of two values; None if they are equal."""
    if recorded is _UNSEEN and got is _UNSEEN:
        return None
    try:
        return _unlike(recorded, got, "$", "", Ids(), known)
    except RecursionError:
        return None if recorded == got else Unlike("$", recorded, got)


def _digest(value: Any) -> int:
    """Return a number that is equal for values without a difference."""
    if value is _UNSEEN or value is _NOTHING:
        return id(value)
    try:
        return hash(json.dumps(_without_marks(Normal(of_request=True).of(value))))
    except RecursionError:
        return 0


def _without_marks(value: Any) -> Any:
    """Return a normalised value without the members that are an id or a time: only one of two equal bodies may have
    them."""
    if isinstance(value, list):
        return [_without_marks(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: _without_marks(one) for key, one in value.items() if one not in (ID, TIME)}


def ids_in(value: Any) -> list[str]:
    found = Normal(of_request=True)
    try:
        found.of(value)
    except RecursionError:
        return []
    return found.ids


def marked(recorded: str, got: str) -> str:
    """Return two texts as one, with recorded text in `[-…-]` and new text in `{+…+}`."""
    from ...analysis.diff.differences import spans  # a replay that matches needs no analysis

    return "".join(MARKS[one.tone] % clip(one.text, _SHOWN) for one in spans(recorded, got))


def _unlike(recorded: Any, got: Any, path: str, name: str, ids: Ids, known: _Known) -> Unlike | None:
    """Return the first difference below `path`. `ids`: each id of one side stands for one of the other. A member that
    only one side has is no difference if it is a generated id or a time."""
    if isinstance(recorded, dict) and isinstance(got, dict):
        keys = sorted(recorded.keys() | got.keys())
        members = ((key, recorded.get(key, _NOTHING), got.get(key, _NOTHING)) for key in keys)
        pairs = (
            (f"{path}.{key}", one, other, key)
            for key, one, other in members
            if not ((one is _NOTHING or other is _NOTHING) and _is_added(key, one, other, known))
        )
    elif isinstance(recorded, list) and isinstance(got, list):
        items = zip_longest(recorded, got, fillvalue=_NOTHING)
        pairs = ((f"{path}[{n}]", one, other, name) for n, (one, other) in enumerate(items))
    else:
        return None if _is_alike(recorded, got, name, ids, known) else Unlike(path, recorded, got)
    found = (_unlike(one, other, at, key, ids, known) for at, one, other, key in pairs)
    return next((one for one in found if one is not None), None)


def _is_added(key: str, recorded: Any, got: Any, known: _Known) -> bool:
    """Whether a member that only one side has is generated, and refers to no other request."""
    value, own = (got, 0) if recorded is _NOTHING else (recorded, 1)
    return is_made_up(value, key) and (not isinstance(value, str) or known().get(value, 0) <= own)


def _is_alike(recorded: Any, got: Any, name: str, ids: Ids, known: _Known) -> bool:
    if _NOTHING in (recorded, got) or _UNSEEN in (recorded, got) or type(recorded) in (dict, list):
        return recorded is got
    left = Normal(of_request=True)
    right = Normal(of_request=True)
    if json.dumps(left.of(recorded, name)) != json.dumps(right.of(got, name)):
        return False
    pairs = zip(left.ids, right.ids, strict=False)
    return ids.bind_all(left.ids, right.ids) and not any(a != b and b in known() for a, b in pairs)


def _value_text(value: Any) -> str:
    """Return a value as JSON, a text without quotes. Lone surrogates are escaped."""
    if value is _NOTHING:
        return "nothing"
    if value is _UNSEEN:
        return "data that is not text"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


class Bodies:
    """The bodies of recorded requests. `read` returns a decoded body. Their digests and their values at JSON paths are
    kept, and the bodies are not: a cassette may hold gigabytes. `own_ids`: the id that a client chooses for a new
    session does not count."""

    def __init__(
        self, read: Callable[[Exchange], bytes], exchanges: Sequence[Exchange] = (), *, own_ids: bool = False
    ) -> None:
        self._read = read
        self._own_ids = own_ids
        self._exchanges = exchanges
        self._values: dict[tuple[int, str], list[str]] = {}
        self._digests: dict[int, int] = {}
        self._whole = lru_cache(_KEPT)(lambda exchange: self._counted(exchange.request, self._safe(exchange)))
        self._got = lru_cache(1)(lambda request: self._counted(request, request.safe))

    def begins(self, request: Incoming, exchange: Exchange) -> bool:
        """Whether the recorded body, which was cut, is the beginning of this request's body."""
        recorded = self._read(exchange)
        if request.content.startswith(recorded) or (is_upload(request.headers) and is_upload(exchange.request.headers)):
            return True
        return request.safe.startswith(body_without_secrets(recorded))

    def fitting(self, request: Incoming, recorded: list[Exchange], paths: Sequence[str]) -> list[Exchange]:
        """Return the exchanges with equal values at each of these JSON paths."""
        if not paths:
            return recorded
        got = {path: values_at(path, request.safe) for path in paths if path}
        found = [x for x in recorded if all(self._at(path, x) == values for path, values in got.items())]
        if WHOLE_BODY not in paths or len(request.body) >= COMPARED:
            return found
        digest = _digest(self._got(request))
        return [x for x in found if self._digest(x) == digest and self._unlike(x, request) is None]

    def differences(self, request: Incoming, exchange: Exchange, paths: Sequence[str]) -> str:
        """Return the differences at these paths: `body $.x: recorded "a", got "b"`."""
        pairs = ((path, self._at(path, exchange), values_at(path, request.safe)) for path in paths if path)
        told = [f"body {path}: recorded {_values_text(a)}, got {_values_text(b)}" for path, a, b in pairs if a != b]
        if WHOLE_BODY in paths and not told:
            unlike = self._unlike(exchange, request)
            told += [] if unlike is None else [str(unlike)]
        return " and ".join(told)

    def most_like(self, request: Incoming, recorded: Sequence[Exchange]) -> Exchange:
        """Return the first exchange with an equal body, else with an equal `type` and `action`, else the first."""
        got = _spelled(request.safe)
        said = _object(request.safe)

        def likeness(x: Exchange) -> int:
            other = self._safe(x)
            return 2 * (_spelled(other) == got) + (said is not None and not list(_mismatches(said, _object(other))))

        return max(recorded, key=likeness)

    def call(self, request: Incoming) -> Message | None:
        """Return the JSON-RPC message of a request; None if it has none."""
        return message_of(loads(request.content)) if request.body[:1] == b"{" else None

    def calls(self, request: Incoming, exchange: Exchange) -> tuple[Message, Message] | None:
        """Return the recorded and the new JSON-RPC message, if both requests have one."""
        asked = self.call(request)
        recorded = None if asked is None else message_of(loads(self._read(exchange)))
        return None if asked is None or recorded is None else (recorded, asked)

    def same_call(self, request: Incoming, recorded: Sequence[Exchange]) -> list[Exchange]:
        """Return the exchanges with the same JSON-RPC parameters, those of the same MCP session first; none for a
        request without JSON-RPC. The `id` and the progress token do not count."""
        if self.call(request) is None:
            return []
        session = header(request.headers, SESSION_HEADER)
        same = self.fitting(request, list(recorded), [WHOLE_BODY])
        return sorted(same, key=lambda x: header(x.request.headers, SESSION_HEADER) != session)

    def mismatches(self, request: Incoming, exchange: Exchange) -> list[tuple[str, Any, Any]]:
        """Return the differences in `type` and `action`, or in the `params` of JSON-RPC: name, recorded, new value."""
        if (calls := self.calls(request, exchange)) is not None:
            recorded, asked = calls
            return [] if self._unlike(exchange, request) is None else [("params", recorded.params, asked.params)]
        got = _object(request.content)
        return [] if got is None else list(_mismatches(got, _object(self._read(exchange))))

    def _unlike(self, exchange: Exchange, request: Incoming) -> Unlike | None:
        """Return the first difference of a recorded body and that of a request; None if they are equal."""
        return first_unlike(self._whole(exchange), self._got(request), lambda: self._known_ids)

    def _digest(self, exchange: Exchange) -> int:
        if exchange.exchange not in self._digests:
            self._digests[exchange.exchange] = _digest(self._whole(exchange))
        return self._digests[exchange.exchange]

    def _counted(self, request: Request | Incoming, body: bytes) -> Any:
        """Return the value of the part of a body that counts."""
        value = value_of(body, request.headers)
        if message_of(value) is not None:
            return compared(value)
        if self._own_ids and isinstance(value, dict) and creates_session(request.method, request.target):
            return {name: one for name, one in value.items() if name not in OWN_ID}
        return value

    @cached_property
    def _known_ids(self) -> Counter[str]:
        """The ids in recorded requests, with the number of these requests. An id of a session counts twice at least:
        it refers to that session."""
        known = Counter(x.session_id for x in self._exchanges if x.session_id is not None)
        known += Counter(known.keys())
        for x in self._exchanges:
            known.update(set(ids_in(self._whole(x))))
        return known

    def _at(self, path: str, exchange: Exchange) -> list[str]:
        where = exchange.exchange, path
        if where not in self._values:
            self._values[where] = values_at(path, self._safe(exchange))
        return self._values[where]

    def _safe(self, exchange: Exchange) -> bytes:
        body = self._read(exchange)
        return body_without_secrets(body) if body else b""


def _spelled(body: bytes) -> str | bytes:
    """Return a body as canonical JSON; as it is if it is no JSON."""
    try:
        return spelled(json.loads(body))
    except (ValueError, RecursionError):
        return body


def _object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of a body; None if it is none, or is cut."""
    value = loads(body)
    return value if isinstance(value, dict) else None


def _mismatches(got: dict[str, Any], recorded: dict[str, Any] | None) -> Iterator[tuple[str, Any, Any]]:
    for name in ("type", "action"):
        if recorded is not None and got.get(name) != recorded.get(name):
            yield name, recorded.get(name), got.get(name)


def _values_text(values: list[str]) -> str:
    """Return values for a sentence, cut. Lone surrogates are escaped."""
    said = f"[{', '.join(values)}]"
    if len(values) < 2:
        said = values[0] if values else "nothing"
    return clip(said.encode("utf-8", "backslashreplace").decode(), _SHOWN_FIELDS)
