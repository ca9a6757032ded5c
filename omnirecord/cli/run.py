"""`run`: runs a command, and records its calls to model APIs, or answers them from a recording.

The command gets the addresses in the variables of `providers.variables`. At the end, the output of `sessions`, `stats`
and `doctor` for the new cassette goes to stderr.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..omnigent.routes import path_of
from ..recorder.options import OPTIONS, said
from ..server.timers import monotonic
from ..text import counted
from . import child
from .arguments import CASSETTE, DATABASE, by_name
from .listen import say
from .recording import of_recorder
from .settings import is_setting, one_each, reads_settings
from .stderr import log_to_stderr

if TYPE_CHECKING:
    from ..recorder.proxy.server import Proxy
    from ..replayer.control import Server

_OWN = "OMNIRECORD_URL"
"""The variable with the address of the first upstream. That of another one is in `OMNIRECORD_URL_NAME`."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_HERE = ("127.0.0.1", "localhost")
_LEAVES_IN = 1.0
"""Seconds for the connections of a command that has ended to close, so that the recorder does not cut them."""


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
@click.option(
    "-o", "output", type=DATABASE, metavar="CASSETTE",
    help="New cassette. Default: omnirecord-TIME.db in the current folder.",
)  # fmt: skip
@click.option(
    "--replay", "cassette", type=CASSETTE, metavar="CASSETTE",
    help="Answer the requests from this recording, and connect to no server. The exit code is 1 if a request matches"
    " nothing, or if a recorded request is not sent.",
)  # fmt: skip
@click.option(
    "--upstream", "upstreams", multiple=True, metavar="[NAME=]URL",
    help=f"Also record this server. The command finds its address in {_OWN}, or in {_OWN}_NAME. The name of a model"
    " API, such as openai, replaces the server of this API. Repeatable.",
)  # fmt: skip
@click.option(
    "--env", "variables", multiple=True, metavar="VARIABLE",
    help="Also record the server whose URL is in this environment variable of the command. Repeatable.",
)  # fmt: skip
@click.option(
    "--fail-on", type=click.Choice(["note", "warning", "error"]),
    help="Exit with code 1 if `doctor` has a finding of this severity or a higher one, and the command exits with 0.",
)  # fmt: skip
@click.option("--ui", is_flag=True, help="Show the recording as a page for browsers while the command runs.")
@click.option(
    "--timing", default="instant", show_default=True, type=click.Choice(["original", "compressed", "instant"]),
    help="With --replay: the gaps between events, as in `omnirecord serve`.",
)  # fmt: skip
@click.option(
    "--match", multiple=True, metavar="RULE",
    help="With --replay: rule for comparing a request with the recorded requests. Repeatable. See docs/matching.md.",
)  # fmt: skip
@click.option(
    "--fault", "faults", multiple=True, metavar="SPEC",
    help="With --replay: fault to inject, in the first hop. Repeatable. See docs/faults.md.",
)  # fmt: skip
@reads_settings(one_each(["match"]))
@of_recorder(
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
def run(
    command: tuple[str, ...], output: Path | None, cassette: Path | None, upstreams: tuple[str, ...],
    variables: tuple[str, ...], fail_on: str | None, ui: bool, timing: str, match: tuple[str, ...],
    faults: tuple[str, ...], **of_recording: Any,
) -> None:  # fmt: skip
    """Run a command, and record its calls to model APIs.

    The command finds the recorder in the variables that SDKs read, such as OPENAI_BASE_URL and ANTHROPIC_BASE_URL. A
    variable that is set already names the server to record. The command keeps its stdin, stdout, stderr and exit code.

    \b
    Examples:
      omnirecord run -o weather-2.db -- python agent.py
      omnirecord run --replay weather.db -- python agent.py
    """
    from ..server.accept import raise_limit

    child.check(command)
    with child.signals_held() as mask:  # before any thread starts
        log_to_stderr(verbose=False)
        raise_limit()
        if cassette is not None:
            _refuse_with_replay(
                {"-o": output, "--ui": ui, "--upstream": upstreams, "--fail-on": fail_on, **of_recording}
            )
            code = _replay(command, mask, cassette, variables, timing=timing, match=match, faults=faults)
        elif faults or (match and not is_setting(click.get_current_context(), "match")):
            raise UsageError(f"{'--match' if match else '--fault'} changes a replay: give --replay as well")
        else:
            db = new_cassette(output)
            code, count = _record(command, mask, db, upstreams, variables, ui=ui, **of_recording)
    if cassette is None and count:
        is_fine = _tell(db, fail_on)
        code = code or (0 if is_fine else 1)
    sys.exit(code)


def _refuse_with_replay(given: Mapping[str, Any]) -> None:
    """Raise `UsageError` for an option of a recording. Settings for a recording have no effect."""
    context = click.get_current_context()
    for name, value in given.items():
        if value and not is_setting(context, name):
            option = said(OPTIONS[name]).flag if name in OPTIONS else name
            raise UsageError(f"--replay records nothing, and connects to no server: leave out {option}")


def new_cassette(output: Path | None) -> Path:
    """The cassette of a run, which does not exist. Raises `UsageError`."""
    from ..cassette.files import new_cassette

    if output is not None:
        return new_cassette(output)
    return Path(f"omnirecord-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.db")


def _record(
    command: Sequence[str],
    mask: child.Mask,
    db: Path,
    upstreams: Sequence[str],
    variables: Sequence[str],
    *,
    contract: Sequence[str],
    **chosen: Any,
) -> tuple[int, int]:
    """Run the command while a proxy records. Return its exit code, and the number of recorded exchanges."""
    from ..providers.variables import SERVICES, routes_of
    from ..recorder.proxy.server import Proxy
    from ..server.listener import by_name as values_by_name

    first, named = values_by_name("--upstream", upstreams, "server=http://127.0.0.1:6767")
    environment = dict(os.environ)
    for service in SERVICES:
        if service.name in named:
            environment[next(iter(service.variables))] = named.pop(service.name)
    _check_dotenv(environment)
    routes = routes_of(environment, variables)
    every, contracts = values_by_name("--contract", contract)
    servers = {**named, **{one.hop: one.upstream for one in routes}}
    contracts = {**(dict.fromkeys(servers, every) if every is not None else {}), **contracts}
    proxy = Proxy(first, db, upstreams=servers, contract=every, contracts=contracts, **chosen)
    with proxy as recorder:
        own: dict[str | None, str] = {} if first is None else {None: recorder.url}
        made = own_variables({**own, **{hop: recorder.urls[hop] for hop in named}})
        for route in routes:
            made |= {name: f"{recorder.urls[route.hop]}{path}" for name, path in route.paths.items()}
        if recorder.page is not None:
            say(f"the recording is at {recorder.page}")
        code = child.run(command, environment_of(made), mask)
        _wait_for_clients(proxy)
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


def _check_dotenv(environment: Mapping[str, str]) -> None:
    """Raise `UsageError` if `.env` names a server, and the environment does not.

    A program that loads this file keeps the variables of its environment. So its key would go to another server."""
    from ..providers.variables import SERVICES

    try:
        text = Path(".env").read_text(errors="replace")
    except OSError:
        return
    names = {name for service in SERVICES for name in (*service.variables, *service.rare)}
    for name in re.findall(r"^(?:export )?([A-Z_]+)=", text, re.MULTILINE):
        if name in names and not environment.get(name):
            raise UsageError(
                f".env sets {name}, and the environment does not: set it to the URL of the server, for instance with"
                " set -a; . ./.env; set +a"
            )


def _wait_for_clients(proxy: Proxy) -> None:
    """Wait until the connections of a command that has ended are closed."""
    until = monotonic() + _LEAVES_IN
    while proxy.open_exchanges and monotonic() < until:
        sleep(0.005)


def own_variables(addresses: Mapping[str | None, str]) -> dict[str, str]:
    """The variables of upstreams that are no model API."""
    return {_OWN if hop is None else f"{_OWN}_{hop.upper().replace('-', '_')}": url for hop, url in addresses.items()}


def environment_of(made: Mapping[str, str]) -> dict[str, str]:
    """The environment of the command. An HTTP proxy is not used for the recorder's addresses."""
    environment = {**os.environ, **made}
    if any(environment.get(name) for name in (*_PROXIES, *map(str.lower, _PROXIES))):
        before = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        if before != "*":
            environment["no_proxy"] = environment["NO_PROXY"] = ",".join(filter(None, (before, *_HERE)))
    return environment


def why_nothing(names: Iterable[str]) -> str:
    return (
        f"the command sent no request to the addresses in {', '.join(names)}. A program ignores them if its code names"
        " another server, or if its client reads another variable: give --env VARIABLE. See docs/run.md"
    )


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


def _replay(command: Sequence[str], mask: child.Mask, cassette: Path, variables: Sequence[str], **chosen: Any) -> int:
    """Run the command while a replay answers it. Return its exit code; 1 if that is 0 and the replay differs from the
    recording."""
    from ..providers.variables import hop_of, replayed
    from ..replayer.server import Replay

    replay = Replay(cassette, **chosen)
    replay.logs_misses, replay.used_by = False, "serve"  # misses are printed at the end
    with replay as server:
        hops = _hops(server)
        expected = {hop: one.unplayed for hop, one in hops.items()}
        made = own_variables({hop: one.url for hop, one in hops.items()})
        asked = list(made)
        for one in replayed({hop: [path_of(x.request.target) for x in found] for hop, found in expected.items()}):
            made |= one.variables(os.environ, hops[one.hop].url)
            asked += one.service.variables if one.is_recorded else ()
        for name in variables:
            if (hop := hop_of(name)) not in hops:
                raise UsageError(f"--env {name}: {by_name(str(cassette))} has no requests to this server")
            made[name] = hops[hop].url
            asked.append(name)
        code = child.run(command, environment_of(made), mask)
        lines = list(_verdict(by_name(str(cassette)), list(hops.values()), sum(map(len, expected.values())), asked))
    first, *differences = lines
    say(first)
    for line in differences:
        click.echo(line, err=True)
    return code or (1 if differences else 0)


def _hops(server: Server) -> dict[str | None, Server]:
    """The replays of a cassette by the names of their hops."""
    hops: dict[str | None, Server] = {name: server.further.get(name, server) for name in server.urls}
    return hops if server in hops.values() else {None: server, **hops}


def _verdict(name: str, hops: Sequence[Server], expected: int, asked: Iterable[str]) -> Iterator[str]:
    """The counts of a replay, then a line for each difference from the recording."""
    requests = [one for hop in hops for one in hop.requests]
    answers = [(number, one.exchange) for number, hop in enumerate(hops) for one in hop.requests if one.exchange]
    missing = sum(len(hop.unplayed) for hop in hops)
    again = len(answers) - len(set(answers))
    yield (
        f"replayed {name}: {counted(expected, 'request')} expected, {len(requests):,} made, {len(answers):,} answered"
        f" from the recording{f' ({again:,} of them again)' if again else ''}, {missing:,} missing"
    )
    if not expected:
        yield f"This is an error: {name} has no requests"
    elif not requests:
        yield f"This is an error: {why_nothing(asked)}"
    for hop in hops:
        yield from hop.differences()
