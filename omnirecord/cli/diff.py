"""`diff`: the differences between two cassettes or sessions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .arguments import NAMED
from .common import is_terminal, output_options, print_lines, print_rows
from .stderr import progress

if TYPE_CHECKING:
    from ..analysis.diff.differences import Span

_COLOURS = {"gone": "red", "new": "green"}


@click.command()
@click.argument("a", type=NAMED)
@click.argument("b", type=NAMED)
@click.option("--session", metavar="ID", help="Only this session, in both cassettes; the id may be shortened.")
@click.option(
    "--tolerance",
    type=float,
    default=1.0,
    show_default=True,
    metavar="S",
    help="Report durations that differ by more than S seconds.",
)
@output_options
def diff(a: str, b: str, session: str | None, tolerance: float, as_json: bool) -> None:
    """Compare two recordings by meaning: questions, answers, tools, approvals, order, usage, durations.

    A and B are cassettes, or one session of a cassette each: CASSETTE#SESSION, where the id may be shortened. The
    comparison ignores ids, dates, sequence numbers, and the boundaries of deltas (pieces of text). Exit code 1 if there
    is a difference other than in durations.

    \b
    Example:
      omnirecord diff session.db session.jsonl
    """
    from ..analysis.diff import compared
    from ..analysis.diff.differences import counts, headline, plain, report

    result = compared(a, b, session=session, tolerance_s=tolerance, watch=progress)
    found = result.found
    if as_json:
        print_rows(difference.row() for difference in found)
    elif not result.sessions and result.uncompared_calls:
        click.echo("nothing to compare: neither cassette has a session, and only one has model calls")
    elif not result.sessions and not result.calls:
        click.echo("nothing to compare: neither cassette has a session")
    else:
        where = f", from {result.fork} on, where the fork begins" if result.fork else ""
        click.echo(headline(found, sessions=result.sessions, turns=result.turns, calls=result.calls) + where)
        print_lines(report(found, _painted if is_terminal(sys.stdout) else plain, result.names))
        if result.uncompared_calls:
            click.echo("model calls are not compared: only one cassette has them")
    sys.exit(1 if counts(found) else 0)


def _painted(span: Span) -> str:
    return click.style(span.text, fg=_COLOURS[span.tone]) if span.tone in _COLOURS else span.text
