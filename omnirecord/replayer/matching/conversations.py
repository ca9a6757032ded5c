"""Compares requests to model APIs by their conversations, without keeping these: a cassette may hold gigabytes. Pure.

Two such requests match if model, streaming, instructions, tools and messages mean the same, as `providers.conversation`
says; with a rule that compares whole bodies, the settings too. With the rule `path`, all match. The day of the
recording in a recorded request equals the day of a request: prompts tell the date. Of several matches, the first with
the same ids answers. A client's later requests hold ids of calls from its first answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, lru_cache
from itertools import accumulate
from operator import eq

from ...model import Exchange
from ...omnigent.routes import path_of
from ...providers.conversation import Conversation, Difference, conversation_of, differences
from ...providers.parts import OF_MODEL
from ...redaction.redactor import body_without_secrets
from ...text import clip, counted, one_line, same_start
from .bodies import MARKS, marked
from .key import RECORD_REST, Advice, Incoming, Miss, how_to_ignore
from .rules import PARTS, WHOLE_BODY, Rules

_MASKS = (b"omnirecord-redacted-", b"***")
"""Every recorded body that lacks a secret holds one of these."""
_LISTED = 3
"""Most differences of a miss."""
_READ = 20
"""Most recorded calls whose texts are compared for a miss…"""
_READ_BYTES = 4 << 20
"""…and bytes of their requests, but for a single larger one."""
_AROUND = 1000
"""Characters of two texts that are compared word by word, from their first difference."""
_ALONE = 160
"""Characters of a text that one side lacks."""
_BEFORE = 60
"""Characters in front of the first difference."""
_QUESTION = 60
"""Characters of the last message that are shown of a call that was not played."""
LARGEST = 64 << 20
"""Bytes of a request to a model that are compared."""
Digest = int


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The digests of a conversation's parts."""

    model: Digest
    stream: bool
    instructions: Digest
    tools: Digest
    messages: tuple[Digest, ...]
    settings: Digest
    ids: tuple[str, ...]

    @classmethod
    def of(cls, one: Conversation) -> Fingerprint:
        items = tuple(map(hash, one.items))
        head = hash((one.api, one.model)), one.is_streamed, hash(one.same_instructions), hash(one.tools)
        return cls(*head, items, hash(one.settings), one.ids)

    def matches(self, other: Fingerprint, parts: Iterable[str]) -> bool:
        return all(getattr(self, part) == getattr(other, part) for part in parts)


_Asked = Callable[[bool], tuple[Conversation, Fingerprint]]
"""The conversation of one request; with True, without secrets, for comparison with a recorded one that lacks them."""


