"""`lake doctor`, `lake stats` and `lake validate`: the analyses of this version over all sessions of a lake."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from ..text import clip, counted, visible
from .common import fitted_table, json_option, options, print_lines, print_rows, terminal_width
from .doctor import fail_on_option
from .stderr import progress

if TYPE_CHECKING:
    from ..lake.fleet import Outcome

_WORST = 20
"""Most sessions in a list."""
_RANK = ("error", "warning", "note")
_PROBLEMS = ("malformed", "event differs", "missing field", "wrong kind", "unknown value", "truncated")
"""Kinds of problems, the worst first; others follow."""
_LEAST = {"session": 8, "recording": 8, "worst": 13, "ended": 8, "code": 13, "type": 12, "path": 12, "first": 8}
"""Columns that a narrow terminal cuts, and their least width in characters."""
_LEFT_OUT = ("first", "recording", "notes", "warnings", "turns", "sessions", "path", "ended", "type")
Rows = list[dict[str, Any]]


fleet_options = options(
    click.argument("url", metavar="URL"),
    click.option(
        "--since", metavar="T",
        help="Only sessions that began at T or later: a time in ISO 8601, or a duration before now, such as 2h.",
    ),
    click.option(
        "--jobs", type=click.IntRange(1), metavar="N",
        help="Number of worker processes (default: the number of CPUs).",
    ),
    click.option(
        "--shard", metavar="I/N",
        help="Only part I of N parts. A hash of the session id assigns each session, with its sub-agents, to one part.",
    ),
)  # fmt: skip


@click.command(short_help="List failures in all sessions, and their causes.")
@fleet_options
@fail_on_option
@json_option
@click.pass_context
def doctor(
    context: click.Context, url: str, since: str | None, jobs: int | None, shard: str | None, fail_on: str,
    as_json: bool,
) -> None:  # fmt: skip
    """List failures in all sessions of a lake: findings by code, then the worst sessions.

    The installed version analyses the sessions again. The table `findings` contains the findings of the version that
    shipped each recording.

    Exit code 1 if a finding has at least the severity of --fail-on, 2 if a recording was not analysed.

    \b
    Example:
      omnirecord lake doctor s3://team-lake/omnirecord --since 7d
    """
    outcomes = _run(url, "doctor", since, jobs, shard)
    rows, failures, sessions = _gathered(outcomes, "doctor", as_json=as_json)
    if not as_json:
        print_lines(_findings(rows, sessions))
    severe = _RANK[: _RANK.index(fail_on) + 1]
    _exit(context, failures, any(row["severity"] in severe for row in rows))


@click.command(short_help="Measure all sessions.")
@fleet_options
@json_option
@click.pass_context
def stats(
    context: click.Context, url: str, since: str | None, jobs: int | None, shard: str | None, as_json: bool
) -> None:
    """Measure all sessions of a lake: medians, then the sessions with the slowest first token.

    Exit code 2 if a recording was not analysed.

    \b
    Example:
      omnirecord lake stats s3://team-lake/omnirecord --json
    """
    outcomes = _run(url, "stats", since, jobs, shard)
    rows, failures, sessions = _gathered(outcomes, "stats", as_json=as_json)
    if not as_json:
        print_lines(_slowest(rows, sessions))
    _exit(context, failures, False)


@click.command(short_help="Check all events against a contract.")
@fleet_options
@click.option(
    "--contract", metavar="NAME|FILE",
    help="Contract: omnigent, documented, openai-responses, openai-chat, anthropic-messages, auto, none, or a file (an"
    " openapi.json of any version, or a JSON Schema). Default: the contract of each recording.",
)  # fmt: skip
@json_option
@click.pass_context
def validate(
    context: click.Context, url: str, since: str | None, jobs: int | None, shard: str | None, contract: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Check all events of a lake against a contract, which defines the event types that a server may send.

    The output lists each kind of problem once, the worst first. With --json, a problem has one row for each session.
    Exit code 1 if any event is invalid or malformed, 2 if a recording was not analysed.

    \b
    Example:
      omnirecord lake validate s3://team-lake/omnirecord --contract openapi.json
    """
    verdicts, events = Counter[str](), 0

    def counting(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        nonlocal events
        for one in outcomes:
            verdicts.update(one.verdicts)
            events += one.events
            yield one

    outcomes = counting(_run(url, "validate", since, jobs, shard, contract))
    rows, failures, sessions = _gathered(outcomes, "validate", as_json=as_json)
    if not as_json:
        print_lines(_problems(rows, sessions, events, verdicts))
    _exit(context, failures, bool(verdicts["invalid"] or verdicts["malformed"]))


def _run(
    url: str, analysis: str, since: str | None, jobs: int | None, shard: str | None, contract: str | None = None
) -> Iterator[Outcome]:
    """The results of an analysis, with a progress bar and the deaths of workers on stderr."""
    from ..cassette.contracts import load
    from ..lake.fleet import Job, Shard, default_jobs, plan, run
    from ..lake.location import Lake
    from ..lake.reading import Snapshot
    from ..wire.limits import since as time_of

    after = None if since is None else time_of(since, datetime.now(UTC))
    part = None if shard is None else Shard.of(shard)
    if contract is not None:
        load(contract)  # a mistake is told before any work
    lake = Lake(url)
    lake.marker()
    snapshot = Snapshot(lake)
    wanted = plan(lake, snapshot, after, part)
    found = run(lake, snapshot, wanted, Job((analysis,), contract), jobs or default_jobs(), _tell)
    return progress(found, f"{analysis}: recordings", total=len(wanted))


def _tell(message: str) -> None:
    click.echo(f"Warning: {visible(message)}", err=True)


def _gathered(outcomes: Iterable[Outcome], analysis: str, *, as_json: bool) -> tuple[Rows, list[str], int]:
    """The rows of all results, the failures, and the number of sessions. With `as_json`, rows are printed as they
    come; of those, only what the exit code needs is returned."""
    rows: Rows = []
    failures, sessions = list[str](), 0
    for one in outcomes:
        sessions += one.sessions
        found = one.rows.get(analysis, [])
        if one.failure is not None:
            failures.append(one.failure)
        if as_json:
            print_rows(found)
            rows += [{"severity": row.get("severity")} for row in found if analysis == "doctor"]
        else:
            rows += found
    return rows, failures, sessions


def _exit(context: click.Context, failures: Sequence[str], is_bad: bool) -> None:
    for one in failures:
        click.echo(f"Error: {visible(one)}", err=True)
    context.exit(2 if failures else 1 if is_bad else 0)


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
    yield f"{counted(sessions, 'session')}, {counted(len(rows), 'finding')} in {len(by_session):,} of them"
    yield ""
    codes = sorted(by_code.items(), key=lambda one: (_RANK.index(one[0][0]), -len(one[1]), one[0][1]))
    cells = [
        {
            "severity": severity, "code": code, "findings": f"{len(of):,}",
            "sessions": f"{len({(row['recording_id'], row['session_id']) for row in of}):,}",
        } for (severity, code), of in codes
    ]  # fmt: skip
    yield from _table(cells)
    yield ""
    worst = sorted(by_session.items(), key=lambda one: _weight(one[1]))
    cells = [
        {
            "session": clip(session_id or "(no session)", 40), "recording": recording_id,
            **{f"{severity}s": str(sum(row["severity"] == severity for row in of)) for severity in _RANK},
            "worst": of[0]["code"],
        } for (recording_id, session_id), of in worst[:_WORST]
    ]  # fmt: skip
    yield from _table(cells)
    if len(worst) > _WORST:
        yield f"… and {len(worst) - _WORST:,} more: --json prints all"


def _table(cells: list[dict[str, str]]) -> Iterator[str]:
    return fitted_table(cells, list(cells[0]), terminal_width(sys.maxsize), least=_LEAST, left_out=_LEFT_OUT)


def _weight(rows: Rows) -> tuple[int, ...]:
    """A sort key: the session with the most errors first."""
    return tuple(-sum(row["severity"] == severity for row in rows) for severity in _RANK)


def _slowest(rows: Rows, sessions: int) -> Iterator[str]:
    """The medians of all turns, and the sessions with the slowest first token."""
    turns = [turn for row in rows for turn in row["turns"]]
    events = sum(row["events"] for row in rows)
    yield f"{counted(sessions, 'session')}, {counted(len(turns), 'turn')}, {counted(events, 'event')}"
    named = (
        ("first token after {:.3f} s", "first_token_s"), ("{:.1f} tokens/s", "output_tokens_per_s"),
        ("{:.3f} s a turn", "duration_s"),
    )  # fmt: skip
    known = [(form, [turn[name] for turn in turns if turn[name] is not None]) for form, name in named]
    if told := [form.format(median(values)) for form, values in known if values]:
        yield f"Median: {', '.join(told)}"
    slow = sorted((row for row in rows if row["first_token_s"]), key=lambda row: -row["first_token_s"]["max"])
    if not slow:
        return
    yield ""
    cells = [
        {
            "session": clip(row["session_id"] or "(no session)", 40), "recording": row["recording_id"],
            "slowest 1st token s": f"{row['first_token_s']['max']:,.3f}", "turns": str(len(row["turns"])),
            "ended": row["conclusion"]["outcome"],
        } for row in slow[:_WORST]
    ]  # fmt: skip
    yield from _table(cells)
    if len(slow) > _WORST:
        yield f"… and {len(slow) - _WORST:,} more: --json prints all"


def _problems(rows: Rows, sessions: int, events: int, verdicts: Counter[str]) -> Iterator[str]:
    """The problems of all sessions, each kind once, and the result in one line."""
    by_kind: dict[tuple[str, str, str], Rows] = defaultdict(list)
    for row in rows:
        by_kind[row["problem"], row["type"] or "-", row["path"] or "-"].append(row)
    ranks = {problem: rank for rank, problem in enumerate(_PROBLEMS)}
    kinds = sorted(
        by_kind.items(),
        key=lambda one: (ranks.get(one[0][0], len(ranks)), -sum(row["count"] for row in one[1]), one[0]),
    )  # fmt: skip
    cells = [
        {
            "problem": problem, "type": clip(type_, 40), "path": clip(path, 60),
            "count": f"{sum(row['count'] for row in of):,}",
            "sessions": f"{len({(row['recording_id'], row['session_id']) for row in of}):,}",
            "first": f"{of[0]['recording_id']} {of[0]['first']['stream']}:{of[0]['first']['seq']}",
        } for (problem, type_, path), of in kinds
    ]  # fmt: skip
    if cells:
        yield from _table(cells)
        yield ""
    bad = [f"{verdicts[one]:,} {one}" for one in ("invalid", "malformed") if verdicts[one]]
    told = "everything fits" if not rows else ", ".join(bad) or "none of them invalid"
    yield f"{counted(sessions, 'session')}, {counted(events, 'event')}: {told}"
