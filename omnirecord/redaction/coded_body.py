"""A body that is no stream on its way to the file: secrets out of what is data, under a content coding too.

How what is kept differs from the wire: a body with a secret in it is redacted; if it was compressed, it is compressed
anew in the same coding, so that its headers stay true. All else is kept byte for byte. A compressed body is held until
it ends, since a secret may be in any of its bytes. No I/O.
"""

from __future__ import annotations

import re
from typing import Protocol

from ..wire.content_coding import LIMIT, _content, are_known, codings_of, encoded
from .redactor import Redactor

_NO_DATA = re.compile(
    r"text/(?:css|javascript|ecmascript)|application/(?:x-)?(?:javascript|ecmascript)"
    r"|application/(?:wasm|font-.+|x-font-.+|vnd\.ms-fontobject)|(?:image|font|audio|video)/.+"
)


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
