"""A table that fits a terminal: wide columns are cut first, then columns are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ..text import clip, visible

Paint = Callable[[int, str, str], str]
"""Makes of a row's number, a column and its padded text what is printed."""


def fitted_table(
    rows: Sequence[Mapping[str, str]],
    columns: Sequence[str],
    width: int,
    *,
    least: Mapping[str, int],
    left_out: Sequence[str] = (),
    paint: Paint = lambda _row, _column, text: text,
) -> Iterator[str]:
    """Rows as aligned text with a head, in lines of at most `width`; control characters shown as escapes.

    `least`: columns that may be cut, each down to so many characters. `left_out`: columns that go where that is not
    enough, the first one first.
    """
    cells = [{column: visible(row[column]) for column in columns} for row in rows]
    widths = {column: max([len(column), *(len(row[column]) for row in cells)]) for column in columns}
    for gone in (None, *left_out):
        widths.pop(gone or "", None)
        fitting = _fitting(widths, width, least)
        if sum(fitting.values()) + 2 * (len(fitting) - 1) <= width:
            break
    heads = {column: column for column in columns}
    for number, row in enumerate([heads, *cells], -1):
        parts = (clip(row[column], size).ljust(size) for column, size in fitting.items())
        texts = [*parts]
        texts[-1] = texts[-1].rstrip()
        yield "  ".join(paint(number, column, text) for column, text in zip(fitting, texts, strict=True)).rstrip()


def _fitting(widths: Mapping[str, int], width: int, least: Mapping[str, int]) -> dict[str, int]:
    """The widths, those of `least` made smaller, the widest one first, as far as that is needed and allowed."""
    fitting = dict(widths)
    excess = sum(fitting.values()) + 2 * (len(fitting) - 1) - width
    while excess > 0:
        shrinkable = [column for column in fitting if fitting[column] > least.get(column, fitting[column])]
        if not shrinkable:
            break
        widest = max(shrinkable, key=fitting.__getitem__)
        fitting[widest] -= 1
        excess -= 1
    return fitting
