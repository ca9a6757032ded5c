"""`doctor`: the findings of sessions, causes first."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from ..model import by_key
from ..providers.grouping import conversation_number
from .arguments import by_name, cassette_argument, opened, shown
from .common import console, output_options, print_rows, print_texts, reading_contract_option, terminal_width
from .stderr import busy

if TYPE_CHECKING:
    from rich.text import Text

    from ..analysis.doctor.finding import Finding
    from ..analysis.sessions import Summary

_MOST = 10
"""Conversations with alike findings that are named, at most."""
_PLACE = re.compile(r" \(exchange \d+\)| [\d.,]+ (?:s|min)\b")
"""The part of a message in which findings that are alike differ."""
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}

fail_on_option = click.option(
    "--fail-on",
    type=click.Choice(["note", "warning", "error"]),
    default="error",
    show_default=True,
    help="Exit with code 1 if a finding has this severity or a higher severity.",
)


@click.command()
@cassette_argument
@click.argument("session", required=False)
@fail_on_option
@reading_contract_option
@output_options
def doctor(cassette: Path, session: str | None, fail_on: str, as_json: bool) -> None:
    """List failures in sessions, such as turns without an end, lost events, silences and dead agent processes.

    The cause of a failure comes first. Each finding names its events as STREAM:EVENT, with the numbers that `omnirecord
    events` prints.

    SESSION is an id, or the beginning of an id. Without SESSION, the command examines all sessions of the cassette.
    CASSETTE may be a folder with cassettes.

    \b
    Example:
      omnirecord doctor session.db
    """
    from ..analysis.listing import cassettes_in

    named = [(cassette, session)]
    if cassette.is_dir():
        named = [*cassettes_in([cassette])]
        if session is not None:
            raise UsageError(f"{shown(cassette)} is a folder, and {session!r} is a session: name its cassette")
    is_severe = False
    for number, (path, wanted) in enumerate(named):
        mark = {"cassette": by_name(str(path))} if cassette.is_dir() else {}
        if mark and not as_json:
            click.echo("\n" * (number > 0) + shown(path))
        found = _of_one(path, wanted, mark, as_json=as_json)
        is_severe = is_severe or any(finding.is_at_least(fail_on) for finding in found)
    sys.exit(1 if is_severe else 0)


def _of_one(cassette: Path, session: str | None, mark: dict[str, str], *, as_json: bool) -> list[Finding]:
    """Print the findings of one cassette, and return them. `mark`: what each object of `--json` has beside."""
    from ..analysis.doctor.examine import examine
    from ..analysis.sessions import examined_sessions
    from ..cassette.model_calls import count_calls

    with opened(cassette) as store:
        with busy(f"examining {shown(cassette)}"):
            found, sessions = (examine(store, session), []) if as_json else examined_sessions(store, session)
        is_empty = not found and not store.streaming() and not count_calls(store)
    told = [replace(one, next=one.next.replace("CASSETTE", _named(cassette, one))) for one in found]
    if as_json:
        print_rows(mark | finding.row() for finding in told)
    else:
        otherwise = "nothing to examine: no event stream was recorded" if is_empty else "nothing to report"
        print_texts(console(), _lines(told, sessions, otherwise))
    return found


def _named(cassette: Path, finding: Finding) -> str:
    """The cassette for a command about a finding, with the number of its conversation."""
    number = conversation_number(finding.session_id)
    is_whole = number is not None and not cassette.name.endswith((f"#{number}", f"#{finding.session_id}"))
    return shlex.quote(f"{shown(cassette)}#{number}" if is_whole else shown(cassette))


def _lines(found: list[Finding], summaries: Sequence[Summary], otherwise: str) -> Iterator[Text]:
    """The worst finding in one line, then the findings by session, worst session first."""
    from rich.text import Text

    only = summaries[0] if len(summaries) == 1 else None
    if found:
        severity = found[0].severity
        message = found[0].message
        told = f"{severity.capitalize()}: {message[:1].upper()}{message[1:]}"
        first = Text("\n".join(_folded(told, "", "  ")))
        first.stylize(_COLOURS[severity], 0, len(severity))
        yield first
    else:
        yield Text(otherwise)
    sessions: dict[str | None, list[Finding]] = {}
    for finding in found:
        sessions.setdefault(finding.session_id, []).append(finding)
    if only is not None and not found:
        sessions[only.session_id] = []
    parts = by_key(summaries, lambda one: one.session_id)
    for like in by_key(sessions.items(), _kind).values():
        session_id, findings = like[0]
        yield Text("")
        for line in _head([one for one, _ in like], findings, parts.get(session_id, []), only):
            yield Text(line, style="bold")
        for finding in findings:
            yield from _told(finding)


def _kind(session: tuple[str | None, list[Finding]]) -> Hashable:
    """Equal for conversations whose findings differ in places and durations only."""
    session_id, findings = session
    if conversation_number(session_id) is None:
        return session_id
    return tuple((one.code, one.severity, one.because, _PLACE.sub("", one.message)) for one in findings)


def _head(
    alike: Sequence[str | None],
    findings: list[Finding],
    summaries: Sequence[Summary],
    only: Summary | None,
) -> Iterator[str]:
    """The heading of a session: its id, the number of its findings, its conclusion in each recording. `alike`: it, and
    the conversations with such findings."""
    from ..analysis.doctor.finding import SEVERITIES
    from ..text import counted, visible

    counts = [(sum(finding.severity == one for finding in findings), one) for one in reversed(SEVERITIES)]
    told = ", ".join(counted(count, one) for count, one in counts if count)
    session_id = alike[0]
    number = conversation_number(session_id)
    if len(alike) > 1:
        listed = ", ".join(f"#{conversation_number(one)}" for one in alike[:_MOST])
        name = f"conversations {listed}{', …' if len(alike) > _MOST else ''} ({len(alike):,} alike), each"
    elif session_id is not None:
        name = f"session {visible(session_id)}" if number is None else f"conversation #{number}"
    elif only is not None and only.stream is not None:
        name = f"stream {only.stream} without a session"
    else:
        name = "outside of sessions"
    yield f"{name}: {told or 'no finding'}"
    for one in summaries if session_id is not None or only is not None else ():
        yield from _folded(f"{'the first: ' if len(alike) > 1 else ''}{_concluded(one)}", "  ", "  ")


def _concluded(one: Summary) -> str:
    """How the session ended, its duration, its parties, its first question."""
    from ..text import clip, one_line, seconds

    conclusion = one.conclusion
    lasted = conclusion.duration_s
    parts = [conclusion.verdict, *([] if lasted is None else [seconds(round(lasted * 1e9))])]
    if one.conversation is None:
        parts.append(f"connected: {', '.join(map(one_line, conclusion.connected)) or 'no client'}")
    parts += [f"asked: {clip(one_line(conclusion.asked), 60)}"] if conclusion.asked else []
    return " · ".join(parts)


def _folded(text: str, first: str = " " * 8, rest: str = " " * 8) -> Iterator[str]:
    """The text in lines of the terminal's width. `first`, `rest`: the indent of the first line, and of the others."""
    from ..analysis.transcript.sentences import wrap

    return wrap(text, terminal_width(100), first, rest)


def _told(finding: Finding) -> Iterator[Text]:
    """The lines of one finding; an effect has fewer, since its cause matters."""
    from rich.text import Text

    colour = _COLOURS[finding.severity]
    text = Text("\n" if finding.because is None else "")
    text.append(f"{finding.severity:<8}", style=colour).append(finding.code, style="bold")
    if finding.stream is not None:  # its events, as `events` numbers them
        where = " ".join(f"{finding.stream}:{seq}" for seq in finding.seqs) or f"stream {finding.stream}"
        text.append(f"  {where}", style="dim")
    yield text
    for line in _folded(finding.message):
        yield Text(line)
    if finding.because is not None:
        yield Text(f"        because of {finding.because}", style="dim")
        return
    for word, told in (("why", finding.why), ("next", finding.next)):
        yield from (Text(line, style="dim") for line in _folded(f"{word}: {told}"))
