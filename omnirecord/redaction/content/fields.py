"""Finds values of fields with a secret's name in a text in pieces: `{"password": "…"}`, `TOKEN=…`, `pin: …`.

The rules of `scanner` hold: splits change nothing, and no piece waits for the next one. JSON stays JSON: escapes inside
a value stay escapes at every level, and the digits of a number become `1`. Names below a secret's name stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from . import labels
from .labels import REACH, Label, auths_end, find, is_begun, section_end
from .patterns import PSEUDONYM

_BEGINS = re.compile(
    rb"(?:\xef\xbb\xbf)?+(?:data:)?+[ \t\r\n*]*+"
    rb"(?:(\"|[{\[][{\[ \t\r\n]*+(?=[\"\]}\-0-9tfnIN]))|"
    rb"(?!(?:\xef\xbb?|d(?:a(?:ta?)?)?|[{\[][{\[ \t\r\n]*+)\Z)[^ \t\r\n*])"
)
"""Matches the beginning of JSON, and not of a Python dict. A masked first character does not decide."""
_SPACE = re.compile(rb"[ \t\r\n]*+")
_LONGEST_SPACE = 72
_DEEPEST = 15
_MOST_BRACKETS = 64
_STRING_PART = {mark: re.compile(rb"[^%b\\\x00-\x08\x0a-\x1f]++" % mark) for mark in (b'"', b"'", b"`", b"<", b"}")}
_STRICT_PART = {mark: re.compile(rb'[^%b"\\\x00-\x08\x0a-\x1f]++' % mark) for mark in (b"'", b"`", b"<", b"}")}
_ANY_PART = re.compile(rb'[^"\\]++')
_ENDS = {
    "query": re.compile(rb'[^&\x00-\x20"<>#\\]++'),
    "form": re.compile(rb"[^&\r\n]++"),
    "parameter": re.compile(rb"""[^;&\s"'<>#\\]++"""),
}
"""Characters of a value in a URL, in a form, and in a connection string."""
_BARE = re.compile(rb"[^\x00-\x20\"'`&;<>|\\,()\[\]{}]++")
_SOFT = b",)]}([{"
_STAR = b"002a"
"""The digits of an escaped `*`, which counts as masked."""
_QUOTES = b"\"'`"
_INSIDE = re.compile(rb"[\"'{}\[\]:,\\]|[-0-9]")
_HIDDEN = re.compile(rb"[^*]")
_NOT_ONES = re.compile(rb"[02-9]++")
_HEX = re.compile(rb"[0-9a-fA-F]")
_NUMBER = re.compile(rb"[-+.0-9eE]*+")
_DESIGNATORS = b"\"'\\/bfnrt"
_NO_VALUE = b"$<({[|>"
_AFTER_PLACEHOLDER = b"<>;,.:!?)]}@/|&\\="
_SCHEMES = (b"bearer", b"basic", b"token", b"digest", b"negotiate", b"ntlm", b"apikey", b"dpop")
CALLS = (
    b"string::from(",
    b"secretstring::from(",
    b"secretstring::new(",
    b"secret::new(",
    b"secretbox::new(",
    b"secretstr(",
    b"secretbytes(",
    b"pydantic.secretstr(",
)
"""Calls whose argument is the value, in small letters."""
_TYPES = (b"str", b"string", b"&str", b"&'static str")
"""Types between a name and ` = `, in small letters, as in `token: string = "abc"`."""
_STRING_BEGINS = (*CALLS, b"b", b"r", b"f", b"u", b"rb", b"br", b"l", b"@", b"$", b"$@")
"""Texts before the quote of a string behind ` = `, in small letters."""
_PLACEHOLDERS = (
    b"password",
    b"passwd",
    b"pass",
    b"pwd",
    b"pw",
    b"secret",
    b"token",
    b"self",
    b"os",
    b"config",
    b"cfg",
    b"conf",
    b"settings",
    b"args",
    b"env",
    b"db",
    b"db_password",
    b"db_pass",
    b"db_pwd",
    b"sql_password",
    b"creds",
    b"params",
    b"getpass",
    b"user",
    b"quote",
    b"urllib",
    b"0",
    b"1",
    b"2",
    b"3",
    b"{",
    b"}",
)
"""Words in braces that stand for a value: `PWD={pwd}` in a format string."""
_BLANK = (b"none", b"null", b"nil", b"undefined", b"true", b"false", b"str", b"string", b"bytes")


