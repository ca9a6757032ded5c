"""Replaces the values of sensitive names in a body of any format while it passes.

`content.labels` finds the names and `content.fields` reads the values, as in a text whose values are masked. A whole
value is replaced at once, so the bytes behind it can show that it is code or prose, which stays. Until then, the value
is held back.

Three filters follow each other: values behind names, multipart fields, and users in URLs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from .content import fields
from .content.fields import Value
from .content.labels import REACH, Label, parameter
from .names import is_secret, looks_secret

LONGEST_VALUE = 64 * 1024
"""Most bytes of a secret that determine its pseudonym."""
AHEAD = 8192
"""Most bytes behind a name outside of JSON and forms that decide about its value."""

Mask = Callable[[str, str, str, bool], str]
"""Takes the place (`field`, `query` or `url`), the name, the value, and whether the value is complete."""
_CONTENT = frozenset(("word", "bare", "string", "query", "number", "hex"))
"""Steps of a value within the secret."""
_FORM = re.compile(rb"([\w.\-%\[\]+]{1,256}+)=")
_MAYBE_FORM = re.compile(rb"[\w.\-%\[\]+]{0,256}")
_LEAD = re.compile(rb"[ \t]{0,64}+")
_QUOTE = re.compile(rb"""(?i:[bufl]|rb?|br|\$?@?)\\{0,15}+["'`]""")
_MAYBE_QUOTE = re.compile(rb"[ \t]{0,64}+(?i:[bufl]|rb?|br|\$?@?)\\{0,15}+\Z")
_CALL = re.compile(rb"[A-Za-z][\w.:]{1,24}+\(")
_MAYBE_CALL = re.compile(rb"[ \t]{0,64}+[A-Za-z][\w.:]{0,24}+\Z")
_CLOSED = b" \t\r\n,}]:)>;\"'"
"""Characters behind a quote that ends a string."""
_LINE = re.compile(rb"""(?P<value>(?:[^\s"\\]|(?=\\[^nrt"\\])\\){1,%d}+)[ \t]{0,64}+(?P<rest>[\r\n"#\\]?)""" % AHEAD)
_HEADER_LINE = re.compile(rb"""[^\r\n"'\\]{1,%d}+""" % AHEAD)
_SETTING = re.compile(rb"(?=\S*[0-9])(?![A-Za-z_]\w*\.[A-Za-z_])(?:(?=\S*[A-Za-z])\S{6,}|\S{8,})")
"""A value that is no variable and no word of a text."""
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
_SHORT = 4
_BARE_QUOTE = re.compile(rb'(?<!\\)"')
_CDATA = b"<![CDATA["
_ELEMENT = re.compile(rb'[^<>"]{0,%d}?(?=<|\\u003[cC]|[">])' % AHEAD)
_END_TAG = re.compile(rb"(?:<|\\u003[cC])\\{0,15}/([\w.\-:]{0,128})")
_LONGEST_END = 160
_PART = re.compile(rb"[fF](?i:orm-data)[ \t]?;")
_PART_NAME = re.compile(rb"""(?i)[; \t]name(?:\*=[\w.\-]{0,64}'[\w.\-]{0,64}'|="?)([^";\r\n]{1,256})""")
_PART_HEAD = 2048
_MAYBE_PART = re.compile(rb"(?i)f(?:o(?:r(?:m(?:-(?:d(?:a(?:ta?)?)?)?)?)?)?)?[ \t]?\Z")
_MAYBE_PART_END = re.compile(rb"\r(?:\n-?)?\Z")
_SCHEME = re.compile(rb":\\{0,15}+/\\{0,15}+/")
_MAYBE_SCHEME = re.compile(rb":\\{0,15}+(?:/\\{0,15}+)?\Z")
_AUTHORITY = re.compile(rb"""[^/?#\s"'<>\\`]{0,%d}+""" % AHEAD)
_TEMPLATE = re.compile(rb":(?:\$?[{(]|%[sd(])")


class Wait:
    """The next bytes decide."""


WAIT = Wait()
Answer = tuple[int, int] | Wait | None
"""The place of a secret; None: there is none."""


class BodyRedactor:
    """Redacts one body in pieces: `feed` returns the bytes that are decided, `close` the rest."""

    def __init__(self, mask: Mask) -> None:
        self._filters = (_Values(mask), _Parts(mask), _Users(mask))

    def feed(self, data: bytes) -> bytes:
        for one in self._filters:
            data = one.run(data, final=False)
        return data

    def close(self) -> bytes:
        return self.whole(b"")

    def whole(self, data: bytes) -> bytes:
        for one in self._filters:
            data = one.run(data, final=True)
        return data


