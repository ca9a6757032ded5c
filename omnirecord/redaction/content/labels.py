"""Finds labels: a secret's name and the mark before its value, such as `"password":`, `TOKEN=`, `--token `, `<pin>`.

Splits of the text change nothing: at most `REACH` bytes before its end decide about a label. All patterns take linear
time: each starts at the beginning of a word, and reads the word once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_plus

from ..names import (
    is_numeric,
    is_secret_field,
    is_secret_header,
    may_be_secret,
    may_be_secret_field,
    may_end_phrase,
    name_ends,
    words,
)

_LONGEST_NAME = 128
_LONGEST_GAP = 40
_LONGEST_PHRASE = 48
_MOST_WORDS = 3
_LONGEST_TAG = 104
REACH = _LONGEST_NAME + _LONGEST_TAG + 8
"""Most bytes before the end of a label that decide about it."""
_PARTS = {
    b"word": rb"[\w.\-\\\x80-\xff]",
    b"gap": rb"[\"'`*\] \t\r\n]{0,%d}+" % _LONGEST_GAP,
    b"set": rb"(?:\?\??|\+|\|\|)?+",  # as in `TOKEN ?= abc`
}
_LONGEST_SETTER = 12
_SETTER = re.compile(rb"(?:ENV|#define|setx|setenv|set[ \t]-[a-zA-Z]{1,4})[ \t]")
_LABEL = re.compile(
    rb"(?<!%(word)b)(?:(?P<option>--[A-Za-z][\w\-]++)(?:[ \t]|\\*+[\"'][ \t]{0,8}+(?P<next>,))"
    rb"|(?:ENV|#define|setx|setenv|set[ \t]-[a-zA-Z]{1,4}+)[ \t]{1,4}+(?P<variable>%(word)b++)[ \t]"
    rb")|(?P<lead>[ %%]?+)(?<!%(word)b)(?![0-9]++(?!%(word)b))"
    rb"(?P<name>%(word)b++)(?P<gap>%(gap)b)(?P<mark>[:>]|%(set)b=)"
    rb"|[\[(][ \t\r\n]{0,8}+\\*+[\"'](?P<pair>%(word)b++)[\"'][ \t\r\n]{0,8}+," % _PARTS
)
_LONGEST_END = 5


def _any_of(texts: Iterable[bytes]) -> bytes:
    """Return a regular expression for these texts, all of one length, in any case."""
    rests: dict[bytes, set[bytes]] = {}
    for text in texts:
        rests.setdefault(text[:1].lower(), set()).add(text[1:])
    parts = []
    for first, more in sorted(rests.items()):
        either = b"[%b%b]" % (first.lower(), first.upper())
        parts.append(either + (_any_of(more) if any(more) else b""))
    return b"(?:%b)" % b"|".join(parts)


def _behind_name() -> bytes:
    """Return a regular expression that matches behind the last letters of a secret's name and one more character."""
    ends = {end.encode()[-_LONGEST_END:] for name in name_ends() for end in (name, name.upper())}
    lasts = _any_of({end[-1:] for end in ends})
    alike = [[end for end in ends if len(end) == size] for size in range(2, _LONGEST_END + 1)]
    behind = b"|".join(rb"(?<=%b.)" % _any_of(same) for same in alike)
    return rb"(?<=%b.)(?:%b|(?<=B.)|(?<=[^a-z]b.))" % (lasts, behind)


