"""Removes named secrets from a body of any format while it passes.

The search is for the text before a secret, at any depth of JSON inside JSON strings. It is `"name":`, `["header",` in
lists of pairs, `?name=` and `&name=` in URLs and forms, or the head of a multipart field. At `://`, `:`, `=` and `<`,
the functions of `plain` look for secrets in other formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from urllib.parse import unquote, unquote_plus

from . import plain
from .names import is_numeric, is_secret, is_secret_field, is_secret_header, may_be_secret, may_be_secret_field, words

LONGEST_VALUE = 64 * 1024
"""Most bytes of a secret that determine its pseudonym."""

_SPACE = rb"[ \t\r\n]{0,64}"
_PLAIN_WORD = rb"[\w.\x80-\xff]"
_JSON_WORD = rb"[\w.\-\\\x80-\xff]"
_QUERY_NAME = rb"[\w.\-%\[\]+]"
_TAG_NAME = rb"[\w.\-:]"
_PARTS = {
    b"json": rb"%b{1,256}+(?>(?: %b{1,64}+){0,3})" % (_JSON_WORD, _JSON_WORD),
    b"plain": rb"(?:%b{1,256}+(?>(?: %b{1,64}+){0,3}))" % (_PLAIN_WORD, _PLAIN_WORD),
    b"odd": rb" ?(?:-|\\{1,256}+[\w.\-\x80-\xff ])",  # in names whose last letters do not decide: headers, escapes
    b"some_json": rb"(?:%b{1,514}(?: %b{0,64}){0,7})?" % (_JSON_WORD, _JSON_WORD),
    b"query": _QUERY_NAME,
    b"tag": _TAG_NAME,
    b"space": _SPACE,
    b"may_end": plain.MAY_END_NAME,
    b"may_follow": plain.MAY_FOLLOW_NAME,
    b"userinfo": plain.USERINFO,
}
_HIT = re.compile(  # first bytes, second bytes, then the rest: this order is fast on binary data
    rb'["?&#\[\\fF:=<](?:(?<=["?&#\[\\fF])(?=[\w.\-\\%%\[\]+ \t\r\n"\x80-\xff])'
    rb'(?:(?<=")(?P<field>(?!")%(plain)b?+(?:%(odd)b(?:%(json)b)?+|(?=\\{0,256}+")%(may_end)b\\{0,256}+))"%(space)b:'
    rb'|(?<=["?&#])(?P<query>%(query)b{1,256}+)=|(?:(?<=\\)u0026|(?<=&)amp;)(?P<escaped>%(query)b{1,256}+)='
    rb'|(?<=\[)%(space)b\\{0,7}"(?P<pair>%(json)b)"%(space)b,|(?<=[fF])(?P<part>(?i:orm-data)[ \t]?;)'
    rb"|(?<=\\)u003[cC](?P<escaped_tag>%(tag)b{1,128}+)(?=[^\w.\-:]))"
    rb"|(?<=:)(?P<url>\\{0,15}+/\\{0,15}+/)%(userinfo)b|(?<=:)%(may_follow)b(?!\\{0,15}+(?:/|\Z))(?P<colon>)"
    rb"|(?<==)%(may_follow)b(?P<equals>)|(?<=<)(?P<tag>%(tag)b{1,128}+)%(may_end)b(?=[^\w.\-:]))" % _PARTS
)
_MAYBE_HIT = re.compile(
    rb'(?:"%(some_json)b(?:"%(space)b)?|(?:["?&#]|&amp;)%(query)b{0,256}'
    rb"|\\(?:u(?:0(?:0(?:2(?:6%(query)b{0,256})?|3(?:[cC]%(tag)b{0,128})?)?)?)?)?"
    rb"|(?i:f(?:o(?:r(?:m(?:-(?:d(?:a(?:ta?)?)?)?)?)?)?)?[ \t]?)|:\\{0,15}(?:/\\{0,15})?|<%(tag)b{0,128}"
    rb'|\[%(space)b\\{0,7}(?:"%(some_json)b(?:"%(space)b)?)?)\Z' % _PARTS
)
_LONGEST_HIT = 1200
_CONTEXT = 128
_DEEPEST = 15
_BEFORE_FIELD = re.compile(rb"(?:[{,]|\A)(?:[ \t\r\n]|\\+[nrt])*\\*\Z")
_ENTRY = re.compile(
    rb'"(?:[nN]ame|[kK]ey)\\{0,15}"[ \t]{0,8}:[ \t]{0,8}\\{0,15}"([\w.\-]{1,64}+)\\{0,15}"[ \t]{0,8},'
    rb"(?:[ \t\r\n]|\\[nrt]){0,40}+\\{0,15}\Z"
)
"""Matches before `"value"` if the name of the secret is itself a value."""
_FORM = re.compile(rb"(%(query)b{1,256}+)=" % _PARTS)
_MAYBE_FORM = re.compile(rb"%(query)b{0,256}" % _PARTS)
_PART_HEAD = 2048
_PART_NAME = re.compile(rb"""(?i)[; \t]name(?:\*=[\w.\-]{0,64}'[\w.\-]{0,64}'|="?)([^";\r\n]{1,256})""")
_ESCAPE = re.compile(r"(?<!\\)\\+u([0-9a-fA-F]{4})")
_SPACES = re.compile(rb"[ \t\r\n]*")
_VALUE = re.compile(rb'(\\{0,15})"|[{\[]|[-0-9]')
_MAYBE_VALUE = re.compile(rb"\\{0,15}\Z")
_CLOSING = re.compile(rb'\\{0,15}"%b(:)?' % _SPACE)
_INSIDE = re.compile(rb'["{}\[\]]')
_INSIDE_NUMERIC = re.compile(rb'["{}\[\]\-0-9]')
_NUMBER = re.compile(rb"[-+.0-9eE]*")
_QUERY_END = re.compile(rb'[&\x00-\x20"<>#]|\\(?=[^/])')
_QUOTE = re.compile(rb"""\\{0,15}["']""")
_MAYBE_QUOTE = re.compile(rb"\\{0,15}\Z")
_FORM_END = re.compile(rb"[&\r\n]")
_PART_END = re.compile(rb"\r\n--")
_MAYBE_END = re.compile(rb"(?:\r(?:\n-?)?|\\)\Z")


