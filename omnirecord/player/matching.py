"""Which recorded requests a request is like: method, path and query; never a body. Pure.

`idle` is ignored in a query, its order too, and secrets count as equal, so that clients with other credentials match.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from urllib.parse import parse_qsl

from ..cassette import Exchange
from ..redact import without_secrets
from ..routes import path_of, query_of

Query = tuple[tuple[str, str], ...]
_RELAXED = ("include_", "refresh_state", "limit")
NEAREST = 3
_LOOKED_AT = 40
"""Recorded requests with the same method, and with others, that are compared with one that was not recorded."""
_COMPARED = 200
"""Characters of their paths that are."""


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
    """The recorded requests most like `key`, best first, each with what differs.

    Comparing is slow and the event loop waits for it: only those are compared that begin like `key`.
    """
    requests = {(x.request.method, x.request.target) for x in recorded}
    same = {request for request in requests if request[0] == key.method}
    looked_at = _beginning_like(key.path, same) + _beginning_like(key.path, requests - same)
    keys = {key_of(method, target) for method, target in looked_at}
    matcher = SequenceMatcher(b=key.path[:_COMPARED])
    best = sorted(keys, key=lambda other: (-_likeness(key, other, matcher), str(other)))[:NEAREST]
    return [{"request": str(other), "differs": _difference(key, other)} for other in best]


def _beginning_like(path: str, requests: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those around the place that `path` would have among theirs in alphabetical order."""
    ordered = sorted((path_of(target), target, method) for method, target in requests)
    at = max(0, bisect_left(ordered, (path,)) - _LOOKED_AT // 2)
    return [(method, target) for _, target, method in ordered[at : at + _LOOKED_AT]]


def _likeness(one: Key, other: Key, matcher: SequenceMatcher[str]) -> float:
    """The same path counts most, then the same method and the segments with which both paths begin."""
    path = other.path[:_COMPARED]
    matcher.set_seq1(path)
    wanted, found = one.path[:_COMPARED].split("/")[1:], path.split("/")[1:]
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(wanted, found, strict=False)))
    return (
        2.0 * (one.path == other.path)
        + 0.6 * (one.method == other.method)
        + shared / max(1, len(wanted))
        + matcher.ratio()
        + 0.1 * (one.query == other.query)
    )


def _difference(one: Key, other: Key) -> str:
    parts = [name for name in ("method", "path", "query") if getattr(one, name) != getattr(other, name)]
    return " and ".join(parts) or "nothing: it was recorded fewer times than it is asked"