_MARK = rb"(?=(?<=[:>=])|[\\\"'`*\] \t\r\n]{0,56}+[:>=,?+|])"
_BEHIND_END = (
    rb"(?<=[%b0-9_.\-].)" % "".join(sorted({end[-1:].lower() + end[-1:].upper() for end in name_ends()})).encode()
)
_BEHIND_SETTER = (
    rb"(?<=[Vetvx][ \t])(?:(?<=ENV.)|(?<=#define.)|(?<=setx.)|(?<=setenv.)|(?<=set.)-[a-zA-Z]{1,4}+[ \t])[ \t]{0,3}+"
)
_MAY_BE = re.compile(
    rb"[\"'`*\] \t\r\n\\:>=?+|\-%%&#](?:%(end)b%(mark)b(?:%(behind)b|(?<=[A-Za-z0-9_.][0-9_.\-].))"
    rb"|%(setter)b[\w.\-\\\x80-\xff]|(?<=[\-\\%%?&#\"])(?:"
    rb"(?<=-)(?:[A-Za-z0-9][\w.\-]{0,%(longest)d}+%(mark)b|(?<=--)[A-Za-z])"
    rb"|(?<=\\)u00[0-9a-fA-F]{2}[\w.\-\\\x80-\xff]{0,%(longest)d}+%(mark)b"
    rb"|(?<=%%)[0-9a-fA-F]{2}=|(?<=[?&#\"])[\w.\-]{1,64}+=))"
    % {
        b"end": _BEHIND_END,  # fails in most places, and fast
        b"mark": _MARK,
        b"behind": _behind_name(),
        b"setter": _BEHIND_SETTER,
        b"longest": _LONGEST_NAME,
    },
    re.DOTALL,
)
"""Matches at the end of each name of a secret that has a mark behind it or `ENV` before it, and rarely elsewhere."""
_ENTRY = re.compile(
    rb"[\"':=](?:(?<=[\"'])(?:[nN]ame|[kK]ey)\\{0,7}+[\"'][ \t]{0,4}+:[ \t]{0,4}+\\{0,7}+[\"']"
    rb"(?P<entry>[\w.\-]{1,64}+)\\{0,7}+[\"']"
    rb"[ \t]{0,4}+,(?:[ \t\r\n]|\\[nrt]){0,24}+(?P<open>\\{0,7}+[\"'])[vV]alue(?P<level>\\{0,7}+)[\"'][ \t]{0,4}+:"
    rb"|(?:(?<=(?<![\w.\-\"'])name:)|(?<=(?<![\w.\-\"'])key:))"
    rb"[ \t]{1,4}+(?:\\{0,7}[\"'])?(?P<item>[\w.\-]{1,64}+)(?:\\{0,7}[\"'])?"
    rb"(?:\r?\n|\\{1,7}n|,)[ \t]{0,24}+value:"
    rb"|(?:(?<=[ \t]name=)|(?<=[ \t]key=)|(?<=[ \t]id=)|(?<=[ \t]type=))"
    rb"\\{0,7}+[\"'](?P<html>[\w.\-]{1,64}+)\\{0,7}+[\"'][ \t]{1,8}+(?:value|content)=)"
)
"""`value` behind the name of a secret: `{"name": "DB_PASSWORD", "value":`, `<input name="password" value=`."""
_ELEMENT = re.compile(rb"<(?P<tag>[\w.\-:]{1,128}+)[ \t\r\n][^<>]{0,%d}+>" % (_LONGEST_TAG - 8))
_ESCAPED_ELEMENT = re.compile(
    rb"(?<!\\)\\++u003[cC](?P<tag>[\w.\-:]{1,128}+)[^<>\\]{0,%d}+\\++u003[eE]" % (_LONGEST_TAG - 32)
)
"""Elements with attributes, and elements in JSON of Go."""
_QUERY_NAME = re.compile(rb"[\w.\-%\[\]+]{1,48}+\Z")
_AND = re.compile(rb"[?&]|\\u0026|&amp;")
_ESCAPED = re.compile(r"(?<!\\)\\++(?:u([0-9a-fA-F]{4})|([nrtbf]))")
_LINE_BEGINS = re.compile(rb"[\r\n\"']|\\[nr]")
_WORD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-\\" + bytes(range(0x80, 0x100))
_OPENING = b"\"'\\ \t\r\n"
_PAIRS = ("authorization", "cookie")
_SETS = re.compile(rb"(?:[dD]efine|[sS]et\w{0,24}+|[pP]utenv|[gG]etenv|[gG]et)[(]\Z")
"""A call whose first argument is a name, and whose second argument is the value."""


class Label(NamedTuple):
    """`form`: `json` (a quoted name), `plain` (`name: `), `set` (`name=`), `ini` (`name = ` in an INI file), `pair`
    (`["name",`), `option`, `tag`."""

    form: str
    name: str
    numeric: bool
    """The secret may be a number."""
    credentials: bool
    """The value may begin with a scheme, which stays."""
    cookies: bool
    """The value has parts, with `; ` in between."""
    level: int = 0
    """Backslashes before the quotes of the name."""
    single: bool = False
    bold: bool = False
    """The name is in asterisks, as in Markdown."""
    inner: bytes = b""
    """The quote before the name, with its backslashes, if no quote is behind the name. It opens no value."""
    spaced: bool = False
    """White space stands before the mark."""
    first: bool = False
    """It is the first word of a line or string, perhaps behind `export`."""
    capitals: bool = False
    """The name has no small letters, as a variable of make or of a shell."""
    make: bool = False
    """An operator such as `?=` sets a name in capitals: blanks may stand around it."""
    only_string: bool = False
    """A list or an object is no secret."""
    parameter: bool = False
    """It stands behind `;`, as in a connection string."""
    query: bool = False
    """It stands behind `?`, `&` or a quote, without blanks: its value ends as in a URL."""
    option: bool = False
    """Its name begins with `--`."""
    looks: bool = False
    """The value is a secret if it looks like one."""


