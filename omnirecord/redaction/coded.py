"""Redacts bodies and streams with a content coding, and bodies in UTF-16. No I/O.

A stream is stored without its content coding, since coded bytes cannot be masked; undecodable content is not stored. A
body with a secret is redacted and compressed again in the same coding, so that its headers stay true. A zstd body that
ends inside a block is stored without that block, which can hold a secret in the clear. Any other body is stored byte
for byte. A compressed body is held until its end, since any byte may belong to a secret.

A body in UTF-16 begins with a byte order mark and an ASCII character, or with two ASCII characters. Its text passes the
redactor as UTF-8. Each 16-bit unit outside a secret stays unchanged, valid or not.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..model import Headers
from ..wire.content_coding import LIMIT, CodingError, Decoder, content_of, decoder, encoded
from ..wire.headers import header, without
from ..wire.limits import max_decoded, shown_size
from .content import MaskedPart, StreamMask

READ_LIMIT = 32 << 20
"""Most decoded bytes of one read of a coded stream, which is masked as a whole."""
_NO_DATA = re.compile(
    r"text/(?:css|javascript|ecmascript)|application/(?:x-)?(?:javascript|ecmascript)"
    r"|application/(?:wasm|font-.+|x-font-.+|vnd\.ms-fontobject)|(?:image|font|audio|video)/.+"
)
_ASCII = frozenset(b"\t\r\n") | frozenset(range(0x20, 0x7F))
_FORMS = (
    ("utf-16-le", b"", 1),
    ("utf-16-be", b"", 0),
    ("utf-16-le", b"\xff\xfe", 1),
    ("utf-16-be", b"\xfe\xff", 0),
)
"""Coding, byte order mark, and which byte of an ASCII character is zero."""
_ENOUGH = 4


@dataclass(frozen=True, slots=True)
class Kept:
    """The stored part of one read: its size in bytes, its masked parts, and a problem, if there was one."""

    size: int
    pieces: list[MaskedPart]
    problem: str | None = None


class MaskedStream:
    """Masks one stream. `headers` are those of its response."""

    def __init__(self, mask: StreamMask, headers: Headers) -> None:
        self._mask = mask
        self._size = 0  # bytes of content
        self._decoder: Decoder | None
        self.headers = headers
        self.problem = None
        """The headers for storage; the reason if no content can be stored."""
        coding = header(headers, "content-encoding")
        self._decodes = (coding or "identity").strip().lower() != "identity"
        try:
            self._decoder = decoder(coding)
        except CodingError as error:
            self._decoder = None
            self.problem = f"{error}, so its content is not stored"
        if self._decodes and self._decoder is not None:
            self.headers = uncoded(headers)

    @property
    def settled(self) -> int:
        """Number of bytes that will not be rewritten."""
        return self._mask.settled

    def goes_on(self, headers: Headers) -> MaskedStream:
        """Return the mask for the same stream in another file, from the next event on. Texts may continue there."""
        self._mask.begin_again()
        self.headers = headers
        self.problem = None
        return self

    def take(self, data: bytes | None, size: int) -> Kept:
        """Take the next read of `size` bytes; `data` is None if the bytes are lost."""
        if data is None or self._decoder is None:
            if self._decodes:
                self._decoder = None  # the following bytes cannot be decoded either
            self._mask.lose(size)
            return Kept(size, [])
        content = bytearray()
        problem = None
        try:
            for piece in self._decoder.decode(data):
                content += piece
                self._refuse_bomb(len(content))
        except CodingError as error:
            self._decoder = None
            problem = f"{error}, so the rest is not stored"
        self._size += len(content)
        return Kept(len(content), self._mask.feed(bytes(content)) if content else [], problem)

    def _refuse_bomb(self, size: int) -> None:
        """Raise `CodingError` if a read decodes to more than can be masked; `size` bytes are decoded so far."""
        if not self._decodes:
            return
        if self._size + size > max_decoded():
            raise CodingError(f"it decodes to more than {shown_size(max_decoded())} (--max-decoded)")
        if size > READ_LIMIT:
            raise CodingError(f"a read of it decodes to more than {shown_size(READ_LIMIT)}")


def uncoded(headers: Headers) -> Headers:
    """Return the headers of the same body without its content coding."""
    return without(headers, {"content-encoding", "content-length"})


def is_data(content_type: str | None) -> bool:
    """Whether a body may hold a user's secret. Assets do not, although their syntax tables look like secrets."""
    return _NO_DATA.fullmatch((content_type or "").partition(";")[0].strip().lower()) is None


