"""The key of a request: the parts that have to equal the recorded request. And a miss: no recorded request matches.
Pure.

By default the key is method, path and query, without `idle` and in any order. Secrets count as equal, so that clients
with other credentials match. `rules` add and ignore parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any
from urllib.parse import parse_qsl

from ...model import Headers
from ...omnigent.routes import path_of, query_of
from ...redaction.redactor import header_without_secrets, without_secrets
from ...wire.headers import header
from .rules import DEFAULT, Rules

_MASKED = re.compile(r"\*{4,}")
"""A secret that `--redact content` or `scrub` masked. Its length may differ in another client."""
_NOT_IN_GAP = re.compile(r"[/?&\s]")
_LARGE_QUERY, _MANY_PARAMETERS = 16 * 1024, 200
"""Characters and parameters above which a query is not parsed: parsing blocks the event loop."""
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Masked:
    """A spelling with gaps in place of masked secrets. `parts`: the text around the gaps."""

    parts: tuple[str, ...]

    def fits(self, text: str) -> bool:
        """Whether `text` is this spelling with a value in each gap. Takes time linear in its length."""
        first, *middle, last = self.parts
        at, end = len(first), len(text) - len(last)
        if at >= end or not text.startswith(first) or not text.endswith(last):
            return False
        for part in middle:
            found = text.find(part, at + 1, end)
            if found < 0 or _NOT_IN_GAP.search(text, at, found):
                return False
            at = found + len(part)
        return at < end and _NOT_IN_GAP.search(text, at, end) is None


@dataclass(frozen=True, slots=True)
class Key:
    """The parts of a request that have to be equal. `headers`: those that a rule adds and that are present."""

    method: str
    path: str
    query: Pairs
    headers: Pairs = ()

    def relaxed(self, rules: Rules = DEFAULT) -> Key:
        """Return the key without the parameters that only select the detail of a read."""
        kept = tuple(pair for pair in self.query if not rules.is_relaxed(pair[0], self.method, self.path))
        return replace(self, query=kept)

    @property
    def masked(self) -> Masked | None:
        """The spelling that a request has to fit; None if no secret is masked in this key."""
        parts = tuple(_MASKED.split(str(self)))
        return Masked(parts) if len(parts) > 1 else None

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + ("?" + "&".join(f"{k}={v}" for k, v in self.query) if self.query else "")


def _is_large(part: str, separator: str) -> bool:
    """Whether this part of a target is compared as it is: it is too large to look for secrets in each parameter."""
    return len(part) > _LARGE_QUERY or part.count(separator) >= _MANY_PARAMETERS


def _pairs(query: str) -> list[tuple[str, str]]:
    """Return the parameters of a query without secrets; a large query is one parameter."""
    if _is_large(query, "&"):
        return [("", query)]
    return parse_qsl(query_of(without_secrets(f"?{query}")), keep_blank_values=True)


def key_of(method: str, target: str, headers: Headers = (), rules: Rules = DEFAULT) -> Key:
    """Return the key of a request by these rules."""
    path, _, query = target.partition("?")
    path = path_of(path if _is_large(path, ";") else without_secrets(path))
    counted = sorted(pair for pair in _pairs(query) if rules.counts(pair[0], method, path))
    values = ((name, header(headers, name)) for name in rules.headers(method, path))
    told = ((name, header_without_secrets(name, value)) for name, value in values if value is not None)
    return Key(method, path, tuple(counted), tuple(told))


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request to the replay. `headers` and `body` are read only as far as a matching rule needs them. `is_page`: a
    browser sent it, and the replay answers for Omnigent's web UI. `day`: the current day, which a prompt may tell."""

    method: str
    target: str
    is_runner: bool = False
    if_none_match: str | None = None
    body: bytes = b""
    headers: Headers = ()
    last_event_id: str | None = None
    is_page: bool = False
    day: date | None = None


@dataclass(frozen=True, slots=True)
class Miss:
    """No recorded exchange answers a request. `nearest`: `request` and `differs` of the most similar recorded requests.
    `lines`: the same as text, with the differences marked."""

    message: str
    nearest: list[dict[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The message and a line for each recorded request, with short ids."""
        head = self.message + ("; nearest recorded, as [-recorded-]{+asked+}:" if self.lines else "")
        told = [head, *(f"  {line}" for line in self.lines)]
        return "\n".join(short_ids(one if len(one) <= _LONGEST else f"{one[:_LONGEST]}…") for one in told)


_LONGEST = 1000
"""Characters of a line."""


_ID_OR_MARK = re.compile(
    r"\[-[^\n]{0,200}?-\]|\{\+[^\n]{0,200}?\+\}"
    r"|(?<![\w-])((?:[A-Za-z]{2,24}_)*[0-9a-f]{8})(?:-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{24})(?![\w-])"
)
"""A marked difference, or a long id with its shown part."""


def short_ids(text: str) -> str:
    """Return a text with long ids cut. Marked differences stay whole."""
    return _ID_OR_MARK.sub(lambda found: f"{found[1]}…" if found[1] else found[0], text)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A request that was matched although its body has another `type` or `action`."""

    request: str
    field: str
    recorded: Any
    got: Any
