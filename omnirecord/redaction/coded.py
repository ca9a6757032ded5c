"""Redacts bodies and streams with a content coding. No I/O.

A stream is stored without its content coding, since coded bytes cannot be masked; undecodable content is not stored.
A body with a secret is redacted and compressed again in the same coding, so that its headers stay true; any other body
is stored byte for byte. A compressed body is held until its end, since any byte may belong to a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..model import Headers
from ..wire.content_coding import LIMIT, CodingError, Decoder, _content, are_known, codings_of, decoder, encoded
from ..wire.headers import header, without
from ..wire.limits import max_decoded, shown_size
from .content import MaskedPart
from .redactor import Redactor, StreamMask
from .utf16 import BodyFilter

READ_LIMIT = 32 << 20
"""Most decoded bytes of one read of a coded stream, which is masked as a whole."""
_NO_DATA = re.compile(
    r"text/(?:css|javascript|ecmascript)|application/(?:x-)?(?:javascript|ecmascript)"
    r"|application/(?:wasm|font-.+|x-font-.+|vnd\.ms-fontobject)|(?:image|font|audio|video)/.+"
)


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
        self.headers, self.problem = headers, None
        """The headers for storage; the reason if no content can be stored."""
        coding = header(headers, "content-encoding")
        self._decodes = (coding or "identity").strip().lower() != "identity"
        try:
            self._decoder = decoder(coding)
        except CodingError as error:
            self._decoder, self.problem = None, f"{error}, so its content is not stored"
        if self._decodes and self._decoder is not None:
            self.headers = uncoded(headers)

    @property
    def settled(self) -> int:
        """Number of bytes that will not be rewritten."""
        return self._mask.settled

    def goes_on(self, headers: Headers) -> MaskedStream:
        """Return the mask for the same stream in another file, from the next event on. Texts may continue there."""
        self._mask.begin_again()
        self.headers, self.problem = headers, None
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
            self._decoder, problem = None, f"{error}, so the rest is not stored"
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


def body(content_type: str | None, content_encoding: str | None, redactor: Redactor) -> BodyFilter:
    """Return a redactor for a body with these headers."""
    if not is_data(content_type):
        return _Untouched()
    codings = codings_of(content_encoding)
    if not codings or not are_known(codings):
        return redactor.body()
    return CodedBody(codings, redactor)


def is_data(content_type: str | None) -> bool:
    """Whether a body may hold a user's secret. Assets do not, although their syntax tables look like secrets."""
    return _NO_DATA.fullmatch((content_type or "").partition(";")[0].strip().lower()) is None


class _Untouched:
    def feed(self, data: bytes) -> bytes:
        return data

    def close(self) -> bytes:
        return b""


class CodedBody:
    """Redacts a body with content codings. `cut`: the body was too large and is stored in part."""

    def __init__(self, codings: list[str], redactor: Redactor) -> None:
        self._codings = codings
        self._redactor = redactor
        self._held = bytearray()
        self.cut = False

    def feed(self, data: bytes) -> bytes:
        room = LIMIT - len(self._held)
        self.cut = self.cut or len(data) > room
        self._held += data[:room]
        return b""

    def close(self) -> bytes:
        wire = bytes(self._held)
        content, whole = _content(wire, self._codings)
        safe = self._redactor.whole_body(content)
        self.cut = self.cut or len(content) == LIMIT
        if safe != content or self.cut:
            return encoded(safe, self._codings)
        return wire if whole else self._redactor.whole_body(wire)  # the body does not have its Content-Encoding
