"""Removes secrets from a body in UTF-16.

Such a body begins with a byte order mark and an ASCII character, or with two ASCII characters. Its text passes the
redactor as UTF-8. Each 16-bit unit outside a secret stays unchanged, valid or not.
"""

from __future__ import annotations

from typing import Protocol

_ASCII = frozenset(b"\t\r\n") | frozenset(range(0x20, 0x7F))
_FORMS = (
    ("utf-16-le", b"", 1), ("utf-16-be", b"", 0), ("utf-16-le", b"\xff\xfe", 1), ("utf-16-be", b"\xfe\xff", 0),
)  # fmt: skip
"""Coding, byte order mark, and which byte of an ASCII character is zero."""
_ENOUGH = 4


class BodyFilter(Protocol):
    """A body in pieces: `feed` returns the bytes that can be written by now, `close` the rest."""

    def feed(self, data: bytes) -> bytes: ...

    def close(self) -> bytes: ...


def may_be_utf16(data: bytes) -> bool:
    """Whether a body may be in UTF-16, by its first bytes."""
    return b"\0" in data[:_ENOUGH]


class AnyWidth:
    """A body in UTF-8 or UTF-16 that passes `inner` as UTF-8."""

    def __init__(self, inner: BodyFilter) -> None:
        self._inner = inner
        self._coding: str | None = None
        self._begins = True
        self._wide = b""  # input not decoded yet: the beginning, half a unit, half a pair
        self._narrow = b""  # output not encoded yet: the beginning of a character

    def feed(self, data: bytes) -> bytes:
        if not self._begins and self._coding is None:
            return self._inner.feed(data)
        self._wide += data
        mark = self._begin(final=False) if self._begins else b""
        return mark if self._begins else mark + self._passed()

    def close(self) -> bytes:
        mark = self._begin(final=True) if self._begins else b""
        if self._coding is None:
            return self._inner.feed(self._wide) + self._inner.close()
        rest = self._wide[len(self._wide) // 2 * 2 :]
        wide = self._wide[: len(self._wide) - len(rest)]
        self._wide = b""
        safe = self._inner.feed(self._narrowed(wide)) + self._inner.close()
        return mark + self._widened(self._narrow + safe) + rest

    def _begin(self, *, final: bool) -> bytes:
        """Find the coding, if there are enough bytes; return the byte order mark."""
        start = self._wide[:_ENOUGH]
        fits = [(coding, mark) for coding, mark, zero in _FORMS if _fits(start, mark, zero)]
        if fits and len(start) < _ENOUGH and not final:
            return b""
        self._begins = False
        if not fits or len(start) < _ENOUGH:
            return b""
        self._coding, mark = fits[0]
        self._wide = self._wide[len(mark) :]
        return mark

    def _passed(self) -> bytes:
        wide = self._wide
        if self._coding is None:
            self._wide = b""
            return self._inner.feed(wide)
        size = len(wide) // 2 * 2
        if size and 0xD8 <= wide[size - (1 if self._coding == "utf-16-le" else 2)] <= 0xDB:
            size -= 2  # half a pair
        self._wide = wide[size:]
        safe = self._narrow + self._inner.feed(self._narrowed(wide[:size]))
        whole = len(safe) - _cut_off(safe)
        self._narrow = safe[whole:]
        return self._widened(safe[:whole])

    def _narrowed(self, wide: bytes) -> bytes:
        return wide.decode(self._coding or "", "surrogatepass").encode("utf-8", "surrogatepass")

    def _widened(self, narrow: bytes) -> bytes:
        return narrow.decode("utf-8", "surrogatepass").encode(self._coding or "", "surrogatepass")


def _fits(start: bytes, mark: bytes, zero: int) -> bool:
    """Whether the bytes begin with the mark and then ASCII, as far as there are bytes."""
    rest = enumerate(start[len(mark) :])
    return start[: len(mark)] == mark[: len(start)] and all(
        byte == 0 if n % 2 == zero else byte in _ASCII for n, byte in rest
    )


def _cut_off(data: bytes) -> int:
    """The number of bytes at the end of `data` that begin an incomplete character."""
    for size in (1, 2, 3):
        first = data[-size] if len(data) >= size else 0
        if first >= 0xC0:
            return size if size < (2 if first < 0xE0 else 3 if first < 0xF0 else 4) else 0
        if first < 0x80:
            return 0
    return 0
