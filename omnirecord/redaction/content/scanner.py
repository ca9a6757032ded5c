"""Finds the characters of secrets in a text that arrives in pieces.

Two rules hold for any input. Splits of the text never change the result. Nothing waits for later pieces: only the
characters before a character decide whether it belongs to a secret. A `State` is kept from piece to piece.
A text is bytes, one for each character, without escapes (`strings`). Characters beyond ASCII belong to a secret only
in the value of a named field (`fields`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from . import fields
from .fields import NOTHING, Field, Span
from .patterns import KINDS, PSEUDONYM, Kind, own
from .prefixes import WORD

_LONGEST_PATTERN = 64
_HEAD = 3
"""Characters of a prefix that are searched behind an escape."""
_LITERAL = re.compile(r"(?:[A-Za-z0-9_\-](?![{?*+])|\\[-])+")
_WORD = re.compile(rf"[{WORD}]*".encode())
_IS_WORD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_AFTER_ESCAPE = re.compile(rb"(?:\\[nrtbf]|%[0-9A-Fa-f]{2})\Z")
_BLOCK_BODY = re.compile(rb"[A-Za-z0-9+/=:,.]+")
_BLOCK_KEPT = re.compile(rb"[ \t\r\n]+")


class State(NamedTuple):
    """State of a text. `step`: progress in a secret; `seen`: the bytes before that still matter."""

    rule: Rule | None = None
    step: str = ""
    seen: bytes = b""
    field: Field = NOTHING
    """State of the search for named secrets."""


PLAIN = State()


class Rule:
    """A kind with compiled patterns."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.soft = frozenset(kind.soft.replace("\\\\", "\\").encode())
        self.body = re.compile(f"[{kind.body}]*".encode())
        self.lead = re.compile(f"[{kind.lead}]*".encode()) if kind.lead else None
        self.words = frozenset(kind.words)
        self.beginnings = frozenset(word[:n] for word in kind.words for n in range(1, len(word) + 1))
        self.longest = max([*map(len, kind.prefixes), *(_LONGEST_PATTERN for _ in kind.patterns)], default=0)


