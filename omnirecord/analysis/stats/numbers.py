"""Counts, rates, percentiles, gaps and usage. Where nothing was counted, the result is None, not 0."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import quantiles
from typing import Any

from ...model import LIMIT, TimedFrame
from ...omnigent import protocol
from ..turns import Turn, TurnUsage
from ..turns.lenient import as_dict, as_int, as_number, payload
from .values import Gaps, Spread, UsageStats

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
    """Count and percentiles of the known durations; None without any. `unit`: ns per unit of the result."""
    ordered = sorted(value for value in values_ns if value is not None)
    if not ordered:
        return None
    p50, p99 = percentiles(ordered)
    return Spread(len(ordered), *(round(value / unit, 9) for value in (p50, p99, ordered[-1])))


def count(value: int | None) -> int | None:
    """A number from an event; None if it cannot be a count."""
    return value if value is not None and 0 <= value < LIMIT else None


def cost(value: float | None) -> float | None:
    """A cost from an event, in USD; None if it cannot be one."""
    return float(value) if value is not None and 0 <= value < LIMIT else None


def total(values: Iterable[int | None]) -> int | None:
    """The sum of the known values; None without any."""
    found = [value for value in values if value is not None]
    return sum(found) if found else None


def per_second(count: int | None, ns: int | None) -> float | None:
    """A rate per second; None without a count or without a duration."""
    return round(count * NS / ns, 3) if count is not None and ns else None


Span = tuple[int, int]


def listened(spans: Iterable[Span]) -> list[Span]:
    """The time spans in which at least one stream was open: sorted and disjoint. `spans`: those of each stream."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def gaps_of(events: Sequence[TimedFrame], spans: Sequence[Span]) -> Gaps | None:
    """The gaps between consecutive events; None without any. Between two spans no client listened: that is no gap."""
    begins = [begin for begin, _ in spans]
    times = [event.offset_ns for event in events]
    lengths = [max(0, later - earlier) for earlier, later in pairwise(times)]
    places: Sequence[int] = range(len(lengths))  # of the event before
    if len(begins) > 1 and lengths:
        of = [bisect_right(begins, at) for at in times]
        places = [place for place in places if of[place] == of[place + 1]]
        lengths = [lengths[place] for place in places]
    if not lengths:
        return None
    p50, p99 = percentiles(sorted(lengths))
    length = max(lengths)
    first = places[lengths.index(length)]
    before, after = events[first], events[first + 1]
    return Gaps(
        len(lengths), round(p50 / NS, 9), round(p99 / NS, 9), length / NS,
        _place(before), type_of(before), _place(after), type_of(after),
    )  # fmt: skip


def type_of(event: TimedFrame) -> str:
    """The name under which an event is counted."""
    return "[DONE]" if event.verdict == "sentinel" else event.type or "(no type)"


def _place(event: TimedFrame) -> str:
    return f"{event.stream}:{event.seq}"


def usage_of(turns: Iterable[Turn]) -> tuple[UsageStats, ...]:
    """The usage of the recorded turns by model, in the order in which the models were first used."""
    by: dict[str | None, list[TurnUsage]] = defaultdict(list)
    for turn in turns:
        if turn.usage is not None:
            by[turn.model].append(turn.usage)
    return tuple(_added(model, usages) for model, usages in by.items())


def _added(model: str | None, usages: Sequence[TurnUsage]) -> UsageStats:
    costs = [one for one in (cost(usage.cost_usd) for usage in usages) if one is not None]
    return UsageStats(
        model, len(usages), total(count(usage.input_tokens) for usage in usages),
        total(count(usage.output_tokens) for usage in usages), total(count(usage.reasoning_tokens) for usage in usages),
        total(count(usage.total_tokens) for usage in usages), round(sum(costs), 9) if costs else None,
    )  # fmt: skip


def reported_usage(events: Sequence[TimedFrame]) -> tuple[UsageStats, ...]:
    """The usage by model in the last `session.usage`, which counts the whole session; empty without one."""
    last = next((event for event in reversed(events) if event.type == protocol.SESSION_USAGE), None)
    data = payload(last) if last is not None else {}
    models = as_dict(data.get("usage_by_model"))
    if models:
        return tuple(_reported(name, as_dict(usage)) for name, usage in models.items())
    return () if as_number(data.get("total_cost_usd")) is None else (_reported(None, data),)


def _reported(model: str | None, usage: dict[str, Any]) -> UsageStats:
    names = [f"{what}_tokens" for what in ("input", "output", "reasoning", "total")]
    tokens = {name: count(as_int(usage.get(name))) for name in names}
    return UsageStats(model=model, turns=None, **tokens, cost_usd=cost(as_number(usage.get("total_cost_usd"))))
