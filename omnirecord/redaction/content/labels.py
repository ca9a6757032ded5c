"""Finds labels: a secret's name and the mark before its value, such as `"password":`, `TOKEN=`, `--token `, `<pin>`.

Splits of the text change nothing: at most `REACH` bytes before its end decide about a label. All patterns take linear
time: each starts at the beginning of a word, and reads the word once.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ..names import is_numeric, is_secret_field, is_secret_header, words

_LONGEST_NAME = 128
_LONGEST_GAP = 40
REACH = _LONGEST_NAME + _LONGEST_GAP + 8
"""Most bytes before the end of a label that decide about it."""
_PARTS = {
    b"word": rb"[\w.\-\\]",
    b"gap": rb"[\"'`*\] \t\r\n]{0,%d}+" % _LONGEST_GAP,
    b"set": rb"(?:\?\??|\+|\|\|)?+",  # as in `TOKEN ?= abc`
}
_NAMES = re.compile(rb"(?<!%(word)b)(?![0-9]++(?!%(word)b))(%(word)b++)%(gap)b(?:[:>]|%(set)b=)" % _PARTS)
_FIRST = re.compile(rb"[\[(][ \t\r\n]{0,8}+\\*+[\"'](%(word)b++)[\"'][ \t\r\n]{0,8}+," % _PARTS)
_LABEL = re.compile(
    rb"(?<!%(word)b)(?:(?P<option>--[A-Za-z][\w\-]++)(?:[ \t]|\\*+[\"'][ \t]{0,8}+(?P<next>,))"
    rb"|(?:ENV|#define|setx|setenv|set[ \t]-[a-zA-Z]{1,4}+)[ \t]{1,4}+(?P<variable>%(word)b++)[ \t]"
    rb"|(?![0-9]++(?!%(word)b))(?P<name>%(word)b++)(?P<gap>%(gap)b)(?P<mark>[:>]|%(set)b=))"
    rb"|[\[(][ \t\r\n]{0,8}+\\*+[\"'](?P<pair>%(word)b++)[\"'][ \t\r\n]{0,8}+," % _PARTS
)
_ENTRY = re.compile(
    rb"[\"'](?:[nN]ame|[kK]ey)\\{0,7}+[\"'][ \t]{0,4}+:[ \t]{0,4}+\\{0,7}+[\"'](?P<entry>[\w.\-]{1,64}+)\\{0,7}+[\"']"
    rb"[ \t]{0,4}+,(?:[ \t\r\n]|\\[nrt]){0,24}+(?P<open>\\{0,7}+[\"'])[vV]alue(?P<level>\\{0,7}+)[\"'][ \t]{0,4}+:"
    rb"|(?<![\w.\-\"'])(?:name|key):[ \t]{1,4}+(?:\\{0,7}[\"'])?(?P<item>[\w.\-]{1,64}+)(?:\\{0,7}[\"'])?"
    rb"(?:\r?\n|\\{1,7}n|,)[ \t]{0,24}+value:"
    rb"|=(?:(?<=[ \t]name=)|(?<=[ \t]key=)|(?<=[ \t]id=)|(?<=[ \t]type=))"
    rb"\\{0,7}+[\"'](?P<html>[\w.\-]{1,64}+)\\{0,7}+[\"'][ \t]{1,8}+(?:value|content)="
)
"""`value` behind the name of a secret: `{"name": "DB_PASSWORD", "value":`, `<input name="password" value=`."""
_ESCAPED = re.compile(r"(?<!\\)\\++(?:u([0-9a-fA-F]{4})|([nrtbf]))")
_LINE_BEGINS = re.compile(rb"[\r\n\"']|\\[nr]")
_OPENING = b"\"'\\ \t\r\n"
_PAIRS = ("authorization", "cookie")
_SETS = re.compile(rb"(?:[dD]efine|[sS]et\w{0,24}+|[pP]utenv|[gG]etenv|[gG]et)[(]\Z")
"""A call whose first argument is a name, and whose second argument is the value."""
_harmless: set[bytes] = set()
_MOST_HARMLESS = 4096


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


class _Name(NamedTuple):
    label: Label
    is_secret: bool
    is_header: bool


@lru_cache(4096)
def _known(raw: bytes) -> _Name:
    """Return the properties of a name, without escapes, and without the text before an escaped line end."""
    text = raw.rstrip(b"\\").decode("ascii", "replace")
    if "\\" in text:
        text = _ESCAPED.sub(lambda m: chr(int(m[1], 16)) if m[1] else " ", text).rpartition(" ")[2]
    bare = text.strip("-")
    is_header = is_secret_header(bare) and ("-" in bare or bare.lower() in _PAIRS or text.startswith("--"))
    name = re.sub(r"[^\w.\-]", "", bare.lower(), flags=re.ASCII)
    last = words(bare)[-1:]
    label = Label("", name, is_numeric(bare), last == ("authorization",), last == ("cookie",))
    return _Name(label, is_secret_field(bare), is_header)


def may_find(text: bytes) -> bool:
    """Whether this text has a complete label."""
    return needs_search(b"", text) and find(text, 0, 0) is not None


def needs_search(seen: bytes, text: bytes) -> bool:
    """Whether a label may end in `text`; fast for most texts, which have none."""
    whole = seen + text if seen else text
    if b"--" in whole or _may_set(whole):
        return True
    if not may_end(text):
        return False
    return not _harmless.issuperset(_NAMES.findall(whole)) or _may_pair(whole) or _has_other_names(whole)


def _has_other_names(text: bytes) -> bool:
    """Whether a name that is no secret alone may stand before a secret."""
    return b"alue" in text or b"auths" in text or b"ontent=" in text


def may_end(text: bytes) -> bool:
    """Whether a label that does not begin with `--` before this text may end in it."""
    return b":" in text or b"," in text or b"=" in text or b">" in text or b"--" in text


def _may_set(text: bytes) -> bool:
    has_set = b"set" in text and (b"setenv" in text or b"setx" in text or b"set -" in text or b"set\t-" in text)
    return has_set or b"ENV" in text or b"#define" in text


def _may_pair(text: bytes) -> bool:
    return (b"[" in text or b"(" in text) and not _harmless.issuperset(_FIRST.findall(text))


def find(text: bytes, start: int, behind: int, auth_from: int | None = None) -> tuple[Label, int] | None:
    """Return the first label that ends behind `behind`, and its end. `start`: start of the search. `auth_from`: from
    there on, the name `auth` counts, too."""
    first = None
    for found in _LABEL.finditer(text, start):
        has_auth = auth_from is not None and auth_from < found.end()
        if found.end() > behind and (label := _label(found, has_auth)) is not None:
            first = label, found.end()
            break
    return _first_entry(text, start, behind, first) if b"alue" in text or b"ontent=" in text else first


def _first_entry(text: bytes, start: int, behind: int, first: tuple[Label, int] | None) -> tuple[Label, int] | None:
    """Return the first `value` behind a secret's name, or `first` if that ends earlier."""
    for found in _ENTRY.finditer(text, start, len(text) if first is None else first[1]):
        name = _known(found["entry"] or found["item"] or found["html"])
        if found.end() > behind and name.is_secret:
            if found["html"] is not None:
                return name.label._replace(form="set", spaced=True), found.end()
            if found["entry"] is None:
                return name.label._replace(form="plain", first=True), found.end()
            is_single = found["open"].endswith(b"'")
            return name.label._replace(form="json", level=len(found["level"]), single=is_single), found.end()
    return first