class Span(NamedTuple):
    """Characters of a secret. `begins`: it is the first span of that secret. `mark`: replaces each character."""

    start: int
    end: int
    kind: str
    begins: bool
    mark: bytes = b"*"

    @property
    def named(self) -> bool:
        """Whether the name of its field makes it a secret."""
        return self.kind.startswith("field ")


class Value(NamedTuple):
    """State while a value is read."""

    label: Label
    step: str = "lead"
    quote: bytes = b""
    level: int = 0
    """Backslashes before its quotes."""
    run: int = 0
    """Backslashes just before the current place."""
    seen: bytes = b""
    """A possible word that stays, or white space before the value."""
    told: bool = False
    brackets: bytes = b""
    """Open brackets of a value that has parts; a colon behind a name."""
    deeper: int = 0
    whole: bool = False
    """It is replaced as a whole, so that its end may lie behind a line end."""


class Field(NamedTuple):
    """State of a text. `seen`: its last bytes; `is_json`: it begins like JSON, None before its first character;
    `is_ini`: it has had a line such as `[client]`, so that `password = abc` is a setting and no code."""

    value: Value | None = None
    seen: bytes = b""
    is_json: bool | None = None
    is_ini: bool = False
    has_auths: bool = False
    """It has had the object `auths` of Docker's configuration."""


NOTHING = Field()


class Context:
    """The text around a value, which decides how the value is read. `is_json`: see `Field`."""

    def __init__(self, state: Field = NOTHING) -> None:
        self.is_json = state.is_json
        self.has_auths = state.has_auths
        self._ini_at = 0 if state.is_ini else None
        self._auth_from = 0 if state.has_auths else None

    def read(self, text: bytes) -> None:
        if self.is_json is None and (begins := _BEGINS.match(text)):
            self.is_json = begins[1] is not None
        if self._ini_at is None:
            self._ini_at = section_end(text)
        if self._auth_from is None:
            self._auth_from = auths_end(text)
            self.has_auths = self._auth_from is not None

    def trim(self, size: int) -> None:
        """Count positions from `size` on."""
        self._ini_at = None if self._ini_at is None else self._ini_at - size
        self._auth_from = None if self._auth_from is None else self._auth_from - size

    def find(self, text: bytes, start: int, behind: int, *, whole: bool = False) -> tuple[Label, int] | None:
        """Return the first label, as `labels.find`."""
        found = find(text, start, behind, self._auth_from, whole=whole)
        if found is None:
            return None
        label, end = found
        if label.form == "set" and label.first and self._ini_at is not None and self._ini_at < end:
            label = label._replace(spaced=False, form="ini")
        return label, end

    def state(self, value: Value | None, seen: bytes) -> Field:
        return Field(value, seen[-REACH:], self.is_json, self._ini_at is not None, self.has_auths)


def scan(state: Field, text: bytes, *, strict: bool = False) -> tuple[list[Span], Field]:
    """Return the spans of named secrets in the next piece of a text, and its new state. `strict`: read the text as JSON
    in any case, in which a quote without a backslash ends each value."""
    value = state.value
    whole = state.seen + text
    known = len(state.seen)
    may_end = value is not None or labels.may_end(text, whole)
    if not may_end and state.is_json is not None and b"]" not in whole and b"auths" not in whole:
        return [], Field(None, whole[-REACH:], state.is_json, state.is_ini, state.has_auths)
    context = Context(state)
    context.read(whole)
    if not may_end:
        return [], context.state(None, whole)
    spans: list[Span] = []
    at = 0
    while at < len(text):
        if value is not None:
            at, value = step(value, text, at, spans, strict=strict or context.is_json is True)
            continue
        found = context.find(whole, max(0, at + known - REACH), at + known)
        if found is None:
            break
        value = Value(found[0])
        at = found[1] - known
    return spans, context.state(value, whole)


def step(value: Value, text: bytes, at: int, spans: list[Span], *, strict: bool) -> tuple[int, Value | None]:
    """Read a value from `at` on. Return where the step stopped, and the value then: None at the value's end."""
    return _STEPS[value.step](value, text, at, spans, strict)


def goes_on(state: Field) -> bool:
    """Whether the next characters may belong to a named secret; rarely a false positive."""
    return state.value is not None or is_begun(state.seen)


def _hide(value: Value, text: bytes, start: int, end: int, spans: list[Span]) -> Value:
    """Mask these characters, except those that are masked already."""
    if _HIDDEN.search(text, start, end) is None:
        return value
    spans.append(Span(start, end, f"field {value.label.name.lower()}", not value.told))
    return value._replace(told=True)


