"""`validate`: recorded events against a contract."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..text import clip, counted, visible
from .arguments import cassette_argument, opened, shown
from .common import console, contract_option, decoded_option, is_terminal, json_option, print_lines, print_rows, table
from .stderr import progress

if TYPE_CHECKING:
    from ..analysis.validate import Problem, Validation

LONGEST_TYPE = 40
LONGEST_PATH = 60
"""Greatest width of these columns, in characters."""
_WHOLE = ("type", "problem", "first")
GRAVE = ("malformed", "event differs", "missing field", "wrong kind", "unknown value")
"""The problems in red, the worst first."""
_EXPLAINED = ("malformed", "truncated", "wrong kind", "unknown value")
"""Problems for which the contract names the expected value."""
_COLUMNS = ["type", "problem", "path", "count", "first", "there"]


@click.command()
@cassette_argument
@contract_option("the recording")
@click.option("--session", metavar="ID", help="Only events of this session; the id may be shortened.")
@click.option("--unseen", is_flag=True, help="Also list types of the contract that no event has.")
@json_option
@decoded_option
def validate(cassette: Path, contract: str | None, session: str | None, unseen: bool, as_json: bool) -> None:
    """Check recorded events against a contract: unknown types and fields, missing fields, wrong kinds.

    A contract defines the event types that a server may send. With the openapi.json of another Omnigent version as the
    contract, the command lists the changed events and fields. Exit code 1 if any event is invalid or malformed. Unknown
    types and fields do not affect the exit code.

    \b
    Example:
      omnirecord validate session.db
    """
    from ..analysis.validate import validation
    from ..cassette.contracts import load

    held_against = None if contract is None else load(contract)
    with opened(cassette) as store:
        total = sum(sum(store.tally(x)[0].values()) for x in store.streams())
        watch = partial(progress, label="validating", total=total if session is None else None)
        result = validation(store, held_against, session, watch)
    if as_json:
        print_rows(problem.row for problem in result.problems)
        if unseen:
            rest = {"path": "", "problem": "never seen", "count": 0, "first": None}
            print_rows({"type": type_, **rest} for type_ in result.unseen)
    else:
        _print(cassette, result, unseen)
    sys.exit(0 if result.ok else 1)


def _print(cassette: Path, result: Validation, unseen: bool) -> None:
    if result.problems and is_terminal(sys.stdout):
        _print_rich(result)
    elif result.problems:
        print_lines(table([_cells(problem) for problem in result.problems]))
    if result.problems:
        click.echo()
    click.echo(visible(summary(cassette, result)))
    if unseen:
        click.echo(f"never seen: {', '.join(map(visible, result.unseen)) or 'none; every type occurs'}")


def _cells(problem: Problem) -> dict[str, str]:
    tells_more = problem.problem in _EXPLAINED and problem.example != "null"
    return {
        "type": clip(problem.type or "-", LONGEST_TYPE),
        "problem": problem.problem,
        "path": clip(problem.path, LONGEST_PATH) or "-",
        "count": f"{problem.count:,}",
        "first": f"{problem.first.stream}:{problem.first.seq}",
        "there": f"{problem.example} ({problem.said})" if tells_more else problem.example,
    }


def _print_rich(result: Validation) -> None:
    """The problems as a table, each type once. No text is markup."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in _COLUMNS:
        shown.add_column(
            column, justify="right" if column == "count" else "left", no_wrap=column in _WHOLE, overflow="fold"
        )
    before: str | None = ""
    for problem in result.problems:
        cells = _cells(problem)
        if problem.type == before:
            cells["type"] = ""
        before = problem.type
        style = "red" if problem.problem in GRAVE else "yellow"
        shown.add_row(*(Text(visible(cells[name]), style if name == "problem" else "") for name in _COLUMNS))
    console().print(shown)


def summary(cassette: Path, result: Validation) -> str:
    """The result in one line."""
    if not result.events:
        return f"{shown(cassette)} holds no events"
    events = f"{counted(result.events, 'event')} against {result.contract}"
    if not result.problems:
        return f"{events}: everything fits"
    found = [problem.type for problem in result.problems if problem.problem != "unknown type"]
    told = [f"{counted(len(found), 'kind')} of problem in {counted(len(set(found)), 'type')}"] if found else []
    told += [counted(len(result.unknown_types), "unknown type")] if result.unknown_types else []
    bad = [f"{result.verdicts[one]:,} {one}" for one in ("invalid", "malformed") if one in result.verdicts]
    return f"{events}: {'; '.join(told)} ({', '.join(bad) or 'none of them invalid'})"
