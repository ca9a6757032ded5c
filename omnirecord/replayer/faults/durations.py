"""Lengths of time as they are written: `2s`, `500ms`, `1.5min`. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

LONGEST_NS = 24 * 3600 * 10**9
"""A day."""
TIME = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*(ms|s|min)(?!\S)", re.IGNORECASE)
_UNITS = {"min": 60 * 10**9, "s": 10**9, "ms": 10**6}


def time_ns(found: re.Match[str]) -> int | None:
    """What `TIME` found, in ns; None where that is nothing, or more than a day."""
    value = int(Decimal(found[1]) * _UNITS[found[2].lower()])
    return value if 0 < value <= LONGEST_NS else None


def time_text(value_ns: int) -> str:
    """In the largest unit in which it is a whole number, else in ms."""
    for unit, size in _UNITS.items():
        if value_ns % size == 0:
            return f"{value_ns // size}{unit}"
    return f"{(Decimal(value_ns) / 10**6).normalize():f}ms"