def _ones(value: Value, text: bytes, start: int, end: int, spans: list[Span]) -> Value:
    for digits in _NOT_ONES.finditer(text, start, end):
        spans.append(Span(*digits.span(), f"field {value.label.name.lower()}", not value.told, mark=b"1"))
        value = value._replace(told=True)
    return value


# Each step reads the text from `at` on. It returns where it stopped, and the value then: None at the value's end.


def _lead(value: Value, text: bytes, at: int, _spans: list[Span], strict: bool) -> tuple[int, Value | None]:
    """Read the characters between the mark and the value."""
    is_quoted = value.label.form in ("json", "pair")
    end = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it always matches
    if end > at:
        space = text[at:end]
        seen = value.seen + space
        ends = not is_quoted and (b"\n" in space or b"\r" in space)
        return end, None if ends or value.run or len(seen) > _LONGEST_SPACE else value._replace(seen=seen)
    char = text[at : at + 1]
    if char == b"\\":
        return at + 1, value._replace(run=value.run + 1) if value.run < _DEEPEST else None
    if char in _QUOTES:
        if b"\\" * value.run + char == value.label.inner or (char == b'"' and strict and _ends_text(value)):
            return at, None
        return at + 1, value._replace(step="word", quote=char, level=value.run, run=0, seen=b"")
    if value.run:
        return at + 1, value._replace(run=0) if is_quoted and char in b"nrt" else None
    if is_quoted:
        return _lead_json(value, char, at)
    return _lead_bare(value, char, at)


def _ends_text(value: Value) -> bool:
    """Whether a quote with these backslashes before it ends the string in which the label is."""
    label = value.label
    if label.form not in ("json", "pair") or label.single:
        return value.run == 0
    return value.run < label.level


def _lead_json(value: Value, char: bytes, at: int) -> tuple[int, Value | None]:
    has_parts = not value.label.only_string or (value.whole and value.label.looks and char == b"[")
    if value.label.form == "json" and char in b"{[" and char and has_parts:
        return at + 1, value._replace(step="inside", brackets=char)
    if value.label.form == "json" and value.label.numeric and char in b"-0123456789":
        return at, value._replace(step="number")
    if char in b"bBuUrRfF" and not value.seen.strip():  # as in b'…'
        return at + 1, value._replace(seen=value.seen + char)
    return at, None


def _lead_bare(value: Value, char: bytes, at: int) -> tuple[int, Value | None]:
    label = value.label
    seen = value.seen
    if label.bold and char == b"*" and not seen.strip(b"*"):
        return at + 1, value._replace(seen=seen + b"*") if len(seen) < 3 else None
    if label.bold and not seen.strip(b"*"):
        return at, None
    if char in b"=>" and label.form in ("set", "plain") and not seen:
        made = label._replace(form="set", spaced=True, make=label.capitals and label.form == "plain" and char == b"=")
        return at + 1, value._replace(seen=b"=", label=made)
    if label.form == "tag":  # a placeholder has a blank or the like behind it
        return at, None if seen or char in _AFTER_PLACEHOLDER else value._replace(step="word", quote=b"<", seen=b"")
    if char == b"$" and label.form == "set" and not seen:
        return at + 1, value._replace(step="dollar")
    if char == b"{" and label.form == "set" and label.parameter and not seen:
        return at + 1, value._replace(step="word", quote=b"}", seen=b"")
    unset = label.form == "set" and (label.spaced or seen) and not label.make
    if unset and any(one.startswith(char.lower()) for one in _STRING_BEGINS):
        return at, value._replace(step="call", seen=b"")
    odd = (label.form == "plain" and not seen and char in b"/:") or (label.form == "option" and char == b"-")
    is_type = char == b"&" and label.form == "plain"
    if unset or odd or char in _NO_VALUE or not (_BARE.match(char) or is_type):
        return at, None
    return at, value._replace(step="word", seen=b"")


def _dollar(value: Value, text: bytes, at: int, _spans: list[Span], _strict: bool) -> tuple[int, Value | None]:
    """Read the quote of `TOKEN=$'…'`. A variable has none."""
    is_string = text[at : at + 1] == b"'" != value.label.inner
    return (at + 1, value._replace(step="word", quote=b"'")) if is_string else (at, None)


def _call(value: Value, text: bytes, at: int, _spans: list[Span], _strict: bool) -> tuple[int, Value | None]:
    """Read the text before the quote of a string, such as `b"` or `String::from("`."""
    word = value.seen
    while at < len(text):
        char = text[at : at + 1].lower()
        if word in _STRING_BEGINS and (char in _QUOTES or char == b"\\"):
            return at, value._replace(step="lead", seen=b"")
        word += char
        if not any(one.startswith(word) for one in _STRING_BEGINS):
            return at, None
        at += 1
    return at, value._replace(seen=word)