class _Name(NamedTuple):
    label: Label
    is_secret: bool
    is_header: bool
    text: str


@lru_cache(4096)
def _known(raw: bytes) -> _Name:
    """Return the properties of a name, without escapes, and without the text before an escaped line end."""
    text = raw.rstrip(b"\\").decode("utf-8", "replace")
    if "\\" in text:
        text = _ESCAPED.sub(lambda m: chr(int(m[1], 16)) if m[1] else "\n", text).rpartition("\n")[2]
    if "%" in text:
        text = unquote_plus(text)
    bare = text.strip("-")
    may_be_header = "-" in bare or bare.lower() in _PAIRS or text.startswith("--")
    last = words(bare)[-1:]
    label = Label("", bare.rpartition("&")[2], is_numeric(bare), last == ("authorization",), last == ("cookie",))
    return _Name(label, is_secret_field(bare), may_be_header and is_secret_header(bare), bare)


def parameter(raw: bytes) -> Label | None:
    """Return the label of the first parameter of a form; None if no value of it is a secret."""
    name = _known(raw.replace(b"+", b" "))
    return name.label._replace(form="form", query=True) if may_be_secret(name.text) else None


def may_find(text: bytes) -> bool:
    """Whether this text has a complete label."""
    return may_end(text, text) and find(text, 0, 0) is not None


def may_end(text: bytes, whole: bytes) -> bool:
    """Whether a label may end in `text`, which ends `whole`; fast."""
    return b":" in text or b"=" in text or b"," in text or b">" in text or b"--" in whole or _may_set(whole)


def find(
    text: bytes, start: int, behind: int, auth_from: int | None = None, *, whole: bool = False
) -> tuple[Label, int] | None:
    """Return the first label that ends behind `behind`, and its end. `start`: start of the search. `auth_from`: from
    there on, the name `auth` counts, too. `whole`: names count, too, whose value is a secret if it looks like one."""
    first = None
    for found in _candidates(text, start, behind):
        has_auth = auth_from is not None and auth_from < found.end()
        if found.end() > behind and (label := _label(found, has_auth, whole)) is not None:
            first = label, found.end()
            break
    end = len(text) if first is None else first[1]
    for other in _entries(text, start, behind, end, whole):
        if first is None or other[1] < first[1]:
            first = other
    return first


def _candidates(text: bytes, start: int, behind: int) -> Iterator[re.Match[bytes]]:
    """Yield the names whose last letters are those of a secret's name, and rarely others, with a mark behind
    `behind`."""
    at = start
    if behind - start > _LONGEST_GAP + 16:
        at = max(start, _start_of_name(text, start, behind - _LONGEST_GAP - 16) - _LONGEST_SETTER)
    while may := _MAY_BE.search(text, at):
        if not _may_count(text, may):
            at = may.end()
            continue
        for found in _LABEL.finditer(text, _start_of_name(text, at, may.start()), may.end() + REACH):
            if found.start() >= may.end():
                break
            at = found.end()
            yield found
            if found.end() > may.start():
                break
        at = max(at, may.end())


def _may_count(text: bytes, may: re.Match[bytes]) -> bool:
    """Whether the name that ends with a match of `_MAY_BE` may be a secret's name; fast, rarely a false positive."""
    end = may.start()
    if may.end() > end + 1 or text[end : end + 1] == b"-":  # it matches more than the end of a name
        return True
    before = text[max(0, end - _LONGEST_NAME - 1) : end]
    rest = before.rstrip(_WORD)
    name = before[len(rest) :]
    if name[-1:].isdigit():  # there are too many ids to remember
        return not name.isdigit()
    return rest[-1:] == b"%" or _counts(name, rest[-1:] == b" ")


