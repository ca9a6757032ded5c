"""Finds named secrets in text that is no JSON and no form: YAML, XML, Python dicts, dotenv, connection strings, URLs.

Each function takes a buffer and a place in it. It reads at most `BEHIND` bytes before and `AHEAD` bytes behind that
place. It returns the secret, None, or `WAIT` if the next bytes decide. So splits of the bytes change nothing. Pure.

`TextMask` masks `token=…` in text beside the data: comments, ids and event names of a stream, reasons of close frames.
Lengths stay, unless `replace` changes them. Only the characters before a character decide whether it is masked, so the
beginning of a line is masked like the whole line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple

from . import names
from .names import is_numeric, is_secret_field, looks_secret, words

BEHIND = 64
AHEAD = 8192


class Found(NamedTuple):
    """A secret between two places of the buffer. `quote`: the quote to put around its replacement."""

    start: int
    end: int
    place: str
    name: str
    quote: bytes = b""


class Wait(Enum):
    WAIT = "the next bytes decide"


WAIT = Wait.WAIT
Answer = Found | Wait | None

_NAME = rb"[\w.\-\x80-\xff]{1,64}+(?>(?: [\w.\-\x80-\xff]{1,64}+){0,2})"
_BEFORE = re.compile(
    rb"""(?:(?P<line>(?:\A|[\r\n"']|\\[nr])(?:[ \t]|\\t|- |export )*+)|(?P<parameter>;[ \t]?)|[\s{,(\[<?&#])"""
    rb"""(?P<name>%b)[ \t]{0,8}\Z""" % _NAME
)
_BEFORE_QUOTED = re.compile(rb"(?:[{,(\[\r\n]|\\[nr]|\A)[ \t]{0,16}[bu]?'(?P<name>%b)'[ \t]{0,8}\Z" % _NAME)
_ITEM = re.compile(
    rb"""(?<![\w.\-])(?:name|key):[ \t]{1,8}\\{0,15}["']?(?P<name>[\w.\-]{1,64}?)\\{0,15}["']?"""
    rb"(?:\r?\n|\\{1,15}n)[ \t]{0,40}value:\Z"
)
"""`value:` below the name of a secret, as in manifests of Kubernetes."""
_LONGEST_ITEM = 128
_SETTING = re.compile(rb"(?=\S*[0-9])(?![A-Za-z_]\w*\.[A-Za-z_])(?:(?=\S*[A-Za-z])\S{6,}|\S{8,})")
"""A value behind ` = ` that is no variable."""
_NO_LETTERS = b" \t'0123456789_-."
_VALUE = re.compile(rb"""[ \t]{0,64}+(?:[bu]?(?P<open>\\{0,15}+)(?P<quote>["']))?""")
_MAYBE_VALUE = re.compile(rb"[ \t]{0,64}+[bu]?\\{0,15}+\Z")
_NUMBER = re.compile(rb"[-+.0-9eE]{1,64}+")
_CLOSED = b" \t\r\n,}]:)>;\"'"
"""Characters behind a quote that ends a string."""
_PLAIN = re.compile(rb"""(?P<value>(?:[^\s"\\]|(?=\\[^nrt"\\])\\){1,%d}+)[ \t]{0,64}+(?P<rest>[\r\n"#\\]?)""" % AHEAD)
_PARAMETER = re.compile(rb"""[^;&\s"'<>#\\]{1,%d}+""" % AHEAD)
_HEADER_LINE = re.compile(rb"""[^\r\n"'\\]{1,%d}+""" % AHEAD)
_CODE = re.compile(r"[A-Za-z_$]+(?:(?:\??\.|::|->)[A-Za-z_$]+)+|[\w.$:]+(?:\(.*\)|\[.*\]|<.*>)")
_WORDS = frozenset(
    (
        "~",
        "any",
        "bool",
        "boolean",
        "bytes",
        "false",
        "hidden",
        "int",
        "integer",
        "nil",
        "no",
        "none",
        "null",
        "number",
        "object",
        "off",
        "on",
        "optional",
        "password",
        "required",
        "secret",
        "str",
        "string",
        "token",
        "true",
        "undefined",
        "unknown",
        "yes",
    )
)
_INDICATORS = tuple(",]}#&*!|>%@`")
"""Characters with which no unquoted YAML value begins."""
_REFERENCES = ("${", "$(", "<", "{", "[", "(", "=")
_AUTHORITY = re.compile(rb"""[^/?#\s"'<>\\`]{0,%d}+""" % AHEAD)
_TEMPLATE = re.compile(rb":(?:\$?[{(]|%[sd(])")
_TAG = re.compile(rb"[<>]|\\u003[eEcC]")
_LONGEST_TAG = 2048
_CDATA = b"<![CDATA["
_ELEMENT = re.compile(rb'[^<>"]{0,%d}?(?=<|\\u003[cC]|[">])' % AHEAD)
_END_TAG = re.compile(rb"(?:<|\\u003[cC])\\{0,15}/([\w.\-:]{0,128})")
_LONGEST_END = 160
_BARE_QUOTE = re.compile(rb'(?<!\\)"')
_SHORT = 4
_LETTERS = 4
_SHORT_END = 2
_SHORTEST_END = 3
_LAST_LETTERS = 5
_NAME_ENDS = [
    word.encode()
    for word in (
        *names.ENDINGS,
        *names.WORDS,
        *names.IGNORED,
        *names.HEADERS,
        "keys",
        "auth",
        *(phrase.rpartition(" ")[2] for phrase in (*names.PHRASES, *names.FIELDS_LOOKED_AT)),
    )
]
_ENDS = frozenset(word[-_LETTERS:] for word in _NAME_ENDS)
_TEXT_HEAD = re.compile(
    rb"""(?<![\w.\-])(?P<name>[\w.\-]{1,64}+)[ \t]?(?:=|:[ \t])[ \t]{0,4}(?P<quote>["']?)(?=[^\s"'&;,<>])"""
)
_TEXT_VALUES = {
    b"": re.compile(rb"""[^\s"'&;,<>]*"""),
    b'"': re.compile(rb'[^"\r\n]*'),
    b"'": re.compile(rb"[^'\r\n]*"),
}
_LINE = re.compile(rb"[^\r\n\"']*")
"""Matches the value of `Authorization` or `Cookie`, which has several words."""
_LONGEST_TEXT_HEAD = 80


def _any_of(ends: Iterable[bytes]) -> bytes:
    """A regular expression for these texts, all of one length, in any case."""
    rests: dict[bytes, set[bytes]] = {}
    for end in ends:
        rests.setdefault(end[:1], set()).add(end[1:])
    parts = []
    for first, more in sorted(rests.items()):
        either = re.escape(first) if first.lower() == first.upper() else b"[%b%b]" % (first, first.upper())
        parts.append(either + (_any_of(more) if any(more) else b""))
    return b"(?:%b)" % b"|".join(parts)


def _behind_name(mark: bytes) -> bytes:
    """A regular expression that matches behind the last letters of a secret's name and `mark`."""
    lasts = {end[-_LAST_LETTERS:] for end in _NAME_ENDS if len(end) >= _SHORTEST_END}
    short = b"|".join(rb"(?<=%b%b)" % (_any_of({end}), mark) for end in sorted(_NAME_ENDS) if len(end) == _SHORT_END)
    some = b"".join(_any_of({end[-n:][:1] for end in lasts}) for n in range(_SHORTEST_END, 0, -1))  # rejects at once
    alike = [[end for end in lasts if len(end) == n] for n in range(_SHORTEST_END, _LAST_LETTERS + 1)]
    return short + rb"|(?<=%b%b)(?:%b)" % (
        some,
        mark,
        b"|".join(rb"(?<=%b%b)" % (_any_of(ends), mark) for ends in alike),
    )


MAY_END_NAME = rb"(?:(?<=[^a-zA-Z])|(?<=[bB])|%b)" % _behind_name(b"")
"""Matches behind the name of each secret, by its last letters, and rarely behind other names. A name may end in a
word that is ignored."""
MAY_FOLLOW_NAME = rb"(?:(?<=[%b][:=])|%b)" % (re.escape(_NO_LETTERS), _behind_name(b"[:=]"))
"""Matches behind a mark for which `may_follow_name` is True, and rarely behind others."""
USERINFO = rb"""(?=[^@/?#\s"'<>\\`]{0,%d}+(?:@|\Z))""" % AHEAD
"""Matches before each authority that has a user, or that is incomplete."""


def userinfo(buffer: bytes, at: int, final: bool) -> Answer:
    """The `user:password` of a URL whose `//` ends at `at`; a user alone only if it looks like a secret."""
    authority = _AUTHORITY.match(buffer, at)
    assert authority is not None
    if _goes_on(buffer, authority.end(), final):
        return WAIT
    user, at_sign, _ = authority[0].rpartition(b"@")
    has_password = b":" in user and not _TEMPLATE.search(user)
    if at_sign and not _is_endless(authority) and (has_password or looks_secret(_text(user))):
        return Found(at, at + len(user), "url", "userinfo")
    return None


def may_follow_name(buffer: bytes, at: int) -> bool:
    """Whether a secret's name may end at `at`, by its last letters."""
    end = buffer[max(0, at - _LETTERS) : at].lower()
    if not _ENDS.isdisjoint((end, end[1:], end[2:])):
        return True
    if end[-1:] not in _NO_LETTERS:
        return False
    end = buffer[max(0, at - BEHIND) : at].rstrip(_NO_LETTERS)[-_LETTERS:].lower()
    return not _ENDS.isdisjoint((end, end[1:], end[2:])) or end[-1:] == b"b"


def assigned(buffer: bytes, at: int, final: bool) -> Answer:
    """The value behind a `:` or `=` that ends at `at`, if a secret's name stands before it."""
    behind = buffer[max(0, at - 1 - BEHIND) : at - 1]
    is_quoted = behind.rstrip(b" \t").endswith(b"'")
    before = (_BEFORE_QUOTED if is_quoted else _BEFORE).search(behind)
    if before is None:
        return None
    name = _text(before["name"])
    if name == "value" and (item := _ITEM.search(buffer, max(0, at - 1 - _LONGEST_ITEM), at)):
        name = _text(item["name"])
    if not is_secret_field(name):
        return None
    value = _VALUE.match(buffer, at)
    assert value is not None
    if _MAYBE_VALUE.match(buffer, at) and not final:
        return WAIT
    if value["quote"] is not None:
        return _quoted(buffer, value, name, final, is_quoted)
    if is_quoted:
        number = _NUMBER.match(buffer, value.end()) if is_numeric(name) else None
        if number is None or _goes_on(buffer, number.end(), final):
            return number and WAIT
        return Found(*number.span(), "field", name, b"'")
    has_gap = value.end() > at
    is_equal = buffer[at - 1 : at] == b"="
    is_setting = is_equal and has_gap and before["line"] is not None
    if is_equal == has_gap and not is_setting:
        return None
    if before["line"] is not None:
        in_quotes = before["line"].startswith(b"'")
        found = _line(buffer, value.end(), name, final, is_yaml=not is_equal, in_quotes=in_quotes)
        is_code = is_setting and isinstance(found, Found) and not _SETTING.fullmatch(buffer, found.start, found.end)
        return None if is_code else found
    return _parameter(buffer, at, name, final) if before["parameter"] and is_equal else None


def _quoted(buffer: bytes, value: re.Match[bytes], name: str, final: bool, is_quoted: bool) -> Answer:
    start = value.end()
    level = len(value["open"])
    quote = value["quote"]
    if start == len(buffer):
        return None if final else WAIT
    if buffer[start] in _CLOSED:
        return None
    period = 2 * (level + 1)
    at = start
    limit = start + AHEAD
    while (end := buffer.find(quote, at, limit)) >= 0:
        run = backslashes(buffer, start, end)
        if run % period == level or run < level:
            inside = buffer[start : end - level]
            is_crossed = run < level or (quote == b"'" and not is_quoted and _BARE_QUOTE.search(inside))
            is_one = inside and not is_crossed and b"\n" not in inside and b"\r" not in inside
            return Found(start, end - level, "field", name) if is_one else None
        at = end + 1
    return WAIT if len(buffer) <= limit and not final else None


def _line(buffer: bytes, at: int, name: str, final: bool, *, is_yaml: bool, in_quotes: bool) -> Answer:
    """An unquoted value on a line of its own. A value of several words is prose, except a header's."""
    if is_yaml and words(name)[-1:] in (("authorization",), ("cookie",)):
        line = _HEADER_LINE.match(buffer, at)
        if line is not None and _goes_on(buffer, line.end(), final):
            return WAIT
        if line is None or _is_endless(line) or (b"=" not in line[0] and words(name)[-1] == "cookie"):
            return None
        return Found(at, line.end(), "field", name)
    plain = None if in_quotes else _PLAIN.match(buffer, at)
    if plain is None:
        return WAIT if not in_quotes and _is_cut(buffer, at, final) else None
    end = plain.end("value")
    if _is_cut(buffer, end, final) or (not plain["rest"] and _goes_on(buffer, plain.end(), final)):
        return WAIT
    value = _text(plain["value"])
    bare = value.rstrip(",;")
    is_alone = plain["rest"] or plain.end() == len(buffer)
    if not is_alone or not _is_no_code(bare) or (is_yaml and bare.startswith(_INDICATORS)):
        return None
    if bare != value and not looks_secret(bare):
        return None
    return Found(at, end - (len(value) - len(bare)), "field", name)


def _parameter(buffer: bytes, at: int, name: str, final: bool) -> Answer:
    """A value behind `;name=`, as in connection strings and paths."""
    found = _PARAMETER.match(buffer, at)
    if found is None:
        return None
    if _goes_on(buffer, found.end(), final):
        return WAIT
    value = _text(found[0])
    is_short = len(value) < _SHORT and value.isalpha()
    is_secret_value = _is_no_code(value) and not is_short and not _is_endless(found)
    return Found(*found.span(), "field", name) if is_secret_value else None


def _is_no_code(value: str) -> bool:
    return not (not value or value.startswith(_REFERENCES) or value.lower() in _WORDS or _CODE.fullmatch(value))


def element(buffer: bytes, at: int, final: bool, name: bytes) -> Answer:
    """The text of an XML element with an end tag (`Promise<Token>` has none). `name` ends at `at` in its start tag."""
    tag = _TAG.search(buffer, at, at + _LONGEST_TAG)
    if tag is None:
        return WAIT if len(buffer) < at + _LONGEST_TAG and not final else None
    if tag[0][-1:] in b"<cC" or buffer[tag.start() - 1 : tag.start()] == b"/":
        return None
    return _text_of(buffer, tag.end(), final, _text(name))


def _text_of(buffer: bytes, start: int, final: bool, name: str) -> Answer:
    if buffer.startswith(_CDATA, start):
        start += len(_CDATA)
        end = buffer.find(b"]]>", start, start + AHEAD)
    elif _CDATA.startswith(buffer[start : start + len(_CDATA)]) and not final:
        return WAIT
    else:
        value = _ELEMENT.match(buffer, start)
        end = -1 if value is None else value.end()
        if end >= 0 and len(buffer) < end + _LONGEST_END and not final:
            return WAIT
        ends = _END_TAG.match(buffer, end) if end >= 0 else None
        if end >= 0 and (ends is None or _text(ends[1]) != name):
            return None
    if end < 0:
        return WAIT if len(buffer) < start + AHEAD + _LONGEST_END and not final else None
    return Found(start, end, "field", name) if buffer[start:end].strip() else None


def _goes_on(buffer: bytes, end: int, final: bool) -> bool:
    """Whether a text that ends with the buffer may continue."""
    return end == len(buffer) and not final


def _is_endless(value: re.Match[bytes]) -> bool:
    return value.end() - value.start() >= AHEAD


def _is_cut(buffer: bytes, at: int, final: bool) -> bool:
    """Whether the buffer ends with one backslash, at `at`."""
    return at == len(buffer) - 1 and buffer[at:] == b"\\" and not final


def backslashes(buffer: bytes, start: int, end: int) -> int:
    """Return the number of backslashes directly before `end`."""
    run = 0
    while end - run > start and buffer[end - run - 1] == ord("\\"):
        run += 1
    return run


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def stars(secret: bytes) -> bytes:
    return b"*" * len(secret)


class TextMask:
    """Masks one text in pieces: `feed` returns the next piece without secrets; `replace` replaces part of a secret."""

    def __init__(self, counts: Counter[str], replace: Callable[[bytes], bytes] = stars) -> None:
        self._counts = counts
        self._replace = replace
        self._before = b""
        self._value: re.Pattern[bytes] | None = None  # matches the rest of an open value
        self._kind = ""

    def feed(self, data: bytes) -> bytes:
        text = self._before + data
        at = len(self._before)
        out: list[bytes] = []
        while at < len(text):
            start = at if self._value is not None else self._behind_name(text, at)
            out.append(text[at:start])
            at = self._safe(text, start, out) if start < len(text) else start
        self._before = text[-_LONGEST_TEXT_HEAD:]
        return b"".join(out)

    def _behind_name(self, text: bytes, at: int) -> int:
        """Return the start of the next secret, at `at` or later; the end of the text if there is none."""
        for head in _TEXT_HEAD.finditer(text, max(0, at - _LONGEST_TEXT_HEAD)):
            if head.end() >= at and is_secret_field(name := head["name"].decode("ascii", "replace")):
                has_words = head["quote"] == b"" and words(name)[-1:] in (("authorization",), ("cookie",))
                self._value = _LINE if has_words else _TEXT_VALUES[head["quote"]]
                self._kind = f"text {name.lower()}"
                return head.end()
        return len(text)

    def _safe(self, text: bytes, at: int, out: list[bytes]) -> int:
        assert self._value is not None
        end = self._value.match(text, at).end()  # type: ignore[union-attr]  # it always matches
        out.append(self._replace(text[at:end]))
        if out[-1] != text[at:end]:
            self._counts[self._kind] += 1
        if end < len(text):
            self._value = None
        return end