class Conversations:
    """The conversations in recorded requests. `read` returns the decoded body of a request."""

    def __init__(
        self,
        read: Callable[[Exchange], bytes],
        exchanges: Iterable[Exchange],
        rules: Rules,
        day_of: Callable[[Exchange], date | None] = lambda _: None,
    ) -> None:
        self._read_whole = read
        self._day_of = day_of
        self._rules = rules
        self._prints: dict[int, Fingerprint] = {}
        self._questions: dict[int, str] = {}
        self._masked: set[int] = set()
        self._asked = lru_cache(1)(self._read_request)
        self._recorded: list[Exchange] = []
        for x in exchanges:
            if x.request.method == "POST" and x.session_id is None and (found := self._read(x)) is not None:
                self._recorded.append(x)
                self._prints[x.exchange] = Fingerprint.of(found)
                self._questions[x.exchange] = one_line(clip(found.asked, _QUESTION))

    def _read(self, x: Exchange) -> Conversation | None:
        """Return the conversation of an exchange, without secrets if its body lacks some; None if it has none."""
        body = without_day(self._read_whole(x), self._day_of(x))
        if any(mask in body for mask in _MASKS):
            self._masked.add(x.exchange)
            body = body_without_secrets(body)
        return conversation_of(body, x.request.target)

    def __contains__(self, exchange: Exchange) -> bool:
        return exchange.exchange in self._prints

    def has(self, request: Incoming) -> bool:
        """Whether this request asks a model, and such requests were recorded."""
        return self._asked(request) is not None

    def compares(self, request: Incoming) -> bool:
        """Whether a part of this request to a model has to be equal."""
        return self.has(request) and bool(self._parts(request))

    def fitting(self, request: Incoming, recorded: list[Exchange]) -> list[Exchange]:
        """Return the exchanges whose conversation matches; for another request, those without a conversation."""
        if not self._prints or not (parts := self._parts(request)):
            return recorded
        if (asked := self._asked(request)) is None:
            return [x for x in recorded if x not in self]
        return [x for x in recorded if x in self and self._matches(asked, x, parts)]

    def preferred(self, request: Incoming, unused: list[Exchange]) -> list[Exchange]:
        """Return matching exchanges, those with the ids of this request first."""
        asked = self._asked(request) if len(unused) > 1 else None
        if asked is None:
            return unused
        ids = asked(False)[1].ids
        equal = {x.exchange: sum(map(eq, self._prints[x.exchange].ids, ids)) for x in unused if x in self}
        most = max(equal.values(), default=0)  # a cut body has no conversation: it keeps its place
        return sorted(unused, key=lambda x: -equal.get(x.exchange, most))

    def miss(self, request: Incoming, key: str, recorded: list[Exchange]) -> Miss | None:
        """Return the miss of a request whose conversation was not recorded; None if that is not why it is one."""
        asked = self._asked(request)
        known = [x for x in recorded if x in self]
        if not known:
            return None
        if asked is None:
            message = f"{key} was recorded, but its body is no request to a model: it cannot be read"
            return Miss(message, [{"request": key, "differs": "body: it is no request to a model"}])
        nearest, found = self._nearest(asked, known, self._parts(request))
        which = self._which(nearest)
        told = list(map(_line, found[:_LISTED]))
        more = [f"  and {counted(len(found) - _LISTED, 'more difference')}"] if len(found) > _LISTED else []
        is_beyond = self._is_beyond(asked, nearest, known, self._parts(request))
        message = f"{key} was recorded, but not with this conversation"
        if is_beyond:
            message = f"{key} comes after the end of its recorded conversation, {which}"
        facts = [{"request": f"{key} ({which})", "differs": one} for one in told]
        advice = RECORD_REST if is_beyond else _advice(found)
        return Miss(message, facts, [f"{which}:", *(f"  {one}" for one in told), *more], advice)

    def told(self, x: Exchange) -> str:
        """Return the number of a recorded call and the last message of its user; empty if it is no call."""
        if x not in self:
            return ""
        question = self._questions[x.exchange]
        return self._which(x) + (f': "{question}"' if question else "")

    def _which(self, x: Exchange) -> str:
        number = next(n for n, one in enumerate(self._recorded, 1) if one.exchange == x.exchange)
        return f"call {number} of {len(self._recorded)}, exchange {x.exchange}"

    def _read_request(self, request: Incoming) -> _Asked | None:
        """Return the conversation of a request; None if it has none, or no recorded request has one."""
        if request.method != "POST" or not self._prints:
            return None
        body = without_day(request.content, request.day)
        if (found := conversation_of(body, request.target)) is None:
            return None

        def asked(is_safe: bool) -> tuple[Conversation, Fingerprint]:
            safe = conversation_of(body_without_secrets(body), request.target) if is_safe else None
            return safe or found, Fingerprint.of(safe or found)

        return cache(asked)

    def _parts(self, request: Incoming) -> list[str]:
        path = path_of(request.target)
        ignored = self._rules.ignored_parts(request.method, path)
        settings = ["settings"] if WHOLE_BODY in self._rules.body_paths(request.method, path) else []
        return [part for part in (*PARTS, *settings) if part not in ignored]

    def _matches(self, asked: _Asked, x: Exchange, parts: list[str]) -> bool:
        return self._prints[x.exchange].matches(asked(x.exchange in self._masked)[1], parts)

    def _nearest(self, asked: _Asked, recorded: list[Exchange], parts: list[str]) -> tuple[Exchange, list[Difference]]:
        """Return the most similar recorded call, and its differences. The texts of a few are compared."""
        best = max(self._likeness(asked, x) for x in recorded)
        alike = [x for x in recorded if self._likeness(asked, x) == best][:_READ]
        sizes = accumulate(x.request_bytes for x in alike)
        few = [x for x, size in zip(alike, sizes, strict=True) if size <= _READ_BYTES] or alike[:1]
        found = [(x, self._differences(asked, x, parts)) for x in few]
        if len(found) == 1:
            return found[0]
        return max(found, key=lambda pair: sum(map(_share, pair[1])) - len(pair[1]))

    def _likeness(self, asked: _Asked, x: Exchange) -> tuple[int, int, int]:
        """Return the likeness of a recorded call, for comparisons: the equal messages at the start count first."""
        one = self._prints[x.exchange]
        its = asked(x.exchange in self._masked)[1]
        heads = [part for part in ("model", "stream", "instructions", "tools") if one.matches(its, [part])]
        return same_start(one.messages, its.messages), len(heads), -abs(len(one.messages) - len(its.messages))

    def _is_beyond(self, asked: _Asked, nearest: Exchange, recorded: list[Exchange], parts: list[str]) -> bool:
        """Return whether a request continues the nearest recorded call, and no recorded call does."""
        conversation, its = asked(nearest.exchange in self._masked)
        one = self._prints[nearest.exchange]
        length = len(one.messages)
        return (
            "messages" in parts
            and its.matches(one, (part for part in parts if part != "messages"))
            and 0 < length < len(its.messages)
            and its.messages[:length] == one.messages
            and conversation.items[length].kind in OF_MODEL
            and not any(self._continues(self._prints[x.exchange], one) for x in recorded)
        )

    @staticmethod
    def _continues(later: Fingerprint, one: Fingerprint) -> bool:
        length = len(one.messages)
        return len(later.messages) > length and later.messages[:length] == one.messages

    def _differences(self, asked: _Asked, x: Exchange, parts: list[str]) -> list[Difference]:
        recorded = self._read(x)
        got = asked(x.exchange in self._masked)[0]
        return [one for one in differences(recorded, got) if one.part in parts] if recorded is not None else []