class _Filter:
    """Replaces some bytes of a buffer, of which the first `_at` bytes are written."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._buffer = b""
        self._at = 0
        self._out: list[bytes] = []
        self._value = bytearray()  # the first bytes of a value
        self._is_long = False  # the value has more bytes

    def run(self, data: bytes, *, final: bool) -> bytes:
        self._buffer += data
        self._read(final)
        written = max(0, self._at - REACH)
        self._trim(written)
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _trim(self, size: int) -> None:
        self._buffer = self._buffer[size:]
        self._at -= size

    def _read(self, final: bool) -> None:
        raise NotImplementedError

    def _write_to(self, end: int) -> None:
        self._out.append(self._buffer[self._at : end])
        self._at = end

    def _take_to(self, end: int) -> None:
        """Move bytes to the value; bytes over the limit are dropped."""
        room = LONGEST_VALUE - len(self._value)
        self._value += self._buffer[self._at : min(end, self._at + room)]
        self._is_long = self._is_long or end - self._at > room
        self._at = end

    def _replace(self, place: str, name: str, quote: bytes = b"") -> None:
        """Write the replacement of the value; `quote` is put around it if it differs."""
        value = self._value.decode("utf-8", "surrogateescape")
        masked = self._mask(place, name, value, not self._is_long)
        quote = b"" if masked == value else quote
        self._out.append(quote + masked.encode("utf-8", "surrogateescape") + quote)
        self._value.clear()
        self._is_long = False


class _Values(_Filter):
    """Replaces the values behind sensitive names."""

    def __init__(self, mask: Mask) -> None:
        super().__init__(mask)
        self._context = fields.Context()
        self._is_form: bool | None = None
        self._label: Label | None = None  # ends at `_at`, unless its value is written in parts
        self._now: Value | None = None
        self._next = 0  # the value is read from here on
        self._start = -1  # of the secret in the value

    def _trim(self, size: int) -> None:
        super()._trim(size)
        self._context.trim(size)
        self._next -= size
        self._start -= size

    def _read(self, final: bool) -> None:
        if self._is_form is None and not self._begin(final):
            return
        self._context.read(self._buffer)
        more = True
        while more:
            if self._label is None:
                more = self._search()
            elif self._now is None:
                more = self._look(self._label, final)
            else:
                more = self._read_value(self._label, self._now, final)

    def _begin(self, final: bool) -> bool:
        form = _FORM.match(self._buffer)
        if form is None and not final and _MAYBE_FORM.fullmatch(self._buffer):
            return False
        self._is_form = form is not None
        if form is not None and (label := parameter(form[1])) is not None:
            self._write_to(form.end())
            self._label = label
        return True

    def _search(self) -> bool:
        before = max(0, self._at - REACH)
        found = self._context.find(self._buffer, before, self._at, whole=True)
        self._write_to(len(self._buffer) if found is None else found[1])
        self._label = None if found is None else found[0]
        return found is not None

    def _look(self, label: Label, final: bool) -> bool:
        """Read a value whose end the bytes behind it decide, or begin to read any other value."""
        answer = self._answer(label, final)
        if isinstance(answer, Wait):
            return False
        if answer is not None:
            self._write_to(answer[0])
            self._take_to(answer[1])
            self._replace("field", label.name)
        if answer is not None or label.form == "tag":
            self._label = None
            return True
        self._label = self._in_place(label)
        is_parameter = self._label.form in ("query", "form", "parameter")
        self._now = Value(self._label, "query" if is_parameter else "lead", whole=True)
        self._next = self._at
        self._start = self._at if is_parameter else -1
        return True

    def _in_place(self, label: Label) -> Label:
        """Return the label with the form of its value, if that ends as in a URL or in a connection string."""
        first = self._buffer[self._at : self._at + 1]
        if not _is_parameter(label, first in (b" ", b"\t")) or self._begins_string(self._at):
            return label
        if label.query:
            return label._replace(form="form" if self._is_form else "query")
        return label if first == b"{" else label._replace(form="parameter")

    def _begins_string(self, at: int) -> bool:
        if _QUOTE.match(self._buffer, at):
            return True
        call = _CALL.match(self._buffer, at)
        return call is not None and call[0].lower() in fields.CALLS

    def _answer(self, label: Label, final: bool) -> Answer:
        if label.form == "tag":
            return _element(self._buffer, self._at, label.name, final)
        if label.form not in ("set", "plain", "ini"):
            return None
        if not final and (_MAYBE_QUOTE.match(self._buffer, self._at) or _MAYBE_CALL.match(self._buffer, self._at)):
            return WAIT
        at = _LEAD.match(self._buffer, self._at).end()  # type: ignore[union-attr]  # it always matches
        has_gap = at > self._at
        if self._begins_string(at) or _is_parameter(label, has_gap):
            return None
        if label.first and label.form == "plain" and has_gap and (label.credentials or label.cookies):
            return _header_line(self._buffer, at, final, needs_equals=label.cookies)
        if not label.first or label.inner == b"'":
            return None
        return _line(self._buffer, at, label, final, has_gap=has_gap)

    def _read_value(self, label: Label, value: Value, final: bool) -> bool:
        """Read on in a value; return whether more can be read behind it."""
        text = self._buffer + b"\n" if final and not value.quote else self._buffer
        now: Value | None = value
        while now is not None and self._next < len(text):
            before = now
            at = self._next
            self._next, now = fields.step(before, text, at, [], strict=self._context.is_json is True)
            if not self._moved(label, before, now, at):
                self._end_value()
                return True
        self._next = min(self._next, len(self._buffer))
        self._now = now
        if now is not None:
            return self._pause(label, now, final)
        self._write_to(max(self._at, self._next))
        self._end_value()
        return True

    def _end_value(self) -> None:
        self._label = None
        self._now = None

    def _moved(self, label: Label, before: Value, now: Value | None, at: int) -> bool:
        """Note where a secret begins, and replace it at its end; return False if it is none. The last step was that of
        `before`, from `at` on."""
        secret = now if now is not None and now.step in _CONTENT else None
        begins_string = before.step == "bare" and secret is not None and secret.quote != b""
        if self._start >= 0 and (secret is None or begins_string):
            is_word_that_stays = before.step == "word" or begins_string
            if not is_word_that_stays and not self._close(label, before, at):
                return False
            self._start = -1
        if secret is not None and self._start < 0:
            self._start = self._next
            if _streams(secret):
                self._write_to(self._start)
        return True

    def _pause(self, label: Label, now: Value, final: bool) -> bool:
        """Write what is known of a value at the end of the buffer; return whether to go on."""
        end = len(self._buffer) - (0 if final else now.run)
        streams = _streams(now)
        if not streams and (final or end - self._at > AHEAD):
            self._end_value()
            return True
        if self._start < 0:
            self._write_to(max(self._at, end) if streams else self._at)
        elif streams and (final or now.step != "word"):
            self._take_to(end)
            self._start = self._at
            if final:
                self._replace("query" if label.query else "field", label.name)
        return False

    def _close(self, label: Label, value: Value, at: int) -> bool:
        """Replace the value of a secret, whose last step began at `at`; return whether it is one."""
        is_closed = value.step == "string" and self._buffer[at : self._next] == value.quote
        end = min(at - (min(value.run, value.level) if is_closed else value.run), len(self._buffer))
        if not _streams(value):
            if not self._is_secret(label, value, end, is_closed):
                return False
            self._write_to(self._start)
        self._take_to(end)
        if label.looks and value.brackets not in (b"", b"[") and not self._is_long:
            self._out.append(bytes(self._value))
            self._value.clear()
        else:
            quote = b"\\" * label.level + (b"'" if label.single else b'"') if value.step == "number" else b""
            self._replace("query" if label.query else "field", label.name, quote)
        return True

    def _is_secret(self, label: Label, value: Value, end: int, is_closed: bool) -> bool:
        """Whether the text up to `end` is a secret, and no code."""
        text = self._buffer[self._start : end]
        lead = self._buffer[self._at : self._start]
        if not text or end - self._at > AHEAD:
            return False
        if value.quote:
            is_crossed = value.run < value.level or (
                value.quote == b"'" and not label.single and _BARE_QUOTE.search(text) is not None
            )
            is_comparison = lead[:1] == b"=" and self._buffer[self._at - 1 : self._at] == b"="
            is_one_line = b"\n" not in text and b"\r" not in text
            return is_closed and is_one_line and text[0] not in _CLOSED and not is_crossed and not is_comparison
        if value.step == "number":
            return True
        found = _text(text)
        if not _is_no_code(found):
            return False
        if label.form == "parameter":
            return not _is_short(found)
        if label.capitals or label.option or label.form == "option":
            return True
        return (label.form != "plain" or lead != b"") and _SETTING.fullmatch(text) is not None


def _is_parameter(label: Label, has_gap: bool) -> bool:
    """Whether a value ends as in a URL, in a form, or in a connection string."""
    return label.query or (label.parameter and label.form == "set" and not has_gap)


def _streams(value: Value) -> bool:
    """Whether the bytes of a value are a secret before its end is known."""
    is_json = value.label.form in ("json", "pair") and not value.label.single
    return is_json or value.brackets != b"" or value.label.form in ("query", "form")


def _element(buffer: bytes, start: int, name: str, final: bool) -> Answer:
    """The text of an XML element with an end tag (`Promise<Token>` has none)."""
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
        if end >= 0 and (ends is None or _text(ends[1].rpartition(b":")[2]) != name):
            return None
    if end < 0:
        return WAIT if len(buffer) < start + AHEAD + _LONGEST_END and not final else None
    return (start, end) if buffer[start:end].strip() else None


def _header_line(buffer: bytes, at: int, final: bool, *, needs_equals: bool) -> Answer:
    line = _HEADER_LINE.match(buffer, at)
    if line is None or _text(line[0]).startswith(_REFERENCES):
        return None
    if _goes_on(buffer, line.end(), final):
        return WAIT
    return None if _is_endless(line) or (needs_equals and b"=" not in line[0]) else line.span()


def _line(buffer: bytes, at: int, label: Label, final: bool, *, has_gap: bool) -> Answer:
    """An unquoted value that fills the rest of its line. A value of several words is prose."""
    is_yaml = label.form == "plain"
    if is_yaml and not has_gap:
        return None
    line = _LINE.match(buffer, at)
    if line is None:
        return WAIT if _is_cut(buffer, at, final) else None
    end = line.end("value")
    if _is_cut(buffer, end, final) or (not line["rest"] and _goes_on(buffer, line.end(), final)):
        return WAIT
    value = _text(line["value"])
    bare = value.rstrip(",;")
    is_alone = line["rest"] or line.end() == len(buffer)
    if not is_alone or not _is_no_code(bare) or (is_yaml and bare.startswith(_INDICATORS)):
        return None
    end -= len(value) - len(bare)
    if bare != value and not looks_secret(bare):
        return None
    is_setting = label.form == "set" and has_gap
    return None if is_setting and not _SETTING.fullmatch(buffer, at, end) else (at, end)


def _is_no_code(value: str) -> bool:
    return not (
        not value
        or value.startswith(_REFERENCES)
        or value.endswith("(")
        or value.lower() in _WORDS
        or _CODE.fullmatch(value)
    )


def _is_short(value: str) -> bool:
    return len(value) < _SHORT and value.isalpha()


def _goes_on(buffer: bytes, end: int, final: bool) -> bool:
    """Whether a text that ends with the buffer may continue."""
    return end == len(buffer) and not final


def _is_endless(value: re.Match[bytes]) -> bool:
    return value.end() - value.start() >= AHEAD


def _is_cut(buffer: bytes, at: int, final: bool) -> bool:
    """Whether the buffer ends with one backslash, at `at`."""
    return at == len(buffer) - 1 and buffer[at:] == b"\\" and not final


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


class _Parts(_Filter):
    """Replaces multipart fields."""

    def __init__(self, mask: Mask) -> None:
        super().__init__(mask)
        self._name: str | None = None

    def _read(self, final: bool) -> None:
        more = True
        while more:
            more = self._head(final) if self._name is None else self._field(self._name, final)

    def _head(self, final: bool) -> bool:
        head = _PART.search(self._buffer, self._at)
        if head is None:
            maybe = None if final else _MAYBE_PART.search(self._buffer, max(self._at, len(self._buffer) - 10))
            self._write_to(len(self._buffer) if maybe is None else maybe.start())
            return False
        limit = head.start() + _PART_HEAD
        end = self._buffer.find(b"\r\n\r\n", head.start(), limit)
        if end < 0 and not final and len(self._buffer) < limit:
            self._write_to(head.start())
            return False
        found = _PART_NAME.findall(self._buffer, head.start(), max(end, head.start()))
        names = (unquote(raw.decode("utf-8", "replace")) for raw in found)
        self._name = next(filter(is_secret, names), None)
        self._write_to(head.end() if self._name is None else end + 4)
        return True

    def _field(self, name: str, final: bool) -> bool:
        end = self._buffer.find(b"\r\n--", self._at)
        if end < 0 and not final:
            maybe = _MAYBE_PART_END.search(self._buffer, max(self._at, len(self._buffer) - 3))
            self._take_to(len(self._buffer) if maybe is None else maybe.start())
            return False
        self._take_to(len(self._buffer) if end < 0 else end)
        self._replace("field", name)
        self._name = None
        return True


class _Users(_Filter):
    """Replaces `user:password` in URLs; a user alone only if it looks like a secret."""

    def _read(self, final: bool) -> None:
        while scheme := _SCHEME.search(self._buffer, self._at):
            authority = _AUTHORITY.match(self._buffer, scheme.end())
            assert authority is not None
            if _goes_on(self._buffer, authority.end(), final):
                self._write_to(scheme.start())
                return
            self._write_to(scheme.end())
            user, at_sign, _ = authority[0].rpartition(b"@")
            has_password = b":" in user and not _TEMPLATE.search(user)
            if at_sign and not _is_endless(authority) and (has_password or looks_secret(_text(user))):
                self._take_to(self._at + len(user))
                self._replace("url", "userinfo")
        maybe = None if final else _MAYBE_SCHEME.search(self._buffer, max(self._at, len(self._buffer) - 40))
        self._write_to(len(self._buffer) if maybe is None else maybe.start())
