"""`lake sessions`, `lake doctor`, `lake stats` and `lake validate`: over all sessions of a lake.

The last three are the analyses of the installed version.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from ..errors import LakeError, UsageError
from ..text import clip, counted, visible
from .common import (
    contract_option,
    hits_option,
    json_line,
    json_option,
    label_option,
    options,
    print_found,
    print_lines,
    print_rows,
    since_option,
    table,
    terminal_width,
    time_of,
)
from .doctor import fail_on_option
from .search import shown_snippet
from .sessions import session_table
from .stderr import busy, progress
from .validate import GRAVE, LONGEST_PATH, LONGEST_TYPE

if TYPE_CHECKING:
    from ..lake.location import Lake
    from ..lake.search import Hit

_HEAD = 60
"""Width of the columns before a snippet."""
_SHOWN = 100
"""Most sessions in the table of `lake sessions`, by default."""
_OUTCOMES = ("finished", "failed", "unfinished", "recording", "unknown")
_WORST = 20
"""Most sessions in a list."""
_RANK = ("error", "warning", "note")
_LEAST = {"session": 8, "recording": 8, "worst": 13, "ended": 8, "code": 13, "type": 12, "path": 12, "first": 8}
"""Columns that a narrow terminal cuts, and their least width in characters."""
_LEFT_OUT = ("first", "recording", "notes", "warnings", "turns", "sessions", "path", "ended", "type")
Rows = list[dict[str, Any]]


@contextmanager
def answering(lake: Lake, as_json: bool) -> Iterator[None]:
    """Say after an answer from a lake which files it lacks, as a warning, and with `as_json` as a last line."""
    try:
        yield
    except UsageError:  # a session that is not found
        if lake.missing.files():
            warn(_missing_of(lake)[1])
        raise
    except UnicodeDecodeError as error:
        said = f"{lake.url}: a text of it is damaged: omnirecord lake check --deep {lake.url} names the file"
        raise LakeError(said) from error
    if lake.missing.files():
        missing, sentence = _missing_of(lake)
        if as_json:
            click.echo(json_line({"missing": missing}))
        warn(sentence)


def _missing_of(lake: Lake) -> tuple[list[dict[str, str]], str]:
    from ..lake.lost import about_missing, missing_now

    missing = missing_now(lake)
    return missing, about_missing(lake, missing)


def lake_at(url: str) -> Lake:
    """The lake at a URL. Raises `LakeError` if there is none."""
    from ..lake.location import Lake

    place = Lake(url)
    place.marker()
    return place


@click.command(short_help="List sessions of all recordings, with filters.")
@click.argument("url")
@click.option(
    "--finding",
    "findings",
    multiple=True,
    metavar="CODE",
    help="Only sessions with this finding of doctor. Repeatable: one finding is enough.",
)
@since_option("sessions with activity at or after T")
@label_option("Only sessions of recordings with this label. Repeatable: a recording needs all given labels.")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice(_OUTCOMES),
    help="Only sessions with this status: how the session ended. Repeatable: one status is enough.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="GLOB",
    help="Only sessions whose last turn used this model; * stands for any text. Repeatable: one model is enough.",
)
@click.option(
    "--limit",
    type=click.IntRange(0, sys.maxsize),
    metavar="N",
    help=f"Highest number of sessions; 0 lists all. Default: {_SHOWN}; with --json, all.",
)
@json_option
def sessions(
    url: str,
    findings: tuple[str, ...],
    since: str | None,
    labels: tuple[str, ...],
    statuses: tuple[str, ...],
    models: tuple[str, ...],
    limit: int | None,
    as_json: bool,
) -> None:
    """List the sessions of a lake, the newest first.

    Each line shows the start, the first question, how the session ended, and the worst finding.

    A session with parts in several recordings is one line. The column `parts` then shows the number of recordings. A
    session must match all given options.

    \b
    Examples:
      omnirecord lake sessions lake
      omnirecord lake sessions lake --finding tool-without-output --since 7d
    """
    from ..cassette.labels import labels_of
    from ..lake.query import LakeQuery
    from ..lake.sessions import Wanted
    from ..lake.sessions import sessions as matching

    if findings:
        _warn_of_unknown(findings)
    wanted = Wanted(findings, time_of(since), labels_of(labels, {}), statuses, models)
    most = limit or None if limit is not None or as_json else _SHOWN
    place = lake_at(url)
    with LakeQuery(place) as query, answering(place, as_json):
        with busy(f"asking {visible(place.url)}"):
            rows = matching(query, wanted, None if most is None else most + 1)
            found = [] if as_json else list(rows)
        if as_json:
            print_rows(rows)
            return
        if not found:
            has_filter = any((findings, since, labels, statuses, models))
            empty = f"no session in {visible(place.url)} yet: omnirecord ship CASSETTE --lake {visible(url)}"
            click.echo(f"no session of {visible(place.url)} matches" if has_filter else empty)
            return
        print_lines(session_table(found[:most], terminal_width(sys.maxsize)))
        if most is not None and len(found) > most:
            click.echo(f"more sessions match: --limit 0 prints all, --limit N the newest N (here {most})", err=True)


@click.command(short_help="Search the texts of all sessions.")
@click.argument("url", metavar="URL")
@click.argument("query", nargs=-1, required=True)
@click.option(
    "--part",
    metavar="GLOB",
    help="Only texts in these columns, such as 'model_calls.*' or 'tools.output'.",
)
@click.option("--session", metavar="ID", help="Only hits in this session; the id may be shortened.")
@since_option("texts at or after T")
@label_option("Only recordings with this label. Repeatable: a recording needs all given labels.")
@hits_option
@json_option
def search(
    url: str,
    query: tuple[str, ...],
    part: str | None,
    session: str | None,
    since: str | None,
    labels: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> None:
    """Search questions, answers, tools, approvals, prompts and answers of models in a lake, the newest first.

    A hit contains all words of QUERY. QUERY may contain "a phrase", begin*, OR and NOT. Exit code 1 if the search finds
    nothing.

    
    Example:
      omnirecord lake search lake 'release OR shell' --since 7d
    """
    from ..cassette.labels import labels_of
    from ..lake.query import LakeQuery
    from ..lake.search import search as found_in
    from ..lake.search import wanted_of

    text = " ".join(query)
    wanted = wanted_of(text, part, session=session, since=time_of(since), labels=labels_of(labels, {}))
    place = lake_at(url)
    with LakeQuery(place) as asked, answering(place, as_json):
        with busy(f"searching {visible(place.url)}"):
            found = found_in(asked, wanted, limit + 1, max(40, terminal_width(_HEAD + 120) - _HEAD))
        print_found(as_json, (one.row() for one in found[:limit]), _hits(found, limit, text))
    sys.exit(0 if found else 1)


def _hits(found: Sequence[Hit], limit: int, text: str) -> Iterator[str]:
    """The hits of each session below its id."""
    before = None
    for hit in found[:limit]:
        heading = f"session {hit.session_id}" if hit.session_id else f"recording {hit.recording_id}, without a session"
        if heading != before:
            yield visible(heading)
        before = heading
        place = f"exchange {hit.exchange}" if hit.exchange else "-"
        if hit.turn is not None:
            place = f"turn {hit.turn}"
        at = "-" if hit.at is None else hit.at[:19].replace("T", " ")
        again = f" ({hit.times:,} times)" if hit.times > 1 else ""
        yield f"  {at:<19}  {place:<8} {hit.part:<24} {shown_snippet(hit.snippet, _HEAD)}{again}"
    if not found:
        yield visible(f"nothing found for {text}")
    elif len(found) > limit:
        yield "… and more: narrow it down with --session, --part, --since, --label, or raise --limit"


def _warn_of_unknown(findings: tuple[str, ...]) -> None:
    """Print a warning for each code that this version does not have. A lake may have findings of another version."""
    from difflib import get_close_matches

    from ..analysis.doctor.checks import CODES

    for code in findings:
        if code not in CODES:
            near = get_close_matches(code, CODES)
            verb = "are" if len(near) > 1 else "is"
            hint = f"the nearest {verb} {', '.join(near)}" if near else "docs/doctor.md lists all codes"
            warn(f"doctor has no finding {code}: {hint}")


fleet_options = options(
    click.argument("url", metavar="URL"),
    since_option("sessions that began at T or later"),
    click.option(
        "--jobs",
        type=click.IntRange(1),
        metavar="N",
        help="Number of worker processes (default: the number of CPUs).",
    ),
)


@click.command(short_help="List failures in all sessions, and their causes.")
@fleet_options
@contract_option("each recording")
@fail_on_option
@json_option
def doctor(fail_on: str, as_json: bool, **part: Any) -> None:
    """List failures in all sessions of a lake: findings by code, then the worst sessions.

    The installed version analyses the sessions again. The table `findings` contains the findings of the version that
    shipped each recording.

    Exit code 1 if a finding has at least the severity of --fail-on, 2 if a recording was not analysed.

    \b
    Example:
      omnirecord lake doctor s3://team-lake/omnirecord --since 7d
    """
    found = _analysed("doctor", as_json, **part)
    if not as_json:
        print_lines(_findings(found.rows, len(found.sessions)))
    severe = _RANK[: _RANK.index(fail_on) + 1]
    found.leave(any(row["severity"] in severe for row in found.rows))


@click.command(short_help="Measure all sessions.")
@fleet_options
@contract_option("each recording")
@json_option
def stats(as_json: bool, **part: Any) -> None:
    """Measure all sessions of a lake: medians, then the sessions with the slowest first token.

    Exit code 2 if a recording was not analysed.

    \b
    Example:
      omnirecord lake stats s3://team-lake/omnirecord --json
    """
    found = _analysed("stats", as_json, **part)
    if not as_json:
        print_lines(_slowest(found.rows, len(found.sessions)))
    found.leave(False)


@click.command(short_help="Check all events against a contract.")
@fleet_options
@contract_option("each recording")
@json_option
def validate(as_json: bool, **part: Any) -> None:
    """Check all events of a lake against a contract, which defines the event types that a server may send.

    The output lists each kind of problem once, the worst first. With --json, a problem has one row for each session.
    Exit code 1 if any event is invalid or malformed, 2 if a recording was not analysed.

    \b
    Example:
      omnirecord lake validate s3://team-lake/omnirecord --contract openapi.json
    """
    found = _analysed("validate", as_json, **part)
    verdicts = found.verdicts
    if not as_json:
        print_lines(_problems(found.rows, len(found.sessions), found.events, verdicts))
    found.leave(bool(verdicts["invalid"] or verdicts["malformed"]))


@dataclass(slots=True)
class _Found:
    """The results of all recordings together. With `--json`, `rows` have only what the exit code needs."""

    rows: Rows = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    events: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)

    def leave(self, is_bad: bool) -> None:
        """Print the failures, and end with the exit code."""
        for one in self.failures:
            click.echo(f"Error: {visible(one)}", err=True)
        sys.exit(2 if self.failures else int(is_bad))


def _analysed(
    analysis: str,
    as_json: bool,
    url: str,
    since: str | None,
    jobs: int | None,
    contract: str | None = None,
) -> _Found:
    """Run an analysis, with a progress bar and the deaths of workers on stderr. With `as_json`, print the rows."""
    from ..cassette.contracts import load
    from ..lake.fleet import Job, default_jobs, plan, run
    from ..lake.reading import Snapshot

    after = time_of(since)
    if contract is not None:
        load(contract)  # a mistake is told before any work
    lake = lake_at(url)
    snapshot = Snapshot(lake)
    wanted = plan(lake, snapshot, after)
    outcomes = run(lake, snapshot, wanted, Job((analysis,), contract), jobs or default_jobs(), warn)
    found = _Found()
    total = sum(one.is_wanted for one in wanted if not one.tree or analysis != "validate")
    for one in progress(outcomes, f"{analysis}: recordings", total=total):
        found.sessions.update(one.sessions)
        found.events += one.events
        found.verdicts.update(one.verdicts)
        rows = one.rows.get(analysis, [])
        if one.failure is not None:
            found.failures.append(one.failure)
        for of, path in one.missing:
            lake.missing.add(of, path)
        if as_json:
            print_rows(rows)
            rows = [{"severity": row["severity"]} for row in rows] if analysis == "doctor" else []
        found.rows += rows
    with answering(lake, as_json):
        return found


def warn(message: str) -> None:
    click.echo(f"Warning: {visible(message)}", err=True)


def _findings(rows: Rows, sessions: int) -> Iterator[str]:
    """The findings by code, worst first, and the worst sessions."""
    if not rows:
        yield f"{counted(sessions, 'session')}: nothing to report"
        return
    by_code: dict[tuple[str, str], Rows] = defaultdict(list)
    by_session: dict[tuple[str, str | None], Rows] = defaultdict(list)
    for row in rows:
        by_code[row["severity"], row["code"]].append(row)
        by_session[row["recording_id"], row["session_id"]].append(row)
    yield f"{counted(sessions, 'session')}, {counted(len(rows), 'finding')} in {_sessions_of(rows):,} of them"
    yield ""
    codes = sorted(by_code.items(), key=lambda one: (_RANK.index(one[0][0]), -len(one[1]), one[0][1]))
    cells = [
        {
            "severity": severity,
            "code": code,
            "findings": f"{len(of):,}",
            "sessions": f"{_sessions_of(of):,}",
        }
        for (severity, code), of in codes
    ]
    yield from _table(cells)
    yield ""
    counts = {key: Counter(row["severity"] for row in of) for key, of in by_session.items()}
    worst = sorted(by_session.items(), key=lambda one: [-counts[one[0]][severity] for severity in _RANK])
    cells = [
        {
            "session": clip(session_id or "(no session)", 40),
            "recording": recording_id,
            **{f"{severity}s": str(counts[recording_id, session_id][severity]) for severity in _RANK},
            "worst": of[0]["code"],
        }
        for (recording_id, session_id), of in worst[:_WORST]
    ]
    yield from _table(cells, len(worst))


def _sessions_of(rows: Rows) -> int:
    """The number of sessions that have these findings. A finding may belong to none."""
    return len({row["session_id"] for row in rows} - {None})


def _table(cells: list[dict[str, str]], of: int = 0) -> Iterator[str]:
    """A table, and how many of all rows it lacks."""
    yield from table(cells, least=_LEAST, left_out=_LEFT_OUT)
    if of > len(cells):
        yield f"… and {of - len(cells):,} more: --json prints all"


def _slowest(rows: Rows, sessions: int) -> Iterator[str]:
    """The medians of all turns, and the sessions with the slowest first token."""
    rows = [row for row in rows if row["turns"] is not None]  # the others are model calls without a turn
    turns = [turn for row in rows for turn in row["turns"]]
    events = sum(row["events"] for row in rows)
    yield f"{counted(sessions, 'session')}, {counted(len(turns), 'turn')}, {counted(events, 'event')}"
    named = (
        ("first token after {:.3f} s", "first_token_s"),
        ("{:.1f} tokens/s", "output_tokens_per_s"),
        ("{:.3f} s a turn", "duration_s"),
    )
    known = [(form, [turn[name] for turn in turns if turn[name] is not None]) for form, name in named]
    if told := [form.format(median(values)) for form, values in known if values]:
        yield f"Median: {', '.join(told)}"
    slow = sorted((row for row in rows if row["first_token_s"]), key=lambda row: -row["first_token_s"]["max"])
    if not slow:
        return
    yield ""
    cells = [
        {
            "session": clip(row["session_id"] or "(no session)", 40),
            "recording": row["recording_id"],
            "slowest 1st token s": f"{row['first_token_s']['max']:,.3f}",
            "turns": str(len(row["turns"])),
            "ended": row["conclusion"]["outcome"],
        }
        for row in slow[:_WORST]
    ]
    yield from _table(cells, len(slow))
    if sessions > len(slow):
        yield f"… and {sessions - len(slow):,} without a streamed answer"


def _problems(rows: Rows, sessions: int, events: int, verdicts: Counter[str]) -> Iterator[str]:
    """The problems of all sessions, each kind once, and the result in one line."""
    by_kind: dict[tuple[str, str, str], Rows] = defaultdict(list)
    for row in rows:
        by_kind[row["problem"], row["type"] or "-", row["path"] or "-"].append(row)
    ranks = {problem: rank for rank, problem in enumerate((*GRAVE, "truncated"))}  # others follow
    kinds = sorted(
        by_kind.items(),
        key=lambda one: (ranks.get(one[0][0], len(ranks)), -sum(row["count"] for row in one[1]), one[0]),
    )
    cells = [
        {
            "problem": problem,
            "type": clip(type_, LONGEST_TYPE),
            "path": clip(path, LONGEST_PATH),
            "count": f"{sum(row['count'] for row in of):,}",
            "sessions": f"{_sessions_of(of):,}",
            "first": f"{of[0]['recording_id']} {of[0]['first']['stream']}:{of[0]['first']['seq']}",
        }
        for (problem, type_, path), of in kinds
    ]
    if cells:
        yield from _table(cells)
        yield ""
    bad = [f"{verdicts[one]:,} {one}" for one in ("invalid", "malformed") if verdicts[one]]
    told = "everything fits" if not rows else ", ".join(bad) or "none of them invalid"
    yield f"{counted(sessions, 'session')}, {counted(events, 'event')}: {told}"