class Scanner:
    """Finds all kinds, and words with the user's `prefixes`. Raises `UsageError` for an invalid prefix."""

    def __init__(self, prefixes: Iterable[str] = ()) -> None:
        self._use([Rule(kind) for kind in KINDS])
        added = own(prefixes)
        new = tuple(prefix for prefix in added.prefixes if self._first(prefix.encode(), 0, 0) is None)
        if new:  # shorter prefixes first, and the user's before ours: the first to end is found
            by_length = replace(added, prefixes=tuple(sorted(new, key=len)))
            self._use([Rule(by_length), *self._rules])

    def _use(self, rules: list[Rule]) -> None:
        self._rules = rules
        self._longest = max(rule.longest for rule in rules)
        self._context = self._longest + _LONGEST_ESCAPE
        self._known = {prefix.encode(): rule for rule in rules for prefix in rule.kind.prefixes}
        self._patterns: dict[int, list[tuple[str, Rule]]] = {}
        self._of_words: tuple[list[str], list[str]] = [], []
        self._others: tuple[list[str], list[str]] = [], []
        for rule in rules:
            for prefix in rule.kind.prefixes:
                self._like(rule.kind, prefix)[0].append(prefix)
            for pattern in rule.kind.patterns:
                first = _first_of(pattern)[0]
                self._like(rule.kind, first)[1].append(pattern)
                self._patterns.setdefault(ord(first), []).append((pattern, rule))
        self._of_letter: dict[bytes, re.Pattern[bytes]] = {}
        self._letters = {one[0].encode() for one in self._of_words[0]}
        self._letters |= {_first_of(one)[0].encode() for one in self._of_words[1]}
        for name in ("_anywhere", "_in_words", "_after_escapes", "_begun"):
            self.__dict__.pop(name, None)

    def _like(self, kind: Kind, begins: str) -> tuple[list[str], list[str]]:
        return self._of_words if _is_of_word(kind, begins) else self._others

    def prepare(self, *, only_whole: bool = False) -> Scanner:
        """Compile the expressions now, since the first text would wait for it, and return the scanner. `only_whole`:
        without those that a whole text rarely needs, which take two thirds of the time."""
        _ = self._anywhere, self._in_words
        if not only_whole:
            _ = self._after_escapes, self._begun
        return self

    @cached_property
    def _anywhere(self) -> re.Pattern[bytes]:
        """Matches a prefix that need not begin a word."""
        return re.compile(_any_of(*self._others).encode())

    @cached_property
    def _in_words(self) -> re.Pattern[bytes]:
        """Matches a prefix that begins a word (the group), with the character before it."""
        return re.compile(rf"[^{WORD}]({_any_of(*self._of_words)})".encode())

    @cached_property
    def _after_escapes(self) -> re.Pattern[bytes]:
        """Ends behind an escape, before the first characters of a prefix."""
        texts, patterns = self._of_words
        of_patterns = (_LITERAL.match(one)[0].replace("\\", "") for one in patterns)  # type: ignore[index]
        heads = _any_of([one[:_HEAD] for one in (*texts, *of_patterns)])
        return re.compile(rf"{_ESCAPES}(?={heads})".encode())

    def _at(self, text: bytes, at: int, limit: int) -> re.Match[bytes] | None:
        """Return the match of a prefix that begins a word at `at`."""
        letter = text[at : at + 1]
        if letter not in self._letters:
            return None
        if letter not in self._of_letter:
            texts, patterns = self._of_words
            alike = (
                [one for one in texts if one[0].encode() == letter],
                [one for one in patterns if _first_of(one)[0].encode() == letter],
            )
            self._of_letter[letter] = re.compile(_any_of(*alike).encode())
        return self._of_letter[letter].match(text, at, limit)

    @cached_property
    def unseen(self) -> State:
        """State of a text after lost bytes: the next characters may be the rest of a secret."""
        return State(Rule(Kind("unseen")), "body")

    def scan(self, state: State, text: bytes, *, strict: bool = False) -> tuple[list[Span], State]:
        """Return the spans of secrets in the next piece of a text, and its new state. `strict`: as in `fields`."""
        spans, after = self.scan_kinds(state, text)
        named, field = fields.scan(state.field, text, strict=strict)
        return spans + named if named else spans, State(after.rule, after.step, after.seen, field)

    def scan_kinds(self, state: State, text: bytes) -> tuple[list[Span], State]:
        """Like `scan`, for secrets that a prefix alone identifies."""
        spans: list[Span] = []
        at = 0
        while at < len(text) or state.rule is None:
            if state.rule is not None:
                at, state = _STEPS[state.step](state.rule, state, text, at, spans)
                continue
            found = self._next(state.seen, text, at)
            if found is None:
                return spans, State(seen=(state.seen + text[at:])[-self._context :])
            rule, at = found
            state = State(rule, "block" if rule.kind.block else "lead")
        return spans, state

    def _next(self, seen: bytes, text: bytes, at: int) -> tuple[Rule, int] | None:
        """Return the first prefix that ends behind `at`, and its end. `seen`: earlier bytes that may belong to it."""
        if at >= len(seen):
            return self._first(text, at - len(seen), at)
        found = self._first(seen + text[at:], 0, len(seen))
        return found and (found[0], found[1] - len(seen) + at)

    def _first(self, text: bytes, start: int, behind: int) -> tuple[Rule, int] | None:
        """Return the prefix that ends first, of those that begin at `start` or later and end behind `behind`."""
        first = None
        limit = len(text)
        at = start
        while found := self._anywhere.search(text, at, limit):
            at = found.start() + 1
            if found.end() > behind:
                first = (self._rule_of(found), found.end())
                limit = found.end() - 1
        if start == 0 and behind < self._longest and (found := self._at(text, 0, limit)) and found.end() > behind:
            first = (self._rule_of(found), found.end())
            limit = found.end() - 1
        at = max(0, start - 1)
        while found := self._in_words.search(text, at, limit):
            at = found.start() + 1
            if found.end() > behind:
                first = (self._rule_of(found, 1), found.end())
                limit = found.end() - 1
        if b"\\" in text or b"%" in text:
            at = max(0, start - _LONGEST_ESCAPE)
            while escape := self._after_escapes.search(text, at, limit):
                at = escape.start() + 1
                found = self._at(text, escape.end(), limit) if escape.end() >= start else None
                if found and found.end() > behind and _begins_word(text, found.start()):
                    first = (self._rule_of(found), found.end())
                    limit = found.end() - 1
        return first

    def _rule_of(self, found: re.Match[bytes], group: int = 0) -> Rule:
        if known := self._known.get(found[group]):
            return known
        text = found.string
        start = found.start(group)
        return next(rule for one, rule in self._patterns[text[start]] if re.compile(one.encode()).match(text, start))

    def may_find(self, raw: bytes) -> bool:
        """Whether a whole prefix may be in these bytes, perhaps behind an escape."""
        if self._anywhere.search(raw) or self._in_words.search(raw):
            return True
        if raw[:1] in self._letters and self._at(raw, 0, len(raw)):
            return True
        if b"\\" not in raw and b"%" not in raw:
            return False
        escapes = self._after_escapes.finditer(raw)
        return b"\\u00" in raw or any(self._at(raw, one.end(), len(raw)) for one in escapes)

    def is_begun(self, state: State) -> bool:
        """Whether the next characters may belong to a secret without a complete prefix; rarely a false positive."""
        return state.rule is not None or fields.goes_on(state.field) or self._begun.search(state.seen) is not None

    @cached_property
    def _begun(self) -> re.Pattern[bytes]:
        """Matches a text that ends in the beginning of a prefix."""
        texts = [prefix for rule in self._rules for prefix in (*rule.kind.prefixes, *rule.kind.tokens)]
        of_words = [one for rule in self._rules for one in rule.kind.tokens if _is_of_word(rule.kind, one)]
        anywhere = [one for rule in self._rules for one in rule.kind.tokens if not _is_of_word(rule.kind, one)]
        begins = rf"(?:(?<![{WORD}])|(?<=\\[nrtbf])|(?<=%[0-9A-Fa-f]{{2}}))"
        tokens = rf"(?:{begins}{_any_of(of_words)}|{_any_of(anywhere)})[{WORD}./+=!]{{1,60}}"
        begun = [rule.kind.begun for rule in self._rules if rule.kind.begun]
        return re.compile(rf"(?:{'|'.join([_beginnings_of(texts), tokens, *begun])})\Z".encode())


