"""A curve as a picture: both axes logarithmic, so that what costs in proportion is a straight line up by one in one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import cycle

WIDTH, HEIGHT = 660, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 170, 40, 50
COLOURS = (
    "#0969da",
    "#bc4c00",
    "#1a7f37",
    "#cf222e",
    "#8250df",
    "#57606a",
    "#bf3989",
    "#0a7ea4",
    "#9a6700",
    "#24292f",
)

Points = Sequence[tuple[float, float]]


def chart(title: str, x_name: str, y_name: str, series: Mapping[str, Points]) -> str:
    """An SVG document. `series`: points of each line, by its name; all numbers above zero."""
    xs, ys = zip(*(point for points in series.values() for point in points), strict=True)
    across, up = _scale(xs, LEFT, WIDTH - RIGHT), _scale(ys, HEIGHT - BOTTOM, TOP)
    parts = [*_frame(title, x_name, y_name), *_grid(across, up), *_lines(series, across, up)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    return "\n".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>", ""])


def stacked(charts: Sequence[str]) -> str:
    """Return one SVG document with several charts below each other."""
    height = HEIGHT * len(charts)
    parts = [
        one.replace("<svg ", f'<svg y="{HEIGHT * place}" height="{HEIGHT}" ', 1) for place, one in enumerate(charts)
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
    white = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, white, *parts, "</svg>", ""])


class _scale:  # noqa: N801  # a function with two numbers in it
    """From a value to a place between `begin` and `end`; whole powers of ten are what it begins and ends with."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self.least = math.floor(math.log10(min(values)))
        self.most = max(self.least + 1, math.ceil(math.log10(max(values)) - 1e-9))
        self._begin, self._end = begin, end

    def __call__(self, value: float) -> float:
        part = (math.log10(value) - self.least) / (self.most - self.least)
        return round(self._begin + part * (self._end - self._begin), 1)

    @property
    def marks(self) -> list[float]:
        return [10.0**power for power in range(self.least, self.most + 1)]


def _frame(title: str, x_name: str, y_name: str) -> Iterator[str]:
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    yield _text(14, 20, title, size=13)
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_name, anchor="middle")
    beside = f"translate(14 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"
    yield f'<g transform="{beside}">{_text(0, 0, y_name, anchor="middle")}</g>'


def _grid(across: _scale, up: _scale) -> Iterator[str]:
    line = '<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="#d0d7de"/>'
    for x in across.marks:
        yield line.format(across(x), TOP, across(x), HEIGHT - BOTTOM)
        yield _text(across(x), HEIGHT - BOTTOM + 18, _short(x), anchor="middle")
    for y in up.marks:
        yield line.format(LEFT, up(y), WIDTH - RIGHT, up(y))
        yield _text(LEFT - 6, up(y) + 4, _short(y), anchor="end")


def _lines(series: Mapping[str, Points], across: _scale, up: _scale) -> Iterator[str]:
    colours = dict(zip(series, cycle(COLOURS), strict=False))  # by the order given: the same in each picture
    below = 0.0
    for name, points in sorted(series.items(), key=lambda one: one[1][-1][1], reverse=True):
        colour = colours[name]
        where = " ".join(f"{across(x)},{up(y)}" for x, y in points)
        yield f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{across(x)}" cy="{up(y)}" r="3" fill="{colour}"/>' for x, y in points)
        y = max(below, up(points[-1][1]) + 4)  # names that would lie on each other stand below each other
        below = y + 14
        yield _text(WIDTH - RIGHT + 8, y, name, colour=colour)


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#1f2328", size: int = 12) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(text)}</text>'


def _short(value: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g} {name}"
    return f"{value:g}"
