"""What was measured, as a table: with rules on a terminal, plain otherwise, or in Markdown for the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter

from rich.console import Console
from rich.table import Table

from .measure import Row

HEAD = ("metric", "case", "median (min … max)", "compared with", "ratio (min … max)", "goal", "")


def number(value: float) -> str:
    """Three digits that say something."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def spread(values: list[float]) -> str:
    return f"({number(min(values))} … {number(max(values))})" if len(values) > 1 else ""


def cells(row: Row) -> tuple[str, ...]:
    unit = "" if row.unit in (row.metric, "1/s") else f" {row.unit}"
    ratio = f"{row.ratio:.2f} {spread(row.ratios)}" if row.ratio is not None else ""
    met = {None: "", True: "met", False: "not met"}[row.met]
    value = f"{number(row.median)}{unit} {spread(row.values)}"
    return row.metric, row.name, value.strip(), row.beside or "", ratio.strip(), row.goal, met


def show(rows: list[Row], titles: dict[str, str], console: Console) -> None:
    for name, group in groupby(rows, key=attrgetter("benchmark")):
        title = f"{name}: {titles[name]}"
        if not console.is_terminal:
            console.print(f"\n{title}", soft_wrap=True, markup=False)
            for line in plain([HEAD, *map(cells, group)]):
                console.print(line, soft_wrap=True, markup=False)
            continue
        table = Table(*HEAD, title=title, title_justify="left")
        for row in group:
            table.add_row(*cells(row))
        console.print(table)


def plain(lines: Iterable[tuple[str, ...]]) -> Iterator[str]:
    kept = list(lines)
    widths = [max(len(line[i]) for line in kept) for i in range(len(HEAD))]
    for line in kept:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def markdown(rows: Iterable[Row], titles: dict[str, str]) -> Iterator[str]:
    """A table for each benchmark: a line for each case of a metric, with its ratios."""
    for benchmark, group in groupby(rows, key=attrgetter("benchmark")):
        yield from (f"**{benchmark}**: {titles[benchmark]}", "")
        yield from ("| | median (min … max) | ratio (min … max) |", "|---|---|---|")
        for (metric, name), same in groupby(group, key=attrgetter("metric", "name")):
            first, *others = same
            compared = [row for row in (first, *others) if row.ratio is not None]
            ratios = "; ".join(f"{row.ratio:.2f} of {row.beside} {spread(row.ratios)}".strip() for row in compared)
            yield f"| {metric}: {name} | {cells(first)[2]} | {ratios} |".replace("|  |", "| |")
        yield ""
