"""Shared by the commands: JSON rows, tables, common options."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from ..providers.register import REGISTER
from ..text import clip, visible
from .arguments import F

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

T = TypeVar("T")
_TOGETHER = 200
"""Lines that are printed in one call, at most."""


def console(*, stderr: bool = False) -> Console:
    """A rich console. A terminal that claims 0 columns gets the default width."""
    from rich.console import Console

    width = shutil.get_terminal_size().columns if os.environ.get("COLUMNS") == "0" else None
    return Console(stderr=stderr, highlight=False, width=width)


def options(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """A decorator that adds several arguments and options, in their order."""
    return lambda function: functools.reduce(lambda made, option: option(made), reversed(options), function)


def _set_max_decoded(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
    from ..wire.limits import MAX_DECODED, max_decoded

    max_decoded(MAX_DECODED if value is None else value)


def moment_options(what: str) -> Callable[[F], F]:
    """The options `--since` and `--until` of a command that prints events. `what`: what it prints."""
    return options(
        click.option(
            "--since",
            metavar="T",
            help=f"Only {what} from T on. T is in seconds from the session's start, a time of day in UTC such as"
            " 14:03:00, or a time in ISO 8601.",
        ),
        click.option("--until", metavar="T", help=f"Only {what} up to T."),
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Print only JSON on stdout, one object per line.")
decoded_option = click.option(
    "--max-decoded",
    metavar="SIZE",
    expose_value=False,
    callback=_set_max_decoded,
    help="Limit for decompression: the total size of the events of one stream, such as 4GB (default: 1GiB). Events"
    " above the limit are not decoded. An event counts as its size plus 512 bytes.",
)

output_options = options(decoded_option, json_option)
"""The options of a command that reads a cassette."""


def contract_option(of: str, **more: Any) -> Callable[[F], F]:
    """The option `--contract`. `of`: whose contract is the default."""
    return click.option(
        "--contract",
        metavar="NAME|FILE",
        help=f"Contract: omnigent, documented, {', '.join(REGISTER)}, auto, none, or a file"
        f" (an openapi.json of any version, or a JSON Schema). Default: the contract of {of}.",
        **more,
    )


def _read_with(context: click.Context, _option: click.Parameter, value: str | None) -> None:
    if value is not None:
        from ..cassette.contracts import reading_with

        context.with_resource(reading_with(value))


reading_contract_option = contract_option("the recording", expose_value=False, callback=_read_with)
"""`--contract` of a command that reads recordings as if they were recorded with this contract."""


def label_option(text: str) -> Callable[[F], F]:
    """The option `--label`. `text`: its help."""
    return click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help=text)


def since_option(which: str) -> Callable[[F], F]:
    """The option `--since`, whose value `time_of` reads. `which`: what it chooses, such as `sessions that …`."""
    text = f"Only {which}: a time in ISO 8601, or a duration before now, such as 2h."
    return click.option("--since", metavar="T", help=text)


hits_option = click.option(
    "--limit",
    type=click.IntRange(1, sys.maxsize),
    default=20,
    show_default=True,
    metavar="N",
    help="Highest number of hits to show.",
)
"""`--limit` of a command that searches."""


def none_in(where: str, what: str, *, is_recorded: bool) -> str:
    """Return that a cassette has none of these, as words. `is_recorded`: whether a recorder writes it now."""
    return f"no {what} in {where}{' yet: point a client at the recorder, then look again' if is_recorded else ''}"


def time_of(since: str | None) -> datetime | None:
    """The time that `--since` names. Raises `UsageError`."""
    from ..wire.limits import since as time_before

    return None if since is None else time_before(since, datetime.now(UTC))


def pattern_option(text: str) -> Callable[[F], F]:
    """The option `--redact-pattern`. `text`: its help."""
    return click.option("--redact-pattern", "redact_patterns", multiple=True, metavar="PREFIX", help=text)


def print_rows(rows: Iterable[dict[str, Any]]) -> None:
    """Print one JSON object per line."""
    print_lines(map(json_line, rows))


def print_growing(rows: Iterable[dict[str, Any]]) -> None:
    """Print rows as JSON, each at once: the next one may take hours."""
    for row in rows:
        click.echo(json_line(row))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout, those of 0.1 s in one call: a call takes longer than most lines take to make."""
    waiting = list[str]()
    since = time.monotonic()
    try:
        for line in lines:
            waiting.append(line)
            if len(waiting) >= _TOGETHER or time.monotonic() - since > 0.1:
                click.echo("\n".join(waiting))
                waiting = []
                since = time.monotonic()
    finally:  # what was made before an error is printed too
        if waiting:
            click.echo("\n".join(waiting))


def print_found(as_json: bool, rows: Iterable[dict[str, Any]], lines: Iterable[str]) -> None:
    """Print rows as JSON, or the lines for a person."""
    print_lines(map(json_line, rows) if as_json else lines)


def json_line(row: dict[str, Any]) -> str:
    """A row as JSON, control characters as JSON escapes."""
    from ..text import dumps, harmless

    return harmless(dumps(row))


Paint = Callable[[int, str, str], str]
"""Row number, column and padded text to the printed text."""


def fitted_table(
    rows: Sequence[Mapping[str, str]],
    columns: Sequence[str],
    width: int,
    *,
    least: Mapping[str, int] = {},
    left_out: Sequence[str] = (),
    paint: Paint = lambda _row, _column, text: text,
) -> Iterator[str]:
    """Rows as aligned text with a head, in lines of at most `width`; control characters shown as escapes.

    `least`: the columns that may be cut, and their least widths. `left_out`: the columns that are dropped next, in this
    order.
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
        texts = [clip(row[column], size).ljust(size) for column, size in fitting.items()]
        texts[-1] = texts[-1].rstrip()
        yield "  ".join(paint(number, column, text) for column, text in zip(fitting, texts, strict=True)).rstrip()


def _fitting(widths: Mapping[str, int], width: int, least: Mapping[str, int]) -> dict[str, int]:
    """The widths of the columns. The widest column of `least` is cut first, down to its least width."""
    fitting = dict(widths)
    excess = sum(fitting.values()) + 2 * (len(fitting) - 1) - width
    while excess > 0 and (cuttable := [one for one in fitting if fitting[one] > least.get(one, fitting[one])]):
        fitting[max(cuttable, key=fitting.__getitem__)] -= 1
        excess -= 1
    return fitting


def table(
    rows: Sequence[Mapping[str, str]], *, least: Mapping[str, int] = {}, left_out: Sequence[str] = ()
) -> Iterator[str]:
    """A `fitted_table` in the width of the terminal, with the columns of the first row. Without rows, nothing."""
    width = terminal_width(sys.maxsize)
    return fitted_table(rows, list(rows[0]), width, least=least, left_out=left_out) if rows else iter(())


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; None for a stream that was closed at the start."""
    return stream is not None and stream.isatty()


def terminal_width(otherwise: int) -> int:
    """The width of stdout in columns, at most `otherwise`; `otherwise` if it is no terminal."""
    return min(otherwise, shutil.get_terminal_size().columns) if is_terminal(sys.stdout) else otherwise


def print_texts(screen: Console, lines: Iterable[Text]) -> None:
    """Print lines on stdout: in colour on a terminal, plain elsewhere."""
    if not screen.is_terminal:
        print_lines(line.plain for line in lines)
        return
    for line in lines:
        screen.print(line, soft_wrap=True)


def fitted(line: str) -> str:
    """A line cut to the terminal's width; whole if stdout is no terminal."""
    return clip(line, terminal_width(sys.maxsize))
