"""A stream whose content is masked on its way to the file: without its content coding, since nothing can be masked in
that. What cannot be decoded is not kept. No I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from ..model import Headers
from ..wire.content_coding import LIMIT, CodingError, Decoder, _content, are_known, codings_of, decoder, encoded
from ..wire.headers import header, without
from ..wire.limits import max_decoded, shown_size
from .content import MaskedPart
from .redactor import Redactor, StreamMask

READ_LIMIT = 32 << 20
"""What one read of a coded stream may decode to, in bytes: it is masked as a whole."""
_NO_DATA = re.compile(
    r"text/(?:css|javascript|ecmascript)|application/(?:x-)?(?:javascript|ecmascript)"
    r"|application/(?:wasm|font-.+|x-font-.+|vnd\.ms-fontobject)|(?:image|font|audio|video)/.+"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one read: how many bytes it comes to, those that were not lost, and what went wrong."""

    size: int
    pieces: list[MaskedPart]
    problem: str | None = None


class MaskedStream:
    """One stream on its way. `headers`: those of its response."""

    def __init__(self, mask: StreamMask, headers: Headers) -> None:
        self._mask = mask
        self._size = 0  # of its content
        self._decoder: Decoder | None
        self.headers, self.problem = headers, None
        """As they are kept; and why nothing of it can be, if that is so."""
        coding = header(headers, "content-encoding")
        self._decodes = (coding or "identity").strip().lower() != "identity"
        try:
            self._decoder = decoder(coding)
        except CodingError as error:
            self._decoder, self.problem = None, f"{error}, so its content is not kept"
        if self._decodes and self._decoder is not None:
            self.headers = uncoded(headers)

    @property
    def settled(self) -> int:
        """How many bytes will not be written again."""
        return self._mask.settled

    def goes_on(self, headers: Headers) -> MaskedStream:
        """The same stream from its next event on, in another file. What it masks goes on: a text may be cut in two."""
        self._mask.begin_again()
        self.headers, self.problem = headers, None
        return self

    def take(self, data: bytes | None, size: int) -> Kept:
        """The next read: `size` bytes; `data` is None where they could not be held."""
        if data is None or self._decoder is None:
            if self._decodes:
                self._decoder = None  # what follows cannot be decoded either
            self._mask.lose(size)
            return Kept(size, [])
        content = bytearray()
        problem = None
        try:
            for piece in self._decoder.decode(data):
                content += piece
                self._refuse_bomb(len(content))
        except CodingError as error:
            self._decoder, problem = None, f"{error}, so what follows is not kept"
        self._size += len(content)
        return Kept(len(content), self._mask.feed(bytes(content)) if content else [], problem)

    def _refuse_bomb(self, size: int) -> None:
        """Raise `CodingError` where a read, of which `size` bytes are decoded, brings more than can be masked."""
        if not self._decodes:
            return
        if self._size + size > max_decoded():
            raise CodingError(f"it decodes to more than {shown_size(max_decoded())} (--max-decoded)")
        if size > READ_LIMIT:
            raise CodingError(f"a read of it decodes to more than {shown_size(READ_LIMIT)}")


def uncoded(headers: Headers) -> Headers:
    """The headers of the same body without its content coding."""
    return without(headers, {"content-encoding", "content-length"})


class Body(Protocol):
    """`feed` returns what can be written by now, `close` the rest."""

    def feed(self, data: bytes) -> bytes: ...

    def close(self) -> bytes: ...


def body(content_type: str | None, content_encoding: str | None, redactor: Redactor) -> Body:
    """What takes a body with these headers."""
    if not is_data(content_type):
        return _Untouched()
    codings = codings_of(content_encoding)
    if not codings or not are_known(codings):
        return redactor.body()
    return CodedBody(codings, redactor)


def is_data(content_type: str | None) -> bool:
    """Whether a body may hold somebody's secret: assets do not, and their syntax tables look as if they did."""
    return _NO_DATA.fullmatch((content_type or "").partition(";")[0].strip().lower()) is None


class _Untouched:
    def feed(self, data: bytes) -> bytes:
        return data

    def close(self) -> bytes:
        return b""


class CodedBody:
    """A body with content codings. `cut`: it was too large to be kept whole."""

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
        safe = self._safe(content)
        self.cut = self.cut or len(content) == LIMIT
        if safe != content or self.cut:
            return encoded(safe, self._codings)
        return wire if whole else self._safe(wire)  # which is not what its Content-Encoding says

    def _safe(self, data: bytes) -> bytes:
        redactor = self._redactor.body()
        return redactor.feed(data) + redactor.close()
