"""JSON's escapes undone and done again, so that a secret is seen through them and they are never torn.

A text as it stands between quotes (`raw`) becomes one byte a character. What is masked in it becomes `*` again in
`raw`: same length, and an escape stays one (`\\u0041` becomes `\\u002a`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .fields import Span

_ESCAPE = re.compile(rb'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_CUT = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_UNIT = re.compile(rb'\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]|.', re.DOTALL)
_MEANS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_BEYOND = b"\x80"
_LONGEST = 6


def undone(raw: bytes) -> bytes:
    """One byte for each byte or escape of `raw`."""
    return _ESCAPE.sub(_meaning, raw) if b"\\" in raw else raw


def _meaning(escape: re.Match[bytes]) -> bytes:
    if escape[1] is None:
        return _MEANS.get(escape[2], escape[2])
    code = int(escape[1], 16)
    return bytes([code]) if code < 0x80 else _BEYOND


def masked(raw: bytes, spans: Sequence[Span]) -> bytes:
    """`raw` with these characters of `undone(raw)` masked; spans may overlap."""
    if not spans or b"\\" not in raw:
        return in_place(raw, spans)
    hidden = {n: span.mark for span in spans for n in range(span.start, span.end)}
    units = (unit[0] for unit in _UNIT.finditer(raw))
    return b"".join(_mask(unit, hidden[n]) if n in hidden else unit for n, unit in enumerate(units))


def in_place(raw: bytes, spans: Sequence[Span]) -> bytes:
    """`raw` with these of its bytes masked."""
    if not spans:
        return raw
    out = bytearray(raw)
    for span in spans:
        out[span.start : span.end] = span.mark * (span.end - span.start)
    return bytes(out)


def _mask(unit: bytes, mark: bytes) -> bytes:
    if unit.startswith(b"\\u"):
        return b"\\u00%02x" % mark[0]
    return unit if len(unit) > 1 else mark


def cut_off(raw: bytes) -> int:
    """How many bytes at the end of `raw` are the beginning of an escape."""
    found = _CUT.search(raw, max(0, len(raw) - _LONGEST))
    if found is None:
        return 0
    before = raw[: found.start()]
    is_escaped = (len(before) - len(before.rstrip(b"\\"))) % 2
    return 0 if is_escaped else len(found[0])