def _type(value: Value, text: bytes, at: int, _spans: list[Span], _strict: bool) -> tuple[int, Value | None]:
    """Read the ` = ` between the type of a variable and its value."""
    char = text[at : at + 1]
    if char == b" " and len(value.seen) < _LONGEST_SPACE:
        return at + 1, value._replace(seen=value.seen + char)
    if char == b"=" and b"=" not in value.seen:
        made = value.label._replace(form="set", spaced=True)
        return at + 1, value._replace(step="lead", seen=b"", label=made)
    return at, None


def _word(value: Value, text: bytes, at: int, _spans: list[Span], _strict: bool) -> tuple[int, Value | None]:
    """Read a word that may stay: a pseudonym, the scheme of a credential, `None`."""
    words = (*(() if value.whole else (PSEUDONYM,)), *(_SCHEMES if value.label.credentials else ()))
    words += _PLACEHOLDERS if value.quote == b"}" else () if value.quote else (*_BLANK, *CALLS, *_TYPES)
    word = value.seen.strip()
    body = value._replace(step="string" if value.quote else "bare", seen=b"", run=0)
    while at < len(text):
        char = text[at : at + 1]
        if word in CALLS and word in words:
            made = value.label._replace(form="set", spaced=True)
            return at, value._replace(step="lead", seen=b"", label=made)
        if word in _TYPES and not value.quote and char in b" =" and value.label.form == "plain":
            return at, value._replace(step="type", seen=b"")
        is_call = any(one.startswith(word + char.lower()) for one in CALLS) and not value.quote
        if word in words and not (char.isalnum() or char in b"_-" or is_call):
            if word in _SCHEMES and char in b" \t":
                return at + 1, value._replace(seen=b" ", label=value.label._replace(credentials=False))
            return at, body if word in _SCHEMES and value.quote else None
        longer = word + char.lower()
        if not any(one.startswith(longer) for one in words) and word.startswith(b"&"):
            return at, None
        if not any(one.startswith(longer) for one in words):
            if char in b" \t" and value.seen == b" " and not word:
                at += 1
                continue
            return at, None if body.step == "bare" and char in _NO_VALUE else body
        word = longer
        at = at + 1
        if word == PSEUDONYM:
            return at, None
    return at, value._replace(seen=word or value.seen)


def _bare(value: Value, text: bytes, at: int, spans: list[Span], strict: bool) -> tuple[int, Value | None]:
    if value.run:
        return _bare_escape(value, text, at)
    found = _BARE.match(text, at)
    if found is not None:
        value = _hide(value, text, at, found.end(), spans)
        size = min(3, len(value.seen) + found.end() - at)
        return found.end(), value._replace(seen=b"." * size)
    char = text[at : at + 1]
    if char == b"\\":
        return at + 1, value._replace(run=1)
    is_end = char == value.label.inner or (char == b'"' and strict)
    if char in _QUOTES and len(value.seen) <= 2 and not is_end:
        return at + 1, value._replace(step="string", quote=char, level=0)
    is_cookie = value.label.cookies and value.label.form == "plain" and char in b"; ,"
    if is_cookie or (char in _SOFT and value.label.first and value.label.form in ("set", "ini")):
        return at + 1, value._replace(seen=b"...")
    return at, None


def _query(value: Value, text: bytes, at: int, spans: list[Span], _strict: bool) -> tuple[int, Value | None]:
    """Read the value of a parameter of a URL or a form."""
    if value.run:
        is_slash = text[at : at + 1] == b"/"
        return at, value._replace(run=0) if is_slash else None
    part = _ENDS[value.label.form].match(text, at)
    if part is not None:
        return part.end(), _hide(value, text, at, part.end(), spans)
    return (at + 1, value._replace(run=1)) if text[at : at + 1] == b"\\" else (at, None)


def _bare_escape(value: Value, text: bytes, at: int) -> tuple[int, Value | None]:
    char = text[at : at + 1]
    if char == b"\\":
        return at + 1, value._replace(run=value.run + 1)
    if char in _DESIGNATORS and char != b"/":
        return at, None
    if char == b"u":
        return at + 1, value._replace(step="hex", seen=b"bare", run=0)
    return at + (char == b"/"), value._replace(run=0, seen=b"...")