class BodyRedactor:
    """Redacts one body in pieces: `feed` returns the bytes that are decided, `close` the rest."""

    def __init__(self, mask: Callable[[str, str, str, bool], str]) -> None:
        """`mask` gets the place (`field`, `query` or `url`), the name, the value, and whether the value is complete."""
        self._mask = mask
        self._buffer = b""
        self._at = 0  # bytes before it are written; the last of them stay as context
        self._tail = -1  # start of the undecided bytes; before `_at`: unknown
        self._out: list[bytes] = []
        self._step: Callable[[bool], bool] = self._begin  # one step; False: it needs more bytes
        self._query_end = _QUERY_END
        self._name = ""
        self._value = bytearray()
        self._place = "field"
        self._end = _QUERY_END  # of a value that is no JSON
        self._base = self._level = 0  # backslashes before a quote: of the field's name, of its value
        self._depth = 0  # of brackets, below a secret's name
        self._only_string = False
        self._is_list = False  # strings of a list may be secrets, those below it are none
        self._is_long = False  # not all of the value is kept
        self._look = plain.assigned  # for a secret, from `_at` on

    def feed(self, data: bytes) -> bytes:
        self._buffer += data
        return self._run(final=False)

    def close(self) -> bytes:
        return self._run(final=True)

    def whole(self, data: bytes) -> bytes:
        self._buffer = data
        return self._run(final=True)

    def _run(self, final: bool) -> bytes:
        self._tail = -1
        while self._step(final):
            pass
        written = max(0, self._at - _CONTEXT)
        self._buffer = self._buffer[written:]
        self._at = self._at - written
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _write_to(self, end: int) -> None:
        self._out.append(self._buffer[self._at : end])
        self._at = end

    def _take_to(self, end: int) -> None:
        """Move bytes to the value; bytes over the limit are dropped."""
        room = LONGEST_VALUE - len(self._value)
        self._value += self._buffer[self._at : min(end, self._at + room)]
        self._is_long = self._is_long or end - self._at > room
        self._at = end

    def _masked(self) -> bytes:
        value = self._value.decode("utf-8", "surrogateescape")
        masked = self._mask(self._place, self._name, value, not self._is_long)
        self._value.clear()
        self._is_long = False
        return masked.encode("utf-8", "surrogateescape")

    # Looking for a name

    def _begin(self, final: bool) -> bool:
        form = _FORM.match(self._buffer)
        if form is None and not final and _MAYBE_FORM.fullmatch(self._buffer):
            return False
        self._step = self._scan
        if form is not None:
            self._query_end = _FORM_END
            self._write_to(form.end())
            self._found_query(form[1], self._plain)
        return True

    def _scan(self, final: bool) -> bool:
        hit = self._next()
        if hit is None or (not final and hit.start() > self._undecided()):
            self._write_to(len(self._buffer) if final else self._undecided())
            return False
        if hit["part"] is not None:
            return self._found_part(hit, final)
        self._write_to(hit.end())
        if hit["query"] is not None or hit["escaped"] is not None:
            self._found_query(hit["query"] or hit["escaped"], self._query_value)
        elif hit["field"] is not None or hit["pair"] is not None:
            self._found_field(hit)
        elif (tag := hit["tag"] or hit["escaped_tag"]) is not None:
            self._look = partial(plain.element, name=tag)
            self._step = self._looked
        else:
            self._look = plain.assigned if hit["url"] is None else plain.userinfo
            self._step = self._looked
        return True

    def _next(self) -> re.Match[bytes] | None:
        at = self._at
        while hit := _HIT.search(self._buffer, at):
            at = hit.end()
            sign = hit.lastgroup
            if sign in ("colon", "equals"):
                may_be = plain.may_follow_name(self._buffer, hit.start())
            else:
                may_be = sign not in ("tag", "escaped_tag") or is_secret(hit[sign].rpartition(b":")[2].decode())
            if may_be:
                break
        return hit

    def _undecided(self) -> int:
        """Return the start of a possible hit that the next bytes decide; later hits may be part of it."""
        if self._tail < self._at:
            maybe = _MAYBE_HIT.search(self._buffer, max(self._at, len(self._buffer) - _LONGEST_HIT))
            self._tail = len(self._buffer) if maybe is None else maybe.start()
        return self._tail

    def _found_query(self, raw: bytes, step: Callable[[bool], bool]) -> None:
        name = unquote_plus(raw.decode("ascii", "replace"))
        if may_be_secret(name):
            self._name = name
            self._place = "query"
            self._end = self._query_end
            self._step = step

    def _found_part(self, hit: re.Match[bytes], final: bool) -> bool:
        limit = hit.start() + _PART_HEAD
        end = self._buffer.find(b"\r\n\r\n", hit.start(), limit)
        if end < 0 and not final and len(self._buffer) < limit:
            self._write_to(hit.start())
            return False
        names = _PART_NAME.findall(self._buffer, hit.start(), max(end, hit.start()))
        self._write_to(hit.end())
        for name in (unquote(raw.decode("utf-8", "replace")) for raw in names):
            if is_secret(name):
                self._write_to(end + 4)
                self._name = name
                self._place = "field"
                self._end = _PART_END
                self._step = self._plain
                break
        return True

    def _found_field(self, hit: re.Match[bytes]) -> None:
        raw = hit["field"] or hit["pair"]
        bare = raw.rstrip(b"\\")
        name = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), bare.decode("utf-8", "replace"))
        is_entry = name in ("value", "Value") and hit["pair"] is None
        entry = _ENTRY.search(self._before(hit.start())) if is_entry else None
        if entry is not None:
            name = entry[1].decode("ascii", "replace")
        if hit["pair"] is not None:
            secret = ("-" in name or name.lower() in {"authorization", "cookie", "dpop"}) and is_secret_header(name)
        else:
            # a field's name follows `{` or `,`: `cond ? "token" : "x"`, for example, has none
            secret = may_be_secret_field(name) and _BEFORE_FIELD.search(self._before(hit.start())) is not None
        if secret:
            self._name = name
            self._place = "field"
            self._step = self._before_value
            self._base = len(raw) - len(bare)
            self._depth = 0
            self._only_string = hit["pair"] is not None or entry is not None or not is_secret_field(name)
            self._is_list = self._only_string and hit["pair"] is None and words(name)[-1:] == ("tokens",)

    def _before(self, at: int) -> bytes:
        return self._buffer[max(0, at - _CONTEXT) : at]

    # Taking its value

    def _looked(self, final: bool) -> bool:
        found = self._look(self._buffer, self._at, final)
        if found is plain.WAIT:
            return False
        self._step = self._scan
        if isinstance(found, plain.Found):
            self._write_to(found.start)
            self._take_to(found.end)
            self._place = found.place
            self._name = found.name
            self._out.append(found.quote + self._masked() + found.quote)
        return True

    def _query_value(self, final: bool) -> bool:
        if not final and _MAYBE_QUOTE.match(self._buffer, self._at):
            return False
        if _QUOTE.match(self._buffer, self._at):
            self._look = plain.assigned
            self._step = self._looked
        else:
            self._step = self._plain
        return True

    def _plain(self, final: bool) -> bool:
        end = self._end.search(self._buffer, self._at)
        if end is None and not final:
            maybe = _MAYBE_END.search(self._buffer, max(self._at, len(self._buffer) - 4))
            self._take_to(len(self._buffer) if maybe is None else maybe.start())
            return False
        self._take_to(len(self._buffer) if end is None else end.start())
        self._out.append(self._masked())
        self._step = self._scan
        return True

    def _before_value(self, final: bool) -> bool:
        self._write_to(_SPACES.match(self._buffer, self._at).end())  # type: ignore[union-attr]  # it always matches
        value = _VALUE.match(self._buffer, self._at)
        if value is None and not final and _MAYBE_VALUE.match(self._buffer, self._at):
            return False
        self._step = self._scan
        if value is None:
            return True
        if value[1] is not None:
            self._open_string(value.end(), len(value[1]))
        elif self._is_list and value[0] == b"[":
            self._step = self._inside
        elif not self._only_string:
            bracket = value[0] in b"{["
            self._step = self._inside if bracket else self._number if is_numeric(self._name) else self._scan
        return True

    def _open_string(self, at: int, level: int) -> None:
        self._write_to(at)
        self._level = level
        self._step = self._string

    def _string(self, final: bool) -> bool:
        period = 2 * (self._level + 1)
        quote = self._buffer.find(b'"', self._at)
        if quote < 0:
            run = 0 if final else plain.backslashes(self._buffer, self._at, len(self._buffer))
            self._take_to(len(self._buffer) - (run if run < period else run % period + period))
            if final:
                self._out.append(self._masked())
            return False
        run = plain.backslashes(self._buffer, self._at, quote)
        if run < self._level or run % period == self._level:
            self._take_to(quote - min(run, self._level))
            self._step = self._close_string
        else:
            self._take_to(quote + 1)
        return True

    def _close_string(self, final: bool) -> bool:
        closing = _CLOSING.match(self._buffer, self._at)
        assert closing is not None
        if self._depth and not closing[1] and closing.end() == len(self._buffer) and not final:
            return False
        is_name = closing[1] or (self._is_list and self._depth > 1)
        if self._depth and is_name and len(self._value) < LONGEST_VALUE:
            self._out.append(bytes(self._value))  # a name inside a secret's object
            self._value.clear()
        else:
            self._out.append(self._masked())
        self._write_to(self._buffer.index(b'"', self._at) + 1)
        self._step = self._inside if self._depth else self._scan
        return True

    def _number(self, final: bool) -> bool:
        end = _NUMBER.match(self._buffer, self._at).end()  # type: ignore[union-attr]  # it always matches
        self._take_to(end)
        if end == len(self._buffer) and not final:
            return False
        quote = b"\\" * self._base + b'"'
        self._out.append(quote + self._masked() + quote)
        self._step = self._inside if self._depth else self._scan
        return True

    def _inside(self, _final: bool) -> bool:
        """Read an object or array: all its strings are secrets, its names are not."""
        token = (_INSIDE_NUMERIC if is_numeric(self._name) else _INSIDE).search(self._buffer, self._at)
        if token is None:
            self._write_to(len(self._buffer))
            return False
        if token[0] == b'"':
            quote = token.start()
            level = plain.backslashes(self._buffer, max(0, quote - _DEEPEST), quote)
            if level < self._base:  # the string around the object ends before the object
                self._step = self._scan
            else:
                self._open_string(quote + 1, level)
        elif token[0] in b"{}[]":
            self._write_to(token.end())
            self._depth += 1 if token[0] in b"{[" else -1
            self._step = self._inside if self._depth else self._scan
        else:
            self._write_to(token.start())
            self._step = self._number
        return True