def _label(found: re.Match[bytes], has_auth: bool) -> Label | None:
    raw = found["name"] or found["option"] or found["variable"] or found["pair"]
    if len(raw) > _LONGEST_NAME:
        return None
    name = _known(raw)
    if has_auth and found["name"] is not None and raw.rstrip(b"\\") == b"auth":
        label = _of_name(found, name.label._replace(level=len(raw) - len(b"auth"), only_string=True), raw)
        return label if label is not None and label.form == "json" else None
    if not (name.is_secret or name.is_header):
        if len(_harmless) >= _MOST_HARMLESS:
            _harmless.clear()
        _harmless.add(raw)
        return None
    said = name.label._replace(level=len(raw) - len(raw.rstrip(b"\\")))
    if found["option"] is not None:
        is_pair = found["next"] is not None
        before = found.string[max(0, found.start() - 12) : found.start()].rstrip(_OPENING)
        if is_pair and before[-1:] not in (b"[", b",", b"("):  # no item of a list, but a value of an object
            return None
        return said._replace(form="pair" if is_pair else "option")
    if found["variable"] is not None:
        is_macro = found[0].startswith(b"#")  # its value is a secret only in quotes: `#define TOKEN 5` has none
        said = said._replace(form="set", spaced=True) if is_macro else said._replace(form="option")
        return said if name.is_secret else None
    if found["pair"] is not None:
        is_call = _SETS.search(found.string[max(0, found.start() - 32) : found.start() + 1]) is not None
        return said._replace(form="pair", single=b"'" in found[0][-10:]) if name.is_header or is_call else None
    return _of_name(found, said, raw) if name.is_secret else None


def _of_name(found: re.Match[bytes], said: Label, raw: bytes) -> Label | None:
    text = found.string
    start = found.start()
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
    return said._replace(
        form="plain" if is_plain else "set",
        bold=is_plain and before == b"*",
        inner=b"" if quote in (b'"', b"'") else _quote_before(text, start),
        spaced=b" " in gap or b"\t" in gap or has_operator,
        first=not gap.strip(b" \t") and _is_first(text, start, raw),
        capitals=capitals,
        make=capitals and has_operator,
        parameter=before == b";" or text[max(0, start - 2) : start] == b"; ",
    )


def _quote_before(text: bytes, start: int) -> bytes:
    """Return the quote that ends at `start`, with its backslashes."""
    before = text[max(0, start - 17) : start]
    return before[len(before[:-1].rstrip(b"\\")) :] if before[-1:] in (b'"', b"'") else b""


def _is_first(text: bytes, start: int, raw: bytes) -> bool:
    if raw.startswith(b"\\") or _LINE_BEGINS.search(raw):
        return True
    line = _LINE_BEGINS.split(text[max(0, start - 40) : start])[-1]
    return line.strip() in (b"", b"export", b"set")


_AUTHS = re.compile(rb"auths\\{0,15}+[\"'][ \t\r\n]{0,8}+:(?:[ \t\r\n]|\\[nrt]){0,16}+\{")


def auths_end(text: bytes) -> int | None:
    """Return the start of the object in which Docker keeps credentials, each below the name `auth`."""
    found = _AUTHS.search(text) if b"auths" in text else None
    return None if found is None else found.end()


_SECTION = re.compile(rb"(?:\A|[\r\n\"']|\\[nr])\[[A-Za-z][\w.\- ]{0,62}+\](?=[\r\n]|\\{1,7}[nr])")


def section_end(text: bytes) -> int | None:
    """Return the end of the first line that begins a section of an INI file, such as `[client]`."""
    found = _SECTION.search(text) if b"]" in text else None
    return None if found is None else found.end()


_BEGUN = re.compile(rb"[\"']%b{0,128}+(?:[\"'][ \t]*+)?\Z" % _PARTS[b"word"])


def is_begun(seen: bytes) -> bool:
    """Whether a text ends inside a quoted name."""
    return _BEGUN.search(seen) is not None