class BodyFilter(Protocol):
    """A body in pieces: `feed` returns the bytes that can be written by now, `close` the rest."""

    def feed(self, data: bytes) -> bytes: ...
    def close(self) -> bytes: ...


class Untouched:
    """A body that is stored as it is."""

    def feed(self, data: bytes) -> bytes:
        return data

    def close(self) -> bytes:
        return b""


class CodedBody:
    """Redacts a body with content codings. `whole_body` redacts its content. `cut`: the body was too large and is
    stored in part."""

    def __init__(self, codings: list[str], whole_body: Callable[[bytes], bytes]) -> None:
        self._codings = codings
        self._whole_body = whole_body
        self._held = bytearray()
        self.cut = False

    def feed(self, data: bytes) -> bytes:
        room = LIMIT - len(self._held)
        self.cut = self.cut or len(data) > room
        self._held += data[:room]
        return b""

    def close(self) -> bytes:
        wire = bytes(self._held)
        content, is_whole, has_more = content_of(wire, ",".join(self._codings))
        safe = self._whole_body(content)
        self.cut = self.cut or len(content) == LIMIT
        if safe != content or self.cut or has_more:  # the last block of zstd may hold a secret in the clear
            return encoded(safe, self._codings)
        return wire if is_whole else self._whole_body(wire)  # the body does not have its Content-Encoding


def may_be_utf16(data: bytes) -> bool:
    """Whether a body may be in UTF-16, by its first bytes."""
    return b"\0" in data[:_ENOUGH]


class AnyWidth:
    """A body in UTF-8 or UTF-16 that passes `inner` as UTF-8."""

    def __init__(self, inner: BodyFilter) -> None:
        self._inner = inner
        self._coding: str | None = None
        self._begins = True
        self._start = b""  # input before the coding is known
        self._of_wide = self._of_narrow = _decoder("utf-8")  # each holds the beginning of a character

    def feed(self, data: bytes) -> bytes:
        mark = b""
        if self._begins:
            self._start += data
            if (found := self._begin(final=False)) is None:
                return b""
            mark = found
            data = self._start
            self._start = b""
        if self._coding is None:
            return self._inner.feed(data)
        return mark + self._widened(self._inner.feed(_narrow(self._of_wide.decode(data))))

    def close(self) -> bytes:
        mark = (self._begin(final=True) if self._begins else None) or b""
        if self._coding is None:
            return self._inner.feed(self._start) + self._inner.close()
        wide = self._of_wide.getstate()[0] + self._start
        size = len(wide) // 2 * 2
        safe = self._inner.feed(_narrow(wide[:size].decode(self._coding, "surrogatepass"))) + self._inner.close()
        return mark + self._widened(safe, final=True) + wide[size:]

    def _begin(self, *, final: bool) -> bytes | None:
        """Find the coding, and return the byte order mark; None if the next bytes decide."""
        start = self._start[:_ENOUGH]
        fits = [(coding, mark) for coding, mark, zero in _FORMS if _fits(start, mark, zero)]
        if fits and len(start) < _ENOUGH and not final:
            return None
        self._begins = False
        if not fits or len(start) < _ENOUGH:
            return b""
        self._coding, mark = fits[0]
        self._of_wide = _decoder(self._coding)
        self._start = self._start[len(mark) :]
        return mark

    def _widened(self, narrow: bytes, *, final: bool = False) -> bytes:
        return self._of_narrow.decode(narrow, final).encode(self._coding or "", "surrogatepass")


def _decoder(coding: str) -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder(coding)("surrogatepass")


def _narrow(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _fits(start: bytes, mark: bytes, zero: int) -> bool:
    """Whether the bytes begin with the mark and then ASCII, as far as there are bytes."""
    rest = start[len(mark) :]
    in_ascii = not any(rest[zero::2]) and _ASCII.issuperset(rest[1 - zero :: 2])
    return start[: len(mark)] == mark[: len(start)] and in_ascii
