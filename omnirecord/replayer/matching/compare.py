"""How the body of a request that came and of one that was recorded compare. Secrets count as equal. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...model import Exchange
from ...redaction.redactor import body_without_secrets
from ...wire.content_coding import decoded
from ...wire.headers import header
from .bodies import COMPARED, first_unlike, ids_in, value_of
from .jsonpaths import spelled, values_at
from .request import Incoming

_REPORTED = ("type", "action")
_SHOWN = 60
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
        told = [f"body {path}: recorded {_told(a)}, got {_told(b)}" for path, a, b in pairs if a != b]
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


def _told(values: Values) -> str:
    """For a sentence, not too long; JSON may hold lone surrogates, which no text may."""
    said = values[0] if len(values) == 1 else f"[{', '.join(values)}]" if values else "nothing"
    said = said.encode("utf-8", "backslashreplace").decode()
    return said if len(said) <= _SHOWN else said[: _SHOWN - 1] + "…"