def _beginnings_of(texts: Iterable[str]) -> str:
    """Return a regular expression for these texts and all their beginnings. It is a tree, so that a search is fast."""
    rests: dict[str, list[str]] = {}
    for text in texts:
        rests.setdefault(text[0], []).append(text[1:])
    parts = []
    for first, more in rests.items():
        longer = [text for text in more if text]
        parts.append(re.escape(first) + (f"(?:{_beginnings_of(longer)})?" if longer else ""))
    return "|".join(parts)


_ESCAPES = r"(?:\\(?:[nrtbf]|u[0-9a-fA-F]{4})|%[0-9A-Fa-f]{2})"
"""Matches an escape that ends like a word, before a word. A raw text has `\\u`, too."""
_LONGEST_ESCAPE = 3


def _is_of_word(kind: Kind, text: str) -> bool:
    """Whether a prefix with this beginning has to begin a word."""
    return not kind.anywhere and ord(text[0]) in _IS_WORD


def _first_of(pattern: str) -> tuple[str, str]:
    """Return the first character that a pattern matches, and the rest of the pattern."""
    return (pattern[1], pattern[2:]) if pattern.startswith("\\") else (pattern[0], pattern[1:])


def _any_of(texts: list[str], patterns: Iterable[str] = ()) -> str:
    """Return a regular expression for these texts and patterns; of texts with a common beginning, for the shortest. It
    is grouped by first characters, so that the search skips fast."""
    if "" in texts:
        return ""
    rests: dict[str, tuple[list[str], list[str]]] = {}
    for text in texts:
        rests.setdefault(text[0], ([], []))[0].append(text[1:])
    for pattern in patterns:
        first, rest = _first_of(pattern)
        rests.setdefault(first, ([], []))[1].append(rest)
    parts = []
    for first, (more, raw) in rests.items():
        options = [*([_any_of(more)] if more else []), *raw]
        parts.append(re.escape(first) + (options[0] if len(options) == 1 else f"(?:{'|'.join(options)})"))
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _begins_word(text: bytes, at: int) -> bool:
    goes_on = at > 0 and text[at - 1] in _IS_WORD and text[at] in _IS_WORD
    return not goes_on or _AFTER_ESCAPE.search(text, max(0, at - 3), at) is not None