def _hex(value: Value, text: bytes, at: int, spans: list[Span], _strict: bool) -> tuple[int, Value | None]:
    """Read the digits of an escape. `seen`: the step to go back to, and a dot for each digit."""
    back = value.seen.partition(b".")[0]
    digit = len(value.seen) - len(back)
    if digit == len(_STAR) or not _HEX.match(text, at):
        return at, value._replace(step=back.decode(), seen=b"..." if back == b"bare" else b"")
    mark = _STAR[digit : digit + 1]
    if text[at : at + 1] != mark:
        spans.append(Span(at, at + 1, f"field {value.label.name.lower()}", not value.told, mark=mark))
        value = value._replace(told=True)
    return at + 1, value._replace(seen=value.seen + b".")


def _string(value: Value, text: bytes, at: int, spans: list[Span], strict: bool) -> tuple[int, Value | None]:
    parts = _STRICT_PART if strict and value.quote != b'"' else _STRING_PART
    goes_on = value.whole and value.quote == b'"' and value.label.form in ("json", "pair")
    part_of = _ANY_PART if goes_on else parts[value.quote]
    if not value.run and (part := part_of.match(text, at)):
        is_name = value.step == "name"
        return part.end(), value if is_name else _hide(value, text, at, part.end(), spans)
    char = text[at : at + 1]
    run = value.run
    period = 2 * (value.level + 1)
    if char == b"\\":
        return at + 1, value._replace(run=run + 1)
    if char == value.quote and (char == b"<" or run < value.level or run % period == value.level):
        return at + 1, value._replace(step="inside", quote=b"", run=0, seen=b"") if value.brackets else None
    if char == b'"' and strict and value.quote != b'"' and run == 0:
        return at, None
    if (char < b" " and char != b"\t" and not goes_on) or (char == b"<" == value.quote):
        return at, None
    if run % period == 0 or value.step == "name":  # the backslashes stand for themselves
        value = value._replace(run=0)
        return at + 1, value if value.step == "name" else _hide(value, text, at, at + 1, spans)
    if char == b"u":
        return at + 1, value._replace(step="hex", seen=value.step.encode(), run=0)
    value = value._replace(run=0)
    return at + 1, value if char in _DESIGNATORS else _hide(value, text, at, at + 1, spans)


def _number(value: Value, text: bytes, at: int, spans: list[Span], _strict: bool) -> tuple[int, Value | None]:
    end = _NUMBER.match(text, at).end()  # type: ignore[union-attr]  # it always matches
    if end > at:
        return end, _ones(value, text, at, end, spans)
    return at, value._replace(step="inside") if value.brackets else None


def _inside(value: Value, text: bytes, at: int, _spans: list[Span], strict: bool) -> tuple[int, Value | None]:
    """Read an object or array: all its strings are secrets, its names are not."""
    found = _INSIDE.search(text, at)
    if found is None:
        return len(text), value._replace(run=0)
    token = found[0]
    end = found.end()
    run = value.run if found.start() == at else 0
    value = value._replace(run=0)
    if token == b"\\":
        return end, value._replace(run=run + 1)
    if token in (b'"', b"'"):
        label = value.label
        if token == b'"' and (run < label.level or (strict and label.single and run == 0)):
            return found.start(), None  # the string around the object ends before the object
        is_name = value.brackets.endswith(b"{")
        return end, value._replace(step="name" if is_name else "string", quote=token, level=run)
    if token in b"-0123456789":
        is_number = value.label.numeric and not value.brackets.endswith(b"{")
        return (found.start(), value._replace(step="number")) if is_number else (end, value)
    return end, _bracket(value, token)


def _bracket(value: Value, token: bytes) -> Value | None:
    open_ = value.brackets
    if token in b"{[":
        if len(open_) < _MOST_BRACKETS:
            return value._replace(brackets=open_ + token)
        return value._replace(deeper=value.deeper + 1)
    if token in b"}]":
        if value.deeper:
            return value._replace(deeper=value.deeper - 1)
        open_ = open_.rstrip(b":")[:-1]
        return value._replace(brackets=open_) if open_ else None
    if token == b":":
        return value._replace(brackets=open_ + b":") if open_.endswith(b"{") else value
    return value._replace(brackets=open_.rstrip(b":"))


_Step = Callable[[Value, bytes, int, list[Span], bool], tuple[int, "Value | None"]]
_STEPS: dict[str, _Step] = {
    "lead": _lead,
    "dollar": _dollar,
    "call": _call,
    "type": _type,
    "word": _word,
    "bare": _bare,
    "query": _query,
    "hex": _hex,
    "string": _string,
    "name": _string,
    "number": _number,
    "inside": _inside,
}
