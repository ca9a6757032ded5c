"""Names of secrets in a text, and the mark between a name and its value: `"password":`, `TOKEN=`, `--token `, `<pin>`.

How the text was cut changes nothing: a label needs at most `REACH` bytes before its end. All patterns are linear:
each starts at the beginning of a word only, and takes the word once.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ..names import is_numeric, is_secret_field, is_secret_header, words

_LONGEST_NAME = 128
_LONGEST_GAP = 40
REACH = _LONGEST_NAME + _LONGEST_GAP + 8
"""Bytes before the end of a label that decide what it is."""
_WORD = rb"[\w.\-\\]"
_LABEL = re.compile(
    rb"(?<!%(word)b)(?:(?P<option>--[A-Za-z][\w\-]++)[ \t]"
    rb"|(?P<name>%(word)b++)(?P<gap>[\"'`*\] \t\r\n]{0,%(gap)d}+)(?P<mark>[:=,>]))"
    % {b"word": _WORD, b"gap": _LONGEST_GAP}
)
_MARK = re.compile(rb"[:=,>]|--")
_ESCAPED = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|([nrtbf]))")
_OPENING = b"\"'\\ \t\r\n"
_PAIRS = ("authorization", "cookie")


class Label(NamedTuple):
    """`form`: `json` (a quoted name), `plain` (`name: `), `set` (`name=`), `pair` (`["name",`), `option`, `tag`."""

    form: str
    name: str
    numeric: bool
    """A number can be this secret."""
    credentials: bool
    """The value may begin with a scheme, which stays."""
    level: int = 0
    """Backslashes before the quotes of the name."""
    single: bool = False
    """Those quotes are single ones."""
    bold: bool = False
    """The name is in asterisks, as in Markdown."""
    spaced: bool = False
    """White space stands before the mark."""
    first: bool = False
    """It is the first word of its line, perhaps behind `export`."""


class _Name(NamedTuple):
    text: str
    is_secret: bool
    is_header: bool
    numeric: bool
    credentials: bool


@lru_cache(4096)
def _known(raw: bytes) -> _Name:
    """What a name says: escapes undone, what stands before an escaped line end left out."""
    text = raw.rstrip(b"\\").decode("ascii", "replace")
    if "\\" in text:
        text = _ESCAPED.sub(lambda m: chr(int(m[1], 16)) if m[1] else " ", text).rpartition(" ")[2]
    bare = text.strip("-")
    is_header = is_secret_header(bare) and ("-" in bare or bare.lower() in _PAIRS or text.startswith("--"))
    return _Name(
        re.sub(r"[^\w.\-]", "", bare.lower(), flags=re.ASCII), is_secret_field(bare), is_header,
        is_numeric(bare), words(bare)[-1:] == ("authorization",),
    )  # fmt: skip


def may_find(text: bytes) -> bool:
    """Whether a whole label is in this text."""
    return needs_search(b"", text) and find(text, 0, 0) is not None


def needs_search(seen: bytes, text: bytes) -> bool:
    """Whether a label may end in `text`; False at little cost for most texts."""
    return _MARK.search(text) is not None or b"--" in seen


def find(text: bytes, start: int, behind: int) -> tuple[Label, int] | None:
    """The first label that ends behind `behind`, and where. `start`: what is before it is not looked at."""
    for found in _LABEL.finditer(text, start):
        if found.end() > behind and (label := _label(found)) is not None:
            return label, found.end()
    return None


def _label(found: re.Match[bytes]) -> Label | None:
    option, raw, gap, mark = found.groups()
    raw = raw or option
    if len(raw) > _LONGEST_NAME:
        return None
    name = _known(raw)
    if not (name.is_secret or name.is_header):
        return None
    quoted = gap is not None and gap[:1] in (b'"', b"'")
    text, start = found.string, found.start()
    level = len(raw) - len(raw.rstrip(b"\\"))
    said = Label("", name.text, name.numeric, name.credentials, level, gap is not None and gap[:1] == b"'")
    if option is not None:
        return said._replace(form="option")
    if mark == b",":
        return said._replace(form="pair") if quoted and name.is_header and _is_pair(text, start, raw) else None
    if not name.is_secret:
        return None
    before = text[max(0, start - 1) : start]
    if mark == b">":
        return said._replace(form="tag") if not gap and before in (b"<", b":") else None
    if mark == b":" and quoted:
        return said._replace(form="json") if not _is_choice(text, start) else None
    spaced = any(white in gap for white in (b" ", b"\t", b"\n", b"\r"))
    if b"\n" in gap or b"\r" in gap:
        return None
    form = "plain" if mark == b":" else "set"
    bold = mark == b":" and before == b"*"
    return said._replace(form=form, bold=bold, spaced=spaced, first=not gap and _is_first(text, start, raw))


def _is_pair(text: bytes, start: int, raw: bytes) -> bool:
    """The name opens a list, or is an option in a list of arguments."""
    if raw.startswith(b"--"):
        return True
    return text[max(0, start - 8) : start].rstrip(_OPENING)[-1:] in (b"[", b"(")


def _is_choice(text: bytes, start: int) -> bool:
    """A string between `?` and `:` is no name."""
    return text[max(0, start - 8) : start].rstrip(_OPENING).endswith(b"?")


def _is_first(text: bytes, start: int, raw: bytes) -> bool:
    if b"\\" in raw:
        return False
    line = text[max(0, start - 40) : start]
    line = line[line.rfind(b"\n") + 1 :].strip()
    return line in (b"", b"export", b"set")


_BEGUN = re.compile(rb"[\"']%b{0,128}+(?:[\"'][ \t]*+)?\Z" % _WORD)


def is_begun(seen: bytes) -> bool:
    """Whether a text ends in the beginning of a quoted name."""
    return _BEGUN.search(seen) is not None