# Each step takes what it can of the text from `at` on, and returns where it stopped, and the state then.


def _lead(rule: Rule, state: State, text: bytes, at: int, _spans: list[Span]) -> tuple[int, State]:
    if rule.lead is not None:
        end = min(rule.lead.match(text, at).end(), at + rule.kind.longest_lead - len(state.seen))  # type: ignore[union-attr]
        if end == len(text):
            return end, State(rule, "lead", state.seen + text[at:end])
        at = end
    return at, State(rule, "word")


def _word(rule: Rule, state: State, text: bytes, at: int, _spans: list[Span]) -> tuple[int, State]:
    """Read a word that may be no secret."""
    word = state.seen
    while at < len(text):
        if word in rule.words and not text[at : at + 1].isalnum():
            return at, State(rule, "kept")
        longer = word + text[at : at + 1]
        if longer not in rule.beginnings:
            return at, State(rule, "begin")
        word = longer
        at = at + 1
        if word == PSEUDONYM:
            return at, State(rule, "kept")
    return at, State(rule, "word", word)


def _kept(rule: Rule, _state: State, text: bytes, at: int, _spans: list[Span]) -> tuple[int, State]:
    """Read the rest of a word that is no secret."""
    end = _WORD.match(text, at).end()  # type: ignore[union-attr]  # it always matches
    return end, State(rule, "kept") if end == len(text) else PLAIN


def _body(rule: Rule, state: State, text: bytes, at: int, spans: list[Span]) -> tuple[int, State]:
    end = rule.body.match(text, at).end()  # type: ignore[union-attr]  # it always matches
    if end > at:
        spans.append(Span(at, end, rule.kind.name, state.step == "begin"))
    elif state.step != "body":
        return at, PLAIN
    if end == len(text):
        return end, State(rule, "body")
    if text[end] in rule.soft:
        return end + 1, State(rule, "escaped" if text[end : end + 1] == b"\\" else "soft")
    return end, PLAIN


def _escaped(rule: Rule, _state: State, text: bytes, at: int, _spans: list[Span]) -> tuple[int, State]:
    """Read a backslash in a text, an escape in JSON within JSON; only an escaped slash matters."""
    return (at + 1, State(rule, "soft")) if text[at : at + 1] == b"/" else (at, State(seen=b"\\"))


def _block(rule: Rule, state: State, text: bytes, at: int, spans: list[Span]) -> tuple[int, State]:
    """Read the lines of a private key. White space, dashes and escapes stay; five dashes end it."""
    seen = state.seen
    if seen[:1] == b"\\":  # an escape in JSON within JSON
        return (at, PLAIN) if text[at : at + 1] in (b'"', b"'") else (at + 1, State(rule, "block", seen[1:]))
    if body := _BLOCK_BODY.match(text, at):
        spans.append(Span(at, body.end(), rule.kind.name, seen == b""))
        return body.end(), State(rule, "block", b".")
    if space := _BLOCK_KEPT.match(text, at):
        return space.end(), State(rule, "block", seen and b".")
    if text[at : at + 1] == b"\\":
        return at + 1, State(rule, "block", b"\\" + (seen and b"."))
    if text[at : at + 1] != b"-":
        return at, PLAIN
    dashes = (seen.lstrip(b".") if seen.endswith(b"-") else b"") + b"-"
    if len(dashes) == 5:
        return at + 1, State(seen=dashes)
    return at + 1, State(rule, "block", b"." + dashes)


_STEPS = {
    "lead": _lead,
    "word": _word,
    "kept": _kept,
    "begin": _body,
    "body": _body,
    "soft": _body,
    "escaped": _escaped,
    "block": _block,
}
