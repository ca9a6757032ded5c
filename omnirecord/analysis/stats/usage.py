"""Tokens and cost by model: as the turns that were recorded have it, and as the server counts for the whole session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from ...model import TimedFrame
from ..turns import Turn, TurnUsage
from ..turns.lenient import as_dict, as_int, as_number, payload
from .numbers import cost, count, total
from .values import UsageStats


def usage_of(turns: Iterable[Turn]) -> tuple[UsageStats, ...]:
    """Of the turns whose end told it, in the order in which the models were first used."""
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
    """What the last `session.usage` says; nothing where there is none."""
    last = next((event for event in reversed(events) if event.type == "session.usage"), None)
    data = payload(last) if last is not None else {}
    models = as_dict(data.get("usage_by_model"))
    if models:
        return tuple(_reported(name, as_dict(usage)) for name, usage in models.items())
    return () if as_number(data.get("total_cost_usd")) is None else (_reported(None, data),)


def _reported(model: str | None, usage: dict[str, Any]) -> UsageStats:
    names = [f"{what}_tokens" for what in ("input", "output", "reasoning", "total")]
    tokens = {name: count(as_int(usage.get(name))) for name in names}
    return UsageStats(model=model, turns=None, **tokens, cost_usd=cost(as_number(usage.get("total_cost_usd"))))
