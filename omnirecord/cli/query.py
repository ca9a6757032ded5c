"""`query`: SQL over a cassette."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..text import clip, dumps, visible
from .arguments import cassette_argument, shown, stdin_text
from .common import fitted_table, is_terminal, options, output_options, print_lines, print_rows, terminal_width
from .stderr import busy

if TYPE_CHECKING:
    from ..cassette.sql import Result

_CELL = 200
"""Longest cell of a table, in characters, unless the terminal is narrower."""
_LEAST = 8
"""Shortest width of a cut column."""
_PORTION = 1000
"""Rows of a table that are read before they are printed; the widths of the columns fit them."""


sql_options = options(
    click.argument("sql", required=False),
    click.option(
        "--format",
        "form",
        type=click.Choice(["table", "json", "csv", "tsv"]),
        help="Output format (default: table). json prints one object per row, like --json.",
    ),
    click.option(
        "-p",
        "--param",
        "params",
        type=(str, str),
        multiple=True,
        metavar="NAME VALUE",
        help="Value of the parameter :NAME in the SQL. VALUE is a number if it looks like one, else text. Repeatable.",
    ),
)
"""The argument SQL and the options of a command that runs it."""


@click.command()
@cassette_argument
@sql_options
@output_options
def query(
    cassette: Path, sql: str | None, form: str | None, params: tuple[tuple[str, str], ...], as_json: bool
) -> None:
    """Run one SQL statement over a cassette, read-only, and print the resulting rows.

    Without SQL, list the tables and views with their columns. Use "-" to read the SQL from standard input. The command
    computes these tables only if the SQL names them: sessions, turns, tools, approvals, model_calls, findings.

    \b
    Examples:
      omnirecord query session.db
      omnirecord query session.db "SELECT type, count(*) FROM events GROUP BY type"
      omnirecord query session.db "SELECT * FROM turns WHERE turn = :n" -p n 1 --json
    """
    from ..analysis.query import ABOUT, pending, query_of
    from ..cassette.open import judged_now, open_store

    form = form_of(form, as_json)
    text = stdin_text("SQL") if sql == "-" else sql
    values = values_of(params)
    with busy(f"opening {shown(cassette)}"):
        store = open_store(cassette)
        judged = judged_now(store)
    with closing(store), closing(judged), closing(query_of(judged)) as made:
        if text is None:
            print_names(made.names, ABOUT, form, _REST)
            return
        result = print_result(lambda: made.run(text, values), form)
        if size := pending(made, result):
            click.echo(f"{size:,} received bytes are in no event yet: `omnirecord events` decodes them", err=True)


def form_of(form: str | None, as_json: bool) -> str:
    """The output format that two options name. Raises `UsageError` if they name two."""
    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} are two formats: give one")
    return "json" if as_json else form or "table"


def values_of(params: Iterable[tuple[str, str]]) -> dict[str, str | int | float]:
    return {name.lstrip(":@$"): _value(value) for name, value in params}


def _value(text: str) -> str | int | float:
    """A number if the text is exactly how that number is written, else the text."""
    if re.fullmatch(r"-?\d+", text) and str(int(text)) == text and abs(int(text)) < 2**63:
        return int(text)
    if re.fullmatch(r"-?\d+\.\d+", text) and str(float(text)) == text:
        return float(text)
    return text


def print_result(run: Callable[[], Result], form: str) -> Result:
    """Run a query, print its rows as they come, and say on stderr if there are none. Returns the result."""
    with busy("running the query"):
        result = run()
        first = list(islice(result.rows, _PORTION if form == "table" else 1))
    rows: Iterator[tuple[Any, ...]] = chain(first, result.rows)
    if form == "json":
        print_rows(dict(zip(result.columns, map(_json, row), strict=True)) for row in rows)
    elif form == "table":
        _print_table(rows, [visible(name) for name in result.columns])
    else:
        _print_csv(result.columns, rows, form)
    if not first:
        click.echo("no row matches", err=True)
    return result


def _json(value: Any) -> Any:
    """A value in JSON; bytes as in a `.jsonl` cassette."""
    from ..wire.json_bytes import bytes_to_json

    return bytes_to_json(value) if isinstance(value, bytes) else value


def _text(value: Any) -> str:
    """A value in a table or in CSV: lists and maps as JSON, bytes that are no UTF-8 as a literal of SQL."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"x'{value.hex()}'"
    return dumps(value) if isinstance(value, dict | list) else str(value)


def _cell(value: Any) -> str:
    """A value in a table, of at most `_CELL` characters."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else str(value)
    return clip(visible(_text(value)[: _CELL + 1]), _CELL)


def _print_table(rows: Iterator[tuple[Any, ...]], heads: Sequence[str]) -> None:
    """The rows in portions, as wide as the terminal; stderr names the columns that have no room."""
    cells = (dict(zip(heads, map(_cell, row), strict=True)) for row in rows)
    portion = list(islice(cells, _PORTION))
    if not portion:
        return
    width = terminal_width(sys.maxsize)
    least = {name: min(_LEAST, max(len(name), *(len(row[name]) for row in portion))) for name in heads}
    kept = list(heads)
    while len(kept) > 1 and sum(least[name] + 2 for name in kept) - 2 > width:
        kept.pop()
    lines = fitted_table(portion, kept, width, least=least)
    while portion:
        print_lines(lines)
        portion = list(islice(cells, _PORTION))
        lines = islice(fitted_table(portion, kept, width, least=least), 1, None)  # without the head
    if gone := heads[len(kept) :]:
        click.echo(f"no room for {len(gone)} columns: {', '.join(gone)} (--format json prints them)", err=True)


def _print_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str) -> None:
    write = csv.writer(sys.stdout, delimiter="," if form == "csv" else "\t", lineterminator="\n").writerow
    harmless = visible if is_terminal(sys.stdout) else str
    for row in chain([columns], rows):
        write([harmless(_text(value)) for value in row])


_REST = "Tables of the file, with times in ns (docs/cassette-format.md):"


def print_names(names: Mapping[str, Sequence[str]], about: Mapping[str, str], form: str, rest: str = "") -> None:
    """Print the tables and views, what each holds, and its columns. `rest`: the title of those not in `about`."""
    told: list[dict[str, Any]] = [
        {"name": name, "about": about.get(name), "columns": list(columns)} for name, columns in names.items()
    ]
    if form == "json":
        print_rows(told)
    elif form == "table":
        print_lines(_names_lines(told, rest))
    else:
        pairs = ((one["name"], column) for one in told for column in one["columns"])
        _print_csv(("name", "column"), pairs, form)


def _names_lines(told: Sequence[Mapping[str, Any]], rest: str) -> Iterator[str]:
    """First what is made for people, then the other tables."""
    from ..analysis.transcript.sentences import wrap

    width = terminal_width(100)
    others = [one for one in told if one["about"] is None]
    for one in told:
        if one["about"] is not None:
            yield from wrap(f"{one['name']}: {one['about']}", width, "", "")
            yield from wrap(", ".join(one["columns"]), width, "    ", "    ")
    if others:
        yield ""
        yield from wrap(rest, width, "", "")
    for one in others:
        yield from wrap(f"{one['name']}: {', '.join(one['columns'])}", width, "    ", "        ")
