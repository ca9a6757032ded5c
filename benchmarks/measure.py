"""Rounds: everybody once in each, in an order that turns, so that what the machine does meanwhile falls on all alike.

A figure is the median over the rounds with its spread. A ratio is taken within each round, and its median given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Settings:
    """`seconds` that each run should take; `folder` for what is recorded; `pinned`: server on CPU 0, load on 1."""

    seconds: float
    folder: Path
    pinned: bool = False


@dataclass(frozen=True)
class Metric:
    """What is told of each run. `goal`: what its ratio to the reference (or where `absolute`, it itself) should be, in
    the median, or where it is `promised`, in every round."""

    name: str
    unit: str
    most: float | None = None
    least: float | None = None
    absolute: bool = False
    promised: bool = False

    @property
    def goal(self) -> str:
        if self.most is None and self.least is None:
            return ""
        bound = f"≥ {self.least:g}" if self.most is None else f"≤ {self.most:g}"
        return f"{bound} {self.unit}" if self.absolute else bound

    def is_met(self, values: list[float]) -> bool | None:
        if not values or (self.most is None and self.least is None):
            return None
        value = max(values) if self.promised else median(values)
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


@dataclass(frozen=True)
class Contender:
    """Somebody who does the work: `run` returns figures, by the names of metrics; what was not whole is in `faults`.

    `beside`: the names of those that its figures are divided by.
    """

    name: str
    run: Callable[[list[str]], Figures]
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    name: str
    what: str
    metrics: tuple[Metric, ...]
    contenders: Callable[[Settings], list[Contender]]


@dataclass
class Row:
    """One metric of one contender, beside another or alone."""

    benchmark: str
    metric: str
    unit: str
    name: str
    values: list[float]
    beside: str | None
    ratios: list[float]
    goal: str
    met: bool | None

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.ratios else None

    def as_json(self) -> dict[str, object]:
        spread = {"median": self.median, "min": min(self.values), "max": max(self.values), "rounds": self.values}
        beside = {"beside": self.beside, "ratio": self.ratio, "ratios": self.ratios} if self.beside else {}
        return {
            "benchmark": self.benchmark,
            "metric": self.metric,
            "unit": self.unit,
            "name": self.name,
            **spread,
            **beside,
            "goal": self.goal or None,
            "met": self.met,
        }


@dataclass
class Outcome:
    """All that was measured: figures by contender and round; and what was not whole, in sentences."""

    benchmark: Benchmark
    contenders: list[Contender]
    figures: dict[str, dict[int, Figures]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        for metric in self.benchmark.metrics:
            for contender in self.contenders:
                mine = self._values(contender.name, metric.name)
                if mine:
                    yield from self._rows(metric, contender, mine)

    def _rows(self, metric: Metric, contender: Contender, mine: dict[int, float]) -> Iterator[Row]:
        values = [*mine.values()]
        described = self.benchmark.name, metric.name, metric.unit, contender.name, values
        is_ours = "omnirecord" in contender.name
        others = [] if metric.absolute else [(one, self._values(one, metric.name)) for one in contender.beside]
        others = [(other, found) for other, found in others if mine.keys() & found.keys()]
        if not others:
            judged = is_ours and metric.absolute
            met = metric.is_met(values) if judged else None
            yield Row(*described, None, [], metric.goal if judged else "", met)
        for place, (other, its) in enumerate(others):
            ratios = [value / its[number] for number, value in mine.items() if its.get(number)]
            judged = is_ours and place == 0
            met = metric.is_met(ratios) if judged else None
            yield Row(*described, other, ratios, metric.goal if judged else "", met)

    def _values(self, name: str, metric: str) -> dict[int, float]:
        """By round."""
        rounds = self.figures.get(name, {}).items()
        return {number: found[metric] for number, found in rounds if metric in found}


def measure(outcome: Outcome, rounds: int, tell: Callable[[int, str], None]) -> None:
    """Fill the outcome, round by round; whoever interrupts has what was measured till then."""
    contenders = outcome.contenders
    for number in range(rounds):
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            tell(number, contender.name)
            faults: list[str] = []
            found = contender.run(faults)
            outcome.faults += [f"round {number + 1}, {contender.name}: {fault}" for fault in faults]
            if not faults:
                outcome.figures.setdefault(contender.name, {})[number] = found
