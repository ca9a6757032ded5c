"""What of a request has to be the same for a recorded one to answer it: its key. Pure.

By default method, path and query: `idle` is ignored in a query, its order too, and secrets count as equal, so that
clients with other credentials match. `rules` add and ignore.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from ...cassette import Headers
from ...headers import header
from ...redact import header_without_secrets, without_secrets
from ...routes import path_of, query_of
from .rules import DEFAULT, Rules

_MASKED = re.compile(r"\*{4,}")
"""What `--redact content` and `scrub` leave of a secret; a few characters more or less are another client's."""
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Key:
    """What of a request has to be the same. `headers`: those that a rule adds and that are there."""

    method: str
    path: str
    query: Pairs
    headers: Pairs = ()

    def relaxed(self, rules: Rules = DEFAULT) -> Key:
        """Without what only says how much a read is to hold."""
        kept = tuple(pair for pair in self.query if not rules.is_relaxed(pair[0], self.method, self.path))
        return replace(self, query=kept)

    @property
    def masked(self) -> re.Pattern[str] | None:
        """What the spelling of a request has to be to be this one, where a secret in this one was masked."""
        parts = _MASKED.split(str(self))
        return re.compile(r"[^/?&\s]+".join(map(re.escape, parts))) if len(parts) > 1 else None

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + ("?" + "&".join(f"{k}={v}" for k, v in self.query) if self.query else "")


def key_of(method: str, target: str, headers: Headers = (), rules: Rules = DEFAULT) -> Key:
    safe = without_secrets(target)
    path = path_of(safe)
    query = parse_qsl(query_of(safe), keep_blank_values=True)
    counted = sorted(pair for pair in query if rules.counts(pair[0], method, path))
    values = ((name, header(headers, name)) for name in rules.headers(method, path))
    told = ((name, header_without_secrets(name, value)) for name, value in values if value is not None)
    return Key(method, path, tuple(counted), tuple(told))
