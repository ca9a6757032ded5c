"""`fork`: runs a command against a recording up to one model call, and against the live provider from there on.

The command gets its addresses as in `run`. `forks` decides which request is answered from where. `branches` compares
several branches.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..text import clip, counted, one_line
from . import child
from .arguments import DATABASE, NAMED, by_name
from .common import print_found, print_rows, table
from .listen import say
from .recording import of_recorder
from .run import environment_of, new_cassette, wait_for_clients, why_nothing
from .run_replay import Addresses
from .settings import one_each, reads_settings
from .stderr import log_to_stderr

if TYPE_CHECKING:
    from ..forks.change import Change
    from ..forks.outcome import Outcome
    from ..forks.point import Point
    from ..replayer.verdict import Verdict


Urls = Mapping[str | None, str]
"""The addresses of the hops of a cassette."""


@click.command()
@click.argument("source", type=NAMED, metavar="CASSETTE[#SESSION]")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option(
    "--from-call", type=int, metavar="N",
    help="Number of the first model call that goes to the provider, from 1: within the conversation, as `omnirecord"
    " show` prints it. Without #SESSION, the number counts all calls of the cassette.",
)  # fmt: skip
@click.option(
    "--from-turn", type=int, metavar="N",
    help="Number of the first turn whose model calls go to the provider. The fork brings a new session of a live"
    " Omnigent server to this turn. See docs/fork.md.",
)  # fmt: skip
@click.option("--message", metavar="TEXT", help="With --from-turn: another message of turn N.")
@click.option(
    "--runner", metavar="ID", help="With --from-turn: runner of the session. Default: the only one that is online."
)  # fmt: skip
@click.option("--model", metavar="NAME", help="Another model, in call N and in each later call with the same model.")
@click.option(
    "--set", "sets", multiple=True, metavar="PATH=VALUE",
    help="Change a value in the request of call N, such as messages[-1].content='Another question'. PATH may be a"
    " JSONPath. Repeatable. See docs/fork.md.",
)  # fmt: skip
@click.option(
    "--edit", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="JSON file with another body for the request of call N.",
)  # fmt: skip
@click.option(
    "--upstream", "upstreams", multiple=True, metavar="[NAME=]URL",
    help="Server for call N and later ones. Default: the server in the variable of `omnirecord run`, or the recorded"
    " one. NAME is another hop of the cassette. Repeatable.",
)  # fmt: skip
@click.option(
    "--listen", "listens", multiple=True, metavar="[NAME=]HOST:PORT",
    help="Address for the clients of a hop of the cassette (default: a free port of 127.0.0.1). Repeatable.",
)  # fmt: skip
@click.option(
    "--env", "variables", multiple=True, metavar="VARIABLE",
    help="Environment variable of the command that gets the address of the calls, too. Repeatable.",
)  # fmt: skip
@click.option(
    "-o", "output", type=DATABASE, metavar="CASSETTE",
    help="New cassette. Default: omnirecord-TIME.db in the current folder.",
)  # fmt: skip
@click.option(
    "--repeat", type=click.IntRange(1, 1000), metavar="N",
    help="Run the command N times, and compare the branches. Each writes its own cassette, CASSETTE-1.db and so on.",
)  # fmt: skip
@click.option(
    "--match", multiple=True, metavar="RULE",
    help="Rule for comparing a request with the recorded requests. Repeatable. See docs/matching.md.",
)  # fmt: skip
@click.option(
    "--fault", "faults", multiple=True, metavar="SPEC",
    help="Fault to inject. Repeatable. See docs/faults.md.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True,
    help="Print the addresses, and a row for the recording and for each branch, as JSON. The rows go to stdout, or to"
    " the end of stderr if a command runs.",
)  # fmt: skip
@reads_settings(one_each(["match"]))
@of_recorder("contract", "ca", "insecure", "no_proxy", "labels", "redact", "redact_patterns", "pseudonym_key")
def fork(
    source: str, command: tuple[str, ...], from_call: int | None, from_turn: int | None, message: str | None,
    runner: str | None, model: str | None, sets: tuple[str, ...], edit: Path | None, upstreams: tuple[str, ...],
    listens: tuple[str, ...], variables: tuple[str, ...], output: Path | None, repeat: int | None,
    match: tuple[str, ...], faults: tuple[str, ...], as_json: bool, **of_recording: Any,
) -> None:  # fmt: skip
    """Run a command again from one of its model calls on, with a change.

    The recording answers the model calls before call N, at once. Call N goes to the provider, with the change, and so
    do the later calls. The command finds the addresses as in `omnirecord run`. Without a command, stdout shows the
    addresses, and Ctrl-C ends the fork. A new cassette gets all calls.

    Before call N, a request that differs from the recorded one is refused. Then no request goes to the provider any
    more, and the exit code is 1.

    \b
    Examples:
      omnirecord fork weather.db --from-call 1 --model m2 -- python agent.py
      omnirecord fork weather.db --from-call 1 --set input='Snow?' -- python agent.py
    """
    from ..forks.change import Change
    from ..forks.point import point_of
    from ..server.accept import raise_limit

    _check(command, from_call, from_turn, {"--message": message, "--runner": runner}, edit, repeat)
    log_to_stderr(verbose=False)
    raise_limit()
    chosen: dict[str, Any] = {"upstreams": upstreams, "listens": listens, "variables": variables, "match": match}
    chosen |= {"faults": faults, "recording": of_recording}
    if from_turn is not None:
        change = Change.of(model, sets)
        sys.exit(_from_turn(source, from_turn, message, runner, change, new_cassette(output), as_json, chosen))
    assert from_call is not None
    point = point_of(source, from_call)
    change = _change(model, sets, edit, point)
    branches = [_Run(source, point, change, change.told(), file, **chosen) for file in _files(output, repeat)]
    with child.signals_held() as mask:
        codes = [one.run(partial(_command, command, mask, as_json)) for one in branches]
    if repeat is not None or as_json:
        with redirect_stdout(sys.stderr if command else sys.stdout):  # stdout is that of the command
            _compare(source, point, list(zip(branches, codes, strict=True)), as_json)
    sys.exit(next(filter(None, codes), 0))


def _check(
    command: Sequence[str], from_call: int | None, from_turn: int | None, of_turn: Mapping[str, str | None],
    edit: Path | None, repeat: int | None,
) -> None:  # fmt: skip
    """Raise `UsageError` for options that do not go together, or if there is no such command."""
    if (from_call is None) == (from_turn is None):
        raise UsageError("say where the fork begins: give --from-call N or --from-turn N")
    if from_turn is None:
        if name := next((name for name, value in of_turn.items() if value is not None), None):
            raise UsageError(f"{name} is for a session of Omnigent: give --from-turn as well")
        if command:
            child.check(command)
        elif repeat is not None:
            raise UsageError("--repeat runs a command: give it behind --")
    elif command or repeat is not None or edit is not None:
        what = "--edit" if edit is not None else "--repeat" if repeat is not None else "the command"
        raise UsageError(f"--from-turn talks to a live server by itself: leave out {what}")


def _command(command: Sequence[str], mask: child.Mask, as_json: bool, made: Mapping[str, str], _: Urls) -> int:
    """Run the command, or wait for Ctrl-C. Return the exit code."""
    return child.run(command, environment_of(made), mask) if command else _wait(made, as_json)


def _from_turn(
    source: str, number: int, message: str | None, runner: str | None, change: Change, db: Path, as_json: bool,
    chosen: dict[str, Any],
) -> int:  # fmt: skip
    """Bring a session of a live server to a turn, and through it. Return the exit code."""
    import asyncio

    from ..forks.point import point_of_turn
    from ..forks.session import Client

    point, session = point_of_turn(source, number, message)
    options = [] if message is None else [f"--message {shlex.quote(clip(one_line(message), 100))}"]
    run = _Run(source, point, change, ", ".join(filter(None, [*options, change.told()])), db, **chosen)

    def perform(made: Mapping[str, str], urls: Urls) -> int:
        _print_variables({name: url for name, url in made.items() if url.startswith(urls[point.hop] or "-")}, as_json)
        client = Client(urls[None], say)
        ended = asyncio.run(client.play(session, run.branch.go_live, runner))
        say(f"turn {number} ended with {ended}; the session is {client.session_id} on the server")
        if as_json:
            print_rows([{"turn": number, "ended": ended, "session_id": client.session_id}])
        return 0

    code = run.run(perform)
    if as_json:
        _compare(source, point, [(run, code)], as_json)
    return code


def _change(model: str | None, sets: Sequence[str], edit: Path | None, point: Point) -> Change:
    """Return the change, which has an effect on the request of call N. Raises `UsageError`."""
    from ..forks.change import Change, edited_body

    edited = None
    if edit is not None:
        try:
            edited = edited_body(edit.read_text(), str(edit))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--edit {edit} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    change = Change.of(model, sets, edited)
    change.made(point.body, point.target)
    return change


def _files(output: Path | None, repeat: int | None) -> list[Path]:
    """Return the new cassettes, which do not exist. Raises `UsageError`."""
    first = new_cassette(output)
    if repeat is None:
        return [first]
    return [new_cassette(first.with_name(f"{first.stem}-{n}{first.suffix}")) for n in range(1, repeat + 1)]


class _Run:
    """One branch: the servers, the command, the counts."""

    def __init__(
        self, source: str, point: Point, change: Change, told: str, db: Path, *, upstreams: Sequence[str],
        listens: Sequence[str], variables: Sequence[str], match: Sequence[str], faults: Sequence[str],
        recording: Mapping[str, Any],
    ) -> None:  # fmt: skip
        from ..cassette.forked import Fork
        from ..episodes import Episodes
        from ..forks.branch import Branch
        from ..server.listener import by_name as values_by_name
        from ..server.listener import parse_listen

        self.db = db
        self._point = point
        self._name = by_name(source)
        self._change = change
        self._others = variables
        self.branch = Branch(point, change)
        call = point.number if point.turn is None else None
        self._fork = Fork(Path(self._name).name, point.recording_id, call, point.turn, told)
        labels = [*recording["labels"], *(f"{key}={value}" for key, value in self._fork.labels().items())]
        every, contracts = values_by_name("--contract", recording["contract"])
        if every is not None:
            contracts = {**{hop: every for hop in point.hops if hop is not None}, **contracts}
        recording = {**recording, "labels": labels, "contract": every, "contracts": contracts}
        listen, listens_of = values_by_name("--listen", listens)
        host, port = parse_listen(listen or "127.0.0.1:0", allow_remote=False)
        self._server = Episodes(
            point.source, _upstreams(point, upstreams), into=db, decide=self.branch.decide,
            recording=recording, timing="instant", match=match, faults=faults, host=host,
            port=port, listens=listens_of,
        )  # fmt: skip
        self._server.logs_misses, self._server.used_by = False, "serve"  # misses are printed at the end

    def run(self, perform: Callable[[Mapping[str, str], Urls], int]) -> int:
        """Call `perform` with the variables and the addresses of the hops. Return its exit code; 1 if that is 0 and the
        branch failed."""
        addresses = Addresses({hop: of.paths for hop, of in self._point.hops.items()}, self._name, self._others)
        with self._server as server:
            urls: dict[str | None, str] = {hop.only: hop.url for hop in self._server.hops}
            urls.update(server.urls)
            made = addresses.made(urls)
            for key in {key for one in addresses.services for key in one.service.keys} & made.keys():
                del made[key]  # the provider wants a real one
            code = perform(made, urls)
            wait_for_clients(self._server)
        verdict = self._verdict(addresses.asked())
        say(verdict.counts)
        problems = [*verdict.problems, *self._problems()]
        for line in problems:
            click.echo(line, err=True)
        if told := self._told_change():
            say(told)
        if self._server.recorded:
            a, b = shlex.quote(by_name(self._point.source)), shlex.quote(str(self.db))
            say(f"compare it with: omnirecord diff {a} {b}")
        else:
            self.db.unlink(missing_ok=True)
        return code or (1 if problems else 0)

    def _verdict(self, asked: Sequence[str]) -> Verdict:
        from ..replayer.verdict import verdict_of

        point = self._point
        name = f"{self._name} at {self._fork.where}"
        expected = point.expected
        return verdict_of(
            self._server, name, done="forked", nothing=why_nothing(asked), is_expected=lambda x: x.exchange in expected
        )

    def _problems(self) -> Iterator[str]:
        """The reasons why the branch failed, apart from those of any replay."""
        if self._server.served and not (self.branch.has_forked or self.branch.is_stopped):
            what = f"Call {self._point.number}" if self._point.turn is None else "No call of the turn"
            yield f"{what} was{' not' if self._point.turn is None else ''} made, so no call went to the provider"
        if self.has_live_calls:
            outcome = self.outcome()
            yield from (f"A live call failed: {one}" for one in dict.fromkeys(outcome.failed))
            for asked, answered in outcome.other_models if self._has_other_model else ():
                yield f"The model {asked} was asked, and {answered} answered"

    def _told_change(self) -> str:
        """Return in how many live calls the change is; empty if there is no change, or no live call."""
        live = sum(one.source == "live" for _, one in self._server.served)
        if not self._change or not live:
            return ""
        return f"the change is in {self.branch.changed:,} of {counted(live, 'live call')}: {self._change.told()}"

    @property
    def has_live_calls(self) -> bool:
        return any(one.source == "live" for _, one in self._server.served)

    @property
    def _has_other_model(self) -> bool:
        return self._change.model is not None or any(one.path == "model" for one in self._change.sets)

    def outcome(self) -> Outcome:
        """Return what happened from the fork on. The branch is over."""
        from ..forks.outcome import of_branch

        return of_branch(self.db)


def _upstreams(point: Point, given: Sequence[str]) -> dict[str | None, str]:
    """Return the servers of the live calls by hop. Raises `UsageError`."""
    from ..providers.variables import replayed, routes_of
    from ..server.listener import by_name as values_by_name

    first, named = values_by_name("--upstream", given, "openai=https://api.openai.com")
    if unknown := [name for name in named if name not in point.hops]:
        known = ", ".join(name for name in point.hops if name is not None)
        raise UsageError(f"--upstream {unknown[0]}=: the cassette has no such hop: {known or 'its hop has no name'}")
    routes = {one.hop: one.upstream for one in routes_of(os.environ)}
    recorded: dict[str | None, str] = {hop: one.upstream for hop, one in point.hops.items() if one.upstream is not None}
    found = dict(recorded)
    chosen: set[str | None] = {*named}
    if first is not None:
        chosen.add(None if point.turn is not None else point.hop)
    for one in replayed({hop: of.paths for hop, of in point.hops.items()}):
        if one.is_recorded:
            if any(map(os.environ.get, one.service.variables)) and one.service.name in routes:
                found[one.hop] = routes[one.service.name]
                chosen.add(one.hop)
            for hop, url in [(None if point.turn is not None else point.hop, first), *named.items()]:
                if hop == one.hop and url is not None:
                    found[hop] = url.rstrip("/").removesuffix(one.path)
    if point.turn is not None and first is not None:
        found[None] = first.rstrip("/")
    if point.hop not in found:
        raise UsageError("the recording does not name the server of its model calls: give --upstream URL")
    _check_trusted({hop: url for hop, url in recorded.items() if hop not in chosen}, point.hop)
    return found


def _check_trusted(servers: Mapping[str | None, str], first: str | None) -> None:
    """Raise `UsageError` if a server that only the cassette names could get an API key: a stranger may have made the
    cassette. `first`: the hop that `--upstream` means without a name."""
    from ..providers.variables import is_trusted

    for hop, url in servers.items():
        if not is_trusted(url):
            name = "" if hop in (None, first) else f"{hop}="
            raise UsageError(
                f"the cassette names the server {url}, and live calls would send your API key there: "
                f"if that is right, give --upstream {name}{url}"
            )


def _wait(made: Mapping[str, str], as_json: bool) -> int:
    """Print the addresses, and wait for Ctrl-C or SIGTERM. Return the exit code."""
    _print_variables(made, as_json)
    say("Ctrl-C ends the fork")
    child.wait_for_end()
    return 0


def _print_variables(made: Mapping[str, str], as_json: bool) -> None:
    rows = [{"variables": dict(made)}]
    print_found(as_json, rows, (f"{name}={value}" for name, value in made.items()))
    sys.stdout.flush()


def _compare(source: str, point: Point, branches: Sequence[tuple[_Run, int]], as_json: bool) -> None:
    """Print the recording and the branches from call N on, a row each."""
    from ..forks.outcome import cells, of_origin, rows

    told = [
        (str(run.db) if run.db.exists() else None, code, run.outcome() if run.has_live_calls else None)
        for run, code in branches
    ]
    found = list(rows(of_origin(source, point), told))
    print_found(as_json, found, table(list(map(cells, found))))
