"""`doctor`: what was wrong with a session."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import busy, cassette_argument, console, decoded_option, json_option, print_rows, shown, terminal_width

if TYPE_CHECKING:
    from rich.text import Text

    from ..diagnosis import Finding

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_WIDTH = 100


@click.command(short_help="What was wrong with a session.")
@cassette_argument
@click.argument("session", required=False)
@click.option(
    "--fail-on", type=click.Choice(["note", "warning", "error"]), default="error", show_default=True,
    help="The least severity of a finding that makes the exit code 1.",
)  # fmt: skip
@decoded_option
@json_option
def doctor(cassette: Path, session: str | None, fail_on: str, as_json: bool) -> None:
    """What was wrong: turns without an end, lost events, silences, dead runners; the cause first.

    All sessions of the cassette, or the one that is named; its id may be shortened. Exit code 1 where a finding is as
    bad as --fail-on, or worse.

    \b
    Example:
      omnirecord doctor session.db
    """
    from ..diagnosis import is_at_least, row_of
    from ..diagnosis.examining import examine
    from ..library import open_store

    store = open_store(cassette)
    try:
        with busy(f"examining {shown(cassette)}"):
            found = examine(store, session)
        is_empty = not found and not store.streaming()
    finally:
        store.close()
    if as_json:
        print_rows(map(row_of, found))
    else:
        _print(found, "nothing to examine: no event stream was recorded" if is_empty else "nothing to report")
    sys.exit(1 if any(is_at_least(finding, fail_on) for finding in found) else 0)


def _print(found: list[Finding], otherwise: str) -> None:
    """For a person: in colours on a terminal, plain in a pipe."""
    screen = console()
    for line in _lines(found, otherwise):
        if screen.is_terminal:
            screen.print(line, soft_wrap=True)
        else:
            click.echo(line.plain)


def _lines(found: list[Finding], otherwise: str) -> Iterator[Text]:
    """Session by session, the one with the worst finding first."""
    from rich.text import Text

    sessions: dict[str | None, list[Finding]] = {}
    for finding in found:
        sessions.setdefault(finding.session_id, []).append(finding)
    for place, (session_id, findings) in enumerate(sessions.items()):
        yield Text(("\n" if place else "") + _head(session_id, findings), style="bold")
        for finding in findings:
            yield from _told(finding)
    if not found:
        yield Text(otherwise)


def _head(session_id: str | None, findings: list[Finding]) -> str:
    from ..diagnosis import SEVERITIES
    from ..gist import visible

    counts = [(sum(finding.severity == one for finding in findings), one) for one in reversed(SEVERITIES)]
    told = ", ".join(f"{count} {one}{'' if count == 1 else 's'}" for count, one in counts if count)
    name = f"session {visible(session_id)}" if session_id is not None else "no session"
    return f"{name}: {told}"


def _told(finding: Finding) -> Iterator[Text]:
    """One finding. What another one explains is told shortly: its cause is what matters."""
    from rich.text import Text

    colour = _COLOURS[finding.severity]
    text = Text("\n" if finding.because is None else "")
    text.append(f"{finding.severity:<8}", style=colour).append(finding.code, style="bold")
    text.append(f"  {_where(finding)}", style="dim")
    yield text
    for line in _wrapped(finding.message):
        yield Text(line)
    if finding.because is not None:
        yield Text(f"        because of {finding.because}", style="dim")
        return
    for word, told in (("why", finding.why), ("next", finding.next)):
        yield from (Text(line, style="dim") for line in _wrapped(f"{word}: {told}"))


def _wrapped(text: str) -> Iterator[str]:
    from ..telling.wrapping import wrap

    return wrap(text, terminal_width(_WIDTH), " " * 8, " " * 8)


def _where(finding: Finding) -> str:
    """The events that it rests on, as `events` numbers them."""
    if finding.stream is None:
        return ""
    return " ".join(f"{finding.stream}:{seq}" for seq in finding.seqs) or f"stream {finding.stream}"
