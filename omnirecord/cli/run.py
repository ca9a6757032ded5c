"""`run`: runs a command, and records its calls to model APIs, or answers them from a recording.

The command gets the addresses in the variables of `providers.variables`. At the end, the output of `sessions`, `stats`
and `doctor` for the new cassette goes to stderr.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..text import counted
from . import child
from .arguments import CASSETTE
from .child_servers import (
    OWN,
    contracts_of,
    labels_of_end,
    named_servers,
    new_cassette,
    own_variables,
    run_command,
    wait_for_clients,
    why_nothing,
)
from .listen import say
from .options import new_cassette_option, of_recorder, of_replay, refuse_without_recording, variables_option
from .settings import is_setting, one_each, reads_settings
from .stderr import log_to_stderr

_OF_RECORDING = (
    "only_paths",
    "except_paths",
    "contract",
    "ca",
    "insecure",
    "no_proxy",
    "labels",
    "redact",
    "redact_patterns",
    "pseudonym_key",
)


def _unused(given: Mapping[str, Any]) -> Sequence[str]:
    """The settings without an effect: of a replay, or of a recording."""
    if given["cassette"] is None:
        return ["match"]
    return _OF_RECORDING if given["record"] == "none" else []


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
@new_cassette_option
@click.option(
    "--replay",
    "cassette",
    type=CASSETTE,
    metavar="CASSETTE",
    help="Answer the requests from this recording, and connect to no server. The exit code is 1 if a request matches"
    " nothing, or if a recorded request is not sent.",
)
@of_replay(
    "record",
    "upstream",
    record={
        "help": "With --replay, new_episodes: requests that the recording does not have go to their servers, and are"
        " recorded. With -o, a new cassette gets all calls of the run. Without -o, the new calls are appended."
    },
    upstream={
        "help": f"Also record this server. The command finds its address in {OWN}, or in {OWN}_NAME. The name of a"
        " model API, such as openai, replaces the server of this API. Repeatable."
    },
)
@variables_option("Also record the server whose URL is in this environment variable of the command. Repeatable.")
@click.option(
    "--fail-on",
    type=click.Choice(["note", "warning", "error"]),
    help="Exit with code 1 if `doctor` has a finding of this severity or a higher one, and the command exits with 0.",
)
@click.option("--ui", is_flag=True, help="Show the recording as a page for browsers while the command runs.")
@of_replay(
    "timing",
    "match",
    "faults",
    only_with="--replay",
    timing={"default": "instant", "help": "With --replay: the gaps between events, as in `omnirecord serve`."},
    faults={"help": "With --replay: fault to inject, in the first hop. Repeatable. See docs/faults.md."},
)
@reads_settings(one_each(["match"]), unused=_unused)
@of_recorder(*_OF_RECORDING)
def run(
    command: tuple[str, ...],
    output: Path | None,
    cassette: Path | None,
    record: str,
    upstream: tuple[str, ...],
    variables: tuple[str, ...],
    fail_on: str | None,
    ui: bool,
    timing: str,
    match: tuple[str, ...],
    faults: tuple[str, ...],
    **of_recording: Any,
) -> None:
    """Run a command, and record its calls to model APIs.

    The command finds the recorder in the variables that SDKs read, such as OPENAI_BASE_URL and ANTHROPIC_BASE_URL. A
    variable that is set already names the server to record. The command keeps its stdin, stdout, stderr and exit code.

    \b
    Examples:
      omnirecord run -o weather-2.db -- python agent.py
      omnirecord run --replay weather.db -- python agent.py
      omnirecord run --replay weather.db --record new_episodes -o weather-3.db -- python agent.py
    """
    from ..server.accept import raise_limit
    from .run_replay import record_missing, replay

    child.check(command)
    with child.signals_held() as held:  # before any thread starts
        log_to_stderr(verbose=False)
        raise_limit()
        playing = {"timing": timing, "match": match, "faults": faults}
        if cassette is None:
            if record != "none":
                raise UsageError("--record new_episodes adds to a recording: give --replay CASSETTE as well")
            if faults or (match and not is_setting(click.get_current_context(), "match")):
                raise UsageError(f"{'--fault' if faults else '--match'} changes a replay: give --replay as well")
            db = new_cassette(output)
            code, count = _record(command, held, db, upstream, variables, ui=ui, **of_recording)
        elif record == "none":
            refuse_without_recording(
                {"-o": output, "--ui": ui, "--upstream": upstream, "--fail-on": fail_on, **of_recording}
            )
            db = cassette
            count = 0
            code = replay(command, held, cassette, variables, **playing)
        else:
            into = None if output is None else new_cassette(output)
            db = into or cassette
            contract = of_recording.pop("contract")
            code, count = record_missing(
                command,
                held,
                cassette,
                variables,
                into=into,
                upstreams=upstream,
                contract=contract,
                recording={"ui": ui, **of_recording},
                **playing,
            )
    if count:
        is_fine = _tell(db, fail_on)
        code = code or (0 if is_fine else 1)
    sys.exit(code)


def _record(
    command: Sequence[str],
    held: child.Held,
    db: Path,
    upstreams: Sequence[str],
    variables: Sequence[str],
    *,
    contract: Sequence[str],
    **chosen: Any,
) -> tuple[int, int]:
    """Run the command while a proxy records. Return its exit code, and the number of recorded exchanges."""
    from ..episodes.record import controlled
    from ..providers.variables import routes_of

    environment = dict(os.environ)
    first, named = named_servers(upstreams, environment)
    routes = routes_of(environment, variables)
    servers = {**named, **{route.hop: route.upstream for route in routes}}
    every, contracts = contracts_of(contract, servers)
    proxy = controlled(first, db, upstreams=servers, contract=every, contracts=contracts, is_lazy=True, **chosen)
    with _without_file(db), proxy as recorder:
        own: dict[str | None, str] = {} if first is None else {None: recorder.url}
        made = own_variables({**own, **{hop: recorder.urls[hop] for hop in named}})
        for route in routes:
            made |= {name: f"{recorder.urls[route.hop]}{path}" for name, path in route.paths.items()}
        if recorder.page is not None:
            say(f"the recording is at {recorder.page}")
        code = run_command(command, made, held)
        proxy.last_labels |= labels_of_end(code, held)
        wait_for_clients(proxy)
    count = proxy.exchanges
    passed = f"{counted(proxy.unrecorded, 'request')} passed unrecorded, as --only and --except say"
    if count:
        if proxy.unrecorded:
            say(passed)
        shares = ", ".join(f"{number} of {name}" for name, number in proxy.exchanges_of.items() if number)
        say(f"recorded {counted(count, 'exchange')}{f' ({shares})' if shares else ''} into {db}")
    else:
        db.unlink(missing_ok=True)
        say(f"nothing was recorded: {passed if proxy.unrecorded else why_nothing(made)}")
    if proxy.is_incomplete:
        code = code or 1
    return code, count


@contextmanager
def _without_file(db: Path) -> Iterator[None]:
    """Remove the new cassette if the command does not start."""
    try:
        yield
    except (child.NotFound, child.NotExecutable):
        db.unlink(missing_ok=True)
        raise


def _tell(db: Path, fail_on: str | None) -> bool:
    """Print the sessions, figures and findings of a run. Return whether none is of the severity `fail_on` or worse.

    Requests that belong to no session, and call no model, have no line in the list of sessions.
    """
    from ..analysis.gather import gathered
    from ..cassette.model_calls import count_calls
    from .arguments import opened
    from .doctor import doctor
    from .sessions import sessions
    from .stats import print_brief

    with opened(db) as store:
        has_sessions = count_calls(store) > 0 or any(gathered(store))
    with redirect_stdout(sys.stderr):
        if has_sessions:
            _print(sessions, cassettes=(db,), failed=False, since=None)
        print_brief(db)
        has_findings = _print(doctor, cassette=db, session=None, fail_on=fail_on or "error")
    say(f"look at it with: omnirecord ui {shlex.quote(str(db))}")
    return fail_on is None or not has_findings


def _print(command: click.Command, **given: Any) -> bool:
    """Run a command. Return whether it exits with an exit code other than 0."""
    assert command.callback is not None
    try:
        command.callback(as_json=False, **given)
    except SystemExit as ended:
        return bool(ended.code)
    return False