@lru_cache(4096)
def _counts(raw: bytes, has_more: bool) -> bool:
    """Whether a name may be a secret's name. `has_more`: it may be the last one of several words."""
    name = _known(raw)
    return (
        name.is_secret
        or name.is_header
        or may_be_secret(name.text)
        or may_be_secret_field(name.text)
        or raw.endswith(b"auth")
        or (has_more and may_end_phrase(name.text))
    )


def _start_of_name(text: bytes, start: int, end: int) -> int:
    """Return the start of the name that ends at `end`, and of the bracket and the quote before it."""
    before = text[max(start, end - _LONGEST_NAME - _LONGEST_GAP) : end]
    opening = before.rstrip(_WORD).rstrip(_OPENING)
    return max(start, end - len(before) + len(opening) - 1)


def _may_set(text: bytes) -> bool:
    return (b"set" in text or b"ENV" in text or b"#define" in text) and _SETTER.search(text) is not None


def _entries(text: bytes, start: int, behind: int, end: int, whole: bool) -> Iterator[tuple[Label, int]]:
    """Yield the first `value` behind a secret's name, and the first elements with a secret's name, up to `end`."""

    def has(part: bytes) -> bool:
        return text.find(part, start, end) >= 0

    searches = [_ELEMENT] if has(b"<") and has(b">") else []
    if whole and has(b"u003"):
        searches.append(_ESCAPED_ELEMENT)
    if has(b"alue") or has(b"ontent="):
        searches.append(_ENTRY)
    for search in searches:
        for found in search.finditer(text, start, end):
            if found.end() > behind and (label := _entry(found)) is not None:
                yield label, found.end()
                break


def _entry(found: re.Match[bytes]) -> Label | None:
    if found.re is not _ENTRY:
        name = _known(found["tag"].rpartition(b":")[2])
        is_empty = found[0].endswith(b"/>")
        return name.label._replace(form="tag") if name.is_secret and not is_empty else None
    name = _known(found["entry"] or found["item"] or found["html"])
    if not name.is_secret:
        return None
    if found["html"] is not None:
        return name.label._replace(form="set", spaced=True)
    if found["entry"] is None:
        return name.label._replace(form="plain", first=b"," not in found[0])
    return name.label._replace(form="json", level=len(found["level"]), single=found["open"].endswith(b"'"))


def _label(found: re.Match[bytes], has_auth: bool, whole: bool) -> Label | None:
    if found["name"] is not None:
        return _named(found, has_auth, whole) if len(found["name"]) <= _LONGEST_NAME else None
    raw = found["option"] or found["variable"] or found["pair"]
    name = _known(raw)
    if len(raw) > _LONGEST_NAME or not (name.is_secret or name.is_header):
        return None
    said = name.label._replace(level=len(raw) - len(raw.rstrip(b"\\")))
    text = found.string
    if found["option"] is not None:
        is_pair = found["next"] is not None
        opening = text[max(0, found.start() - 12) : found.start()].rstrip(_OPENING)
        if is_pair and opening[-1:] not in (b"[", b",", b"("):  # no item of a list, but a value of an object
            return None
        return said._replace(form="pair" if is_pair else "option")
    if found["variable"] is not None:
        is_macro = found[0].startswith(b"#")  # its value is a secret only in quotes: `#define TOKEN 5` has none
        said = said._replace(form="set", spaced=True) if is_macro else said._replace(form="option")
        return said if name.is_secret else None
    is_call = _SETS.search(text[max(0, found.start() - 32) : found.start() + 1]) is not None
    return said._replace(form="pair", single=b"'" in found[0][-10:]) if name.is_header or is_call else None


def _named(found: re.Match[bytes], has_auth: bool, whole: bool) -> Label | None:
    """Return the label of a name before `:`, `=` or `>`."""
    raw = found["name"]
    start = found.start("name")
    name = _known(raw)
    level = len(raw) - len(raw.rstrip(b"\\"))
    if has_auth and raw[: len(raw) - level] == b"auth":
        label = _of_name(found, name.label._replace(level=level, only_string=True), raw, start)
        return label if label is not None and label.form == "json" else None
    if found["lead"] and not name.is_secret:
        before = _before_name(found, name, start)
        name = _known(before + raw)
        start -= len(before)
    if not name.is_secret and not (whole and _may_look(found, name.text)):
        return None
    label = _of_name(found, name.label._replace(level=level), raw, start)
    if label is None or name.is_secret:
        return label
    return label._replace(looks=True, only_string=True) if label.form == "json" or label.query else None