def without_day(body: bytes, day: date | None) -> bytes:
    """Return the body with `<today>` for this day and its neighbours, which may be the day in another time zone. The
    date of a time stays: `wire.normal` handles it."""
    if day is None or not any(spelling in body for spelling in _spellings(day)):
        return body
    return _day_expression(day).sub(b"<today>", body)


@lru_cache(64)
def _day_expression(day: date) -> re.Pattern[bytes]:
    return re.compile(rb"(?<![0-9])(?:" + b"|".join(map(re.escape, _spellings(day))) + rb")(?![0-9]|[T ][0-9]{2}:)")


@lru_cache(64)
def _spellings(day: date) -> tuple[bytes, ...]:
    """Return the usual spellings of this day and its neighbours, the longest first."""
    made = []
    for one in (day - timedelta(1), day, day + timedelta(1)):
        month = f"{one:%B}"
        number = one.day
        texts = [f"{one:%Y-%m-%d}", f"{one:%Y/%m/%d}", f"{one:%m/%d/%Y}", f"{one:%a %b %d %Y}"]
        texts += [f"{month} {number}, {one.year}", f"{number} {month} {one.year}"]
        texts += [f"{one:%A}, {text}" for text in texts] + [f"{one:%A} {text}" for text in texts]
        made += texts
    return tuple(text.encode() for text in sorted(made, key=lambda text: (-len(text), text)))


def _share(one: Difference) -> float:
    """Return the share of equal characters at the start and end of two texts, from 0 to 1."""
    if not one.recorded or not one.got:
        return 0.0
    recorded = one.recorded
    got = one.got
    equal = same_start(recorded, got) + same_start(recorded[::-1], got[::-1])
    return min(1.0, equal / max(len(recorded), len(got)))


def _advice(found: list[Difference]) -> Advice:
    """Return how to ignore these differences: the rule for their part, or for all parts if several differ."""
    parts = {one.part for one in found}
    which = f" {parts.pop()}" if len(parts) == 1 else ""
    return how_to_ignore("such a difference", f"ignore conversation{which}")


def _line(one: Difference) -> str:
    """Return a difference as `item 3 (user): Weather in [-Rome-]{+Oslo+}?`."""
    if one.recorded is None or one.got is None:
        text, tone = (one.got, "new") if one.recorded is None else (one.recorded, "gone")
        return f"{one.where}: " + MARKS[tone] % _escaped(clip(text or "", _ALONE))
    start = max(0, same_start(one.recorded, one.got) - _BEFORE)
    recorded, got = (text[start : start + _AROUND] for text in (one.recorded, one.got))
    return f"{one.where}: {'…' if start else ''}{_escaped(marked(recorded, got))}"


def _escaped(text: str) -> str:
    """Return the text with `\\n`, `\\r` and `\\t` for these characters, so that each difference is visible."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
