"""Which recorded requests a request is like: method, path and query; never a body. Pure.

`idle` is ignored in a query, its order too, and secrets count as equal, so that clients with other credentials match.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from urllib.parse import parse_qsl

from ..cassette import Exchange
from ..redact import without_secrets
from ..routes import path_of, query_of

Query = tuple[tuple[str, str], ...]
_RELAXED = ("include_", "refresh_state", "limit")
NEAREST = 3


@dataclass(frozen=True, slots=True)
class Key:
    """What of a request has to be the same."""

    method: str
    path: str
    query: Query

    def relaxed(self) -> Key:
        """Without what only says how much a read is to hold."""
        return Key(self.method, self.path, tuple(pair for pair in self.query if not pair[0].startswith(_RELAXED)))

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + ("?" + "&".join(f"{k}={v}" for k, v in self.query) if self.query else "")


def key_of(method: str, target: str) -> Key:
    query = parse_qsl(query_of(without_secrets(target)), keep_blank_values=True)
    return Key(method, path_of(target), tuple(sorted(pair for pair in query if pair[0] != "idle")))


def nearest(key: Key, recorded: Iterable[Exchange]) -> list[dict[str, str]]:
    """The recorded requests most like `key`, best first, each with what differs."""
    keys = {key_of(x.request.method, x.request.target) for x in recorded}
    best = sorted(keys, key=lambda other: (-_likeness(key, other), str(other)))[:NEAREST]
    return [{"request": str(other), "differs": _difference(key, other)} for other in best]


def _likeness(one: Key, other: Key) -> float:
    same_method = 0.2 * (one.method == other.method)
    return same_method + SequenceMatcher(None, one.path, other.path).ratio() + 0.1 * (one.query == other.query)


def _difference(one: Key, other: Key) -> str:
    parts = [name for name in ("method", "path", "query") if getattr(one, name) != getattr(other, name)]
    return " and ".join(parts) or "nothing: it was recorded fewer times than it is asked"