def _may_look(found: re.Match[bytes], name: str) -> bool:
    """Whether the value of this name is a secret if it looks like one."""
    if found["gap"][:1] in (b'"', b"'"):
        return found["mark"] == b":" and may_be_secret_field(name)
    return found["mark"] == b"=" and not found["gap"] and may_be_secret(name)


def _before_name(found: re.Match[bytes], name: _Name, start: int) -> bytes:
    """Return the part of a name before its last word."""
    if found["lead"] == b"%":
        before = _QUERY_NAME.search(found.string, max(0, start - _LONGEST_PHRASE), start)
        return b"" if before is None else before[0]
    text = found.string[max(0, start - _LONGEST_PHRASE) : start]
    begins = len(text)
    if may_end_phrase(name.text):
        for _ in range(_MOST_WORDS):
            word = len(text[: begins - 1].rstrip(_WORD))
            if text[begins - 1 : begins] != b" " or word == begins - 1:
                break
            begins = word
    return text[begins:]


def _of_name(found: re.Match[bytes], said: Label, raw: bytes, start: int) -> Label | None:
    text = found.string
    gap = found["gap"]
    before = text[max(0, start - 1) : start]
    quote = gap[:1]
    if found["mark"] == b">":
        return said._replace(form="tag") if not gap and before in (b"<", b":") else None
    if found["mark"] == b":" and quote in (b'"', b"'"):
        is_choice = text[max(0, start - 8) : start].rstrip(_OPENING).endswith(b"?")  # between `?` and `:`
        return None if is_choice else said._replace(form="json", single=quote == b"'")
    if b"\n" in gap or b"\r" in gap or (b"*" in gap and before != b"*"):  # masked already, or Markdown
        return None
    is_plain = found["mark"] == b":"
    capitals = raw.isupper()
    has_operator = len(found["mark"]) > 1
    is_in_query = (
        before in (b"?", b"&", b"#", b'"')
        or _AND.search(raw) is not None
        or text[max(0, start - 5) : start] == b"&amp;"
    )
    return said._replace(
        form="plain" if is_plain else "set",
        bold=is_plain and before == b"*",
        inner=b"" if quote in (b'"', b"'") else _quote_before(text, start),
        spaced=b" " in gap or b"\t" in gap or has_operator,
        first=not gap.strip(b" \t") and _is_first(text, start, raw),
        capitals=capitals,
        make=capitals and has_operator,
        parameter=before == b";" or text[max(0, start - 2) : start] == b"; ",
        option=raw.startswith(b"--"),
        query=not is_plain and not gap and not has_operator and is_in_query,
    )


def _quote_before(text: bytes, start: int) -> bytes:
    """Return the quote that ends at `start`, with its backslashes."""
    before = text[max(0, start - 17) : start]
    return before[len(before[:-1].rstrip(b"\\")) :] if before[-1:] in (b'"', b"'") else b""


def _is_first(text: bytes, start: int, raw: bytes) -> bool:
    if raw.startswith(b"\\") or _LINE_BEGINS.search(raw):
        return True
    line = _LINE_BEGINS.split(text[max(0, start - 40) : start])[-1]
    return line.strip() in (b"", b"-", b"export", b"set")


_AUTHS = re.compile(rb"auths\\{0,15}+[\"'][ \t\r\n]{0,8}+:(?:[ \t\r\n]|\\[nrt]){0,16}+\{")


def auths_end(text: bytes) -> int | None:
    """Return the start of the object in which Docker keeps credentials, each below the name `auth`."""
    found = _AUTHS.search(text) if b"auths" in text else None
    return None if found is None else found.end()


_SECTION = re.compile(
    rb"\[(?:(?<=[\r\n\"']\[)|(?<=\\[nr]\[)|(?<![\x00-\xff]\[))[A-Za-z][\w.\- ]{0,62}+\](?=[\r\n]|\\{1,7}[nr])"
)


def section_end(text: bytes) -> int | None:
    """Return the end of the first line that begins a section of an INI file, such as `[client]`."""
    found = _SECTION.search(text) if b"]" in text else None
    return None if found is None else found.end()


_BEGUN = re.compile(rb"[\"']%b{0,128}+(?:[\"'][ \t]*+)?\Z" % _PARTS[b"word"])


def is_begun(seen: bytes) -> bool:
    """Whether a text ends inside a quoted name."""
    return _BEGUN.search(seen) is not None
