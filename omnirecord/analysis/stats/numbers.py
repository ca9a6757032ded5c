"""Counting and dividing: where there is nothing to count, there is None, not 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import quantiles

from ...model import LIMIT
from .values import Spread

NS = 1_000_000_000


def seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / NS


def percentiles(ordered: Sequence[int]) -> tuple[float, float]:
    """The median and the 99th percentile of at least one number, interpolated: `statistics.quantiles`, `inclusive`."""
    if len(ordered) == 1:
        return ordered[0], ordered[0]
    cuts = quantiles(ordered, n=100, method="inclusive")
    return cuts[49], cuts[98]


def spread(values_ns: Iterable[int | None], unit: int = NS) -> Spread | None:
    """Of durations in ns, those that there are; `unit`: how many ns the result counts in."""
    ordered = sorted(value for value in values_ns if value is not None)
    if not ordered:
        return None
    p50, p99 = percentiles(ordered)
    return Spread(len(ordered), *(round(value / unit, 9) for value in (p50, p99, ordered[-1])))


def count(value: int | None) -> int | None:
    """A number that a server said, if it can be one that it counted: an event may hold any."""
    return value if value is not None and 0 <= value < LIMIT else None


def cost(value: float | None) -> float | None:
    """The same for money."""
    return float(value) if value is not None and 0 <= value < LIMIT else None


def total(values: Iterable[int | None]) -> int | None:
    """The sum of those that there are."""
    found = [value for value in values if value is not None]
    return sum(found) if found else None


def per_second(count: int | None, ns: int | None) -> float | None:
    """A rate; None where nothing was counted, or no time went by."""
    return round(count * NS / ns, 3) if count is not None and ns else None
