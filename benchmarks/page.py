"""`docs/performance.md` from what was measured: its tables between their marks, its pictures beside it."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from . import svg
from .curves import CURVES
from .errors import Unusable
from .machine import sentence
from .measure import Benchmark, Row
from .table import markdown, number, spread

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
FOLDER = PAGE.parent / "performance"
ALL = "figures.md"
NAMED = ("benchmark", "metric", "name", "beside")
"""What a figure is known by; where there are several, the last one counts."""


def write(lines: Iterable[str], titles: dict[str, str], page: Path = PAGE, folder: Path = FOLDER) -> list[Path]:
    """Put what commands printed with `--json` into the page; return what was written. Raises `Unusable`."""
    objects = [json.loads(line) for line in lines if line.strip()]
    latest = {tuple(one.get(key) for key in NAMED): _row(one) for one in objects if "metric" in one}
    rows = sorted(latest.values(), key=lambda row: [*titles].index(row.benchmark))
    folder.mkdir(exist_ok=True)
    written = []
    if rows:
        about = next(one for one in objects if "machine" in one)
        told = f"{sentence(about['machine'])}. {about['rounds']} rounds of {about['seconds']:g} s."
        told += _doubts(about)
        faults = [f"- not counted: {one['benchmark']}, {one['fault']}" for one in objects if "fault" in one]
        text = page.read_text()
        page.write_text(marked(text, "goals", [told, "", *goals(rows)]))
        (folder / ALL).write_text("\n".join(["# All figures", "", told, "", *markdown(rows, titles), *faults, ""]))
        written += [page, folder / ALL]
    return [*written, *pictures(objects, folder)]


def _doubts(about: dict[str, Any]) -> str:
    """What speaks against quoting these figures, as sentences."""
    few = " These rounds are too few or too short to quote: they only show where to look."
    busy = f" Other programs ran (load {about['machine']['load']}): they slow both sides of a ratio."
    return (few if about["rounds"] < 5 or about["seconds"] < 10 else "") + (
        busy if about["machine"]["load"] > 1 else ""
    )


def goals(rows: Iterable[Row]) -> Iterator[str]:
    """A line for each goal, in Markdown."""
    yield "| | goal | measured (min … max) | |"
    yield "|---|---|---|---|"
    for (benchmark, metric, goal, beside), group in groupby(
        (row for row in rows if row.goal), key=attrgetter("benchmark", "metric", "goal", "beside")
    ):
        found = list(group)
        missed = [_short(row) for row in found if not row.met]
        told = "; ".join(f"{_short(row)} {_middle(row)}" for row in found)
        met = "met" if not missed else "**not met**" + (f" on {missed[0]}" if len(missed) < len(found) else "")
        yield f"| {benchmark}: {metric} | {goal}{f' of {beside}' if beside else ''} | {told} | {met} |"


def _short(row: Row) -> str:
    return row.name.removeprefix("omnirecord ")


def _middle(row: Row) -> str:
    unit = "" if row.ratios or row.unit == row.metric else f" {row.unit}"
    middle = row.median if row.ratio is None else row.ratio
    return f"{number(middle)}{unit} {spread(row.ratios or row.values)}".strip()


def marked(text: str, name: str, lines: Iterable[str]) -> str:
    """The text with other lines between its two marks of that name."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise Unusable(f"there are no marks for {name} in the page: <!-- {name} --> and <!-- end of {name} -->")
    return pattern.sub(lambda found: found[1] + "\n".join(lines) + "\n" + found[2], text)


def pictures(objects: Iterable[dict[str, Any]], folder: Path) -> Iterator[Path]:
    found: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for one in objects:
        if "curve" in one:
            found[one["curve"]][one["line"]].append((one["x"], one["y"]))
    for curve in CURVES:
        if curve.name in found:
            path = folder / f"{curve.name}.svg"
            path.write_text(svg.chart(curve.title, curve.x, curve.y, found[curve.name]))
            yield path


def _row(one: dict[str, Any]) -> Row:
    return Row(
        one["benchmark"],
        one["metric"],
        one["unit"],
        one["name"],
        one["rounds"],
        one.get("beside"),
        one.get("ratios", []),
        one["goal"] or "",
        one["met"],
    )


def titles(benchmarks: Iterable[Benchmark]) -> dict[str, str]:
    return {one.name: one.what for one in benchmarks}
