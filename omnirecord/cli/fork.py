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
from .arguments import NAMED, by_name
from .child_servers import contracts_of, labels_of_end, new_cassette, run_command, wait_for_clients, why_nothing
from .common import print_found, print_rows, table
from .listen import say
from .options import new_cassette_option, of_recorder, of_replay, variables_option
from .run_replay import Addresses, with_command
from .settings import one_each, reads_settings
from .stderr import log_to_stderr

if TYPE_CHECKING:
    from ..forks.change import Change
    from ..forks.outcome import Outcome
    from ..forks.point import Point
    from ..replayer.verdict import Verdict


Urls = Mapping[str | None, str]
"""The addresses of the hops of a cassette."""
_OF_RECORDING = ("contract", "ca", "insecure", "no_proxy", "labels", "redact", "redact_patterns", "pseudonym_key")
"""The options of the new recording."""


@click.command()
@click.argument("source", type=NAMED, metavar="CASSETTE[#SESSION]")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option(
    "--from-call",
    type=int,
    metavar="N",
    help="Number of the first model call that goes to the provider, from 1: within the conversation, as `omnirecord"
    " show` prints it. Without #SESSION, the number counts all calls of the cassette.",
)
@click.option(
    "--from-turn",
    type=int,
    metavar="N",
    help="Number of the first turn whose model calls go to the provider. Of a session of Omnigent, the fork brings a"
    " new session of a live server to this turn. See docs/fork.md.",
)
@click.option("--message", metavar="TEXT", help="With --from-turn: another message of turn N.")
@click.option(
    "--runner", metavar="ID", help="With --from-turn: runner of the session. Default: the only one that is online."
)
@click.option("--model", metavar="NAME", help="Another model, in call N and in each later call with the same model.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change a value in the request of call N, such as messages[-1].content='Another question'. PATH may be a"
    " JSONPath. Repeatable. See docs/fork.md.",
)
@click.option(
    "--edit",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="JSON file with another body for the request of call N.",
)
@of_replay(
    "upstream",
    "listens",
    upstream={
        "help": "Server for call N and later ones. Default: the server in the variable of `omnirecord run`, or the"
        " recorded one. NAME is another hop of the cassette. Repeatable."
    },
    listens={
        "help": "Address for the clients of a hop of the cassette (default: a free port of 127.0.0.1). Repeatable."
    },
)
@variables_option("Environment variable of the command that gets the address of the calls, too. Repeatable.")
@new_cassette_option
@click.option(
    "--repeat",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Run the command N times, or bring N sessions to the turn, and compare the branches. Each writes its own"
    " cassette, CASSETTE-1.db and so on.",
)
@of_replay("match", "faults")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the addresses, and a row for the recording and for each branch, as JSON. The rows go to stdout, or to"
    " the end of stderr if a command runs.",
)
@reads_settings(one_each(["match"]))
@of_recorder(*_OF_RECORDING)
def fork(
    source: str,
    command: tuple[str, ...],
    from_call: int | None,
    from_turn: int | None,
    message: str | None,
    runner: str | None,
    model: str | None,
    sets: tuple[str, ...],
    edit: Path | None,
    output: Path | None,
    repeat: int | None,
    as_json: bool,
    **chosen: Any,
) -> None:
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
    from ..forks.point import call_of_turn, point_of
    from ..server.accept import raise_limit

    if (from_call is None) == (from_turn is None):
        raise UsageError("say where the fork begins: give --from-call N or --from-turn N")
    if from_turn is not None and (call := call_of_turn(source, from_turn)) is not None:
        from_turn = None
        from_call = call
    _check(command, from_turn, {"--message": message, "--runner": runner}, repeat)
    chosen["recording"] = {name: chosen.pop(name) for name in _OF_RECORDING}
    if from_turn is not None:
        log_to_stderr(verbose=False)
        raise_limit()
        changes = model, sets, edit
        files = _files(output, repeat)
        sys.exit(_from_turn(source, from_turn, message, runner, changes, files, as_json, chosen))
    assert from_call is not None
    point = point_of(source, from_call)
    if point.place:
        say(by_name(point.place))
    change = _change(model, sets, edit, point)
    branches = [_Branch(source, point, change, change.told(), file, **chosen) for file in _files(output, repeat)]
    with child.signals_held() as held:  # before any thread starts
        log_to_stderr(verbose=False)
        raise_limit()
        perform = partial(_command, command, held, as_json)
        codes = [branch.run(perform, held) for branch in _until_signal(branches, held)]
        ended_by = held.ended_by
    if command and repeat is None and codes == [0] and (again := branches[0].replayed_by(command)):
        say(f"replay it with: {again}")
    if repeat is not None or as_json:
        with redirect_stdout(sys.stderr if command else sys.stdout):  # stdout is that of the command
            _compare(source, point, list(zip(branches, codes, strict=False)), as_json)
    if ended_by is not None and repeat is not None:
        sys.exit(128 + ended_by)
    sys.exit(next(filter(None, codes), 0))


def _until_signal(branches: Sequence[_Branch], held: child.Held) -> Iterator[_Branch]:
    """Yield the branches until a signal ends the fork."""
    for number, branch in enumerate(branches):
        if (ended_by := held.ended_by) is not None:
            say(f"{ended_by.name} ended the fork before branch {number + 1} of {len(branches)}")
            return
        yield branch


def _check(
    command: Sequence[str],
    from_turn: int | None,
    of_turn: Mapping[str, str | None],
    repeat: int | None,
) -> None:
    """Raise `UsageError` for options that do not go together, or if there is no such command. `from_turn`: of a session
    of Omnigent; `of_turn`: the options for one."""
    if from_turn is None:
        for name, value in of_turn.items():
            if value is not None:
                other = ". To change the request of a program, use --set" if name == "--message" else ""
                raise UsageError(f"{name} is for --from-turn and a session of Omnigent{other}")
        if command:
            child.check(command)
        elif repeat is not None:
            raise UsageError("--repeat runs a command: give it behind --")
    elif command:
        raise UsageError(
            "--from-turn runs no command for a session of Omnigent: leave out the command, and start the runner as in"
            " docs/fork.md. To run a program, give --from-call"
        )


def _command(command: Sequence[str], held: child.Held, as_json: bool, made: Mapping[str, str], _: Urls) -> int:
    """Run the command, or wait for Ctrl-C. Return the exit code."""
    if not command:
        return _wait(made, as_json)
    return run_command(command, made, held)


def _from_turn(
    source: str,
    number: int,
    message: str | None,
    runner: str | None,
    changes: tuple[str | None, Sequence[str], Path | None],
    files: Sequence[Path],
    as_json: bool,
    chosen: dict[str, Any],
) -> int:
    """Bring a session of a live server to a turn, and through it, once for each file. Return the exit code."""
    import asyncio

    from ..forks.point import point_of_turn
    from ..forks.session import Client
    from ..server.listener import by_name as values_by_name

    point, session = point_of_turn(source, number, message)
    change = _change(*changes, point)
    description = change.told()
    if message is not None:
        option = f"--message {shlex.quote(clip(one_line(message), 100))}"
        description = f"{option}, {description}" if description else option
    unnamed, by_hop = values_by_name("--listen", chosen["listens"])
    if len(files) > 1 and (unnamed if point.hop is None else by_hop.get(point.hop)) is None:
        name = "" if point.hop is None else f"{point.hop}="
        raise UsageError(
            f"the runner keeps the address of its model: with --repeat, give --listen {name}127.0.0.1:PORT"
        )

    def perform(branch: _Branch, made: Mapping[str, str], urls: Urls) -> int:
        _print_variables({name: url for name, url in made.items() if url.startswith(urls[point.hop] or "-")}, as_json)
        client = Client(urls[None], say)
        ended = asyncio.run(client.play(session, branch.branch.go_live, runner))
        say(f"turn {number} ended with {ended}; the session is {client.session_id} on the server")
        if as_json:
            print_rows([{"turn": number, "ended": ended, "session_id": client.session_id}])
        return 0

    branches = [_Branch(source, point, change, description, db, **chosen) for db in files]
    codes = [branch.run(partial(perform, branch)) for branch in branches]
    if as_json or len(files) > 1:
        _compare(source, point, list(zip(branches, codes, strict=True)), as_json)
    return next(filter(None, codes), 0)


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


class _Branch:
    """One branch: the servers, the command, the counts."""

    def __init__(
        self,
        source: str,
        point: Point,
        change: Change,
        description: str,
        db: Path,
        *,
        upstream: Sequence[str],
        listens: Sequence[str],
        variables: Sequence[str],
        match: Sequence[str],
        faults: Sequence[str],
        recording: Mapping[str, Any],
    ) -> None:
        from ..cassette.forked import Fork
        from ..episodes.server import Episodes
        from ..forks.branch import Branch
        from ..server.listener import by_name as values_by_name
        from ..server.listener import parse_listen

        self.db = db
        self._point = point
        self._name = by_name(source)
        self._change = change
        self._variables = variables
        self._match = match
        self.branch = Branch(point, change)
        call = point.number if point.turn is None else None
        self._fork = Fork(Path(self._name).name, point.recording_id, call, point.turn, description)
        labels = [*recording["labels"], *(f"{key}={value}" for key, value in self._fork.labels().items())]
        contract, contracts = contracts_of(recording["contract"], point.hops)
        listen, listens_by_hop = values_by_name("--listen", listens)
        host, port = parse_listen(listen or "127.0.0.1:0", allow_remote=False)
        self._server = Episodes(
            point.source,
            _upstreams(point, upstream),
            into=db,
            decide=self.branch.decide,
            replaces=False,
            recording={**recording, "labels": labels, "contract": contract, "contracts": contracts},
            timing="instant",
            match=match,
            faults=faults,
            host=host,
            port=port,
            listens=listens_by_hop,
        )
        self._server.logs_misses = False  # they are printed at the end
        self._server.used_by = "serve"

    def run(self, perform: Callable[[Mapping[str, str], Urls], int], held: child.Held | None = None) -> int:
        """Call `perform` with the variables and the addresses of the hops. Return its exit code; 1 if that is 0 and the
        branch failed."""
        paths = {hop: recorded.paths for hop, recorded in self._point.hops.items()}
        addresses = Addresses(paths, self._name, self._variables)
        with self._server as server:
            urls: dict[str | None, str] = {hop.only: hop.url for hop in self._server.hops}
            urls.update(server.urls)
            made = addresses.made(urls)
            for replayed_service in addresses.services:
                for key in replayed_service.service.keys:
                    made.pop(key, None)  # the provider wants a real one
            code = perform(made, urls)
            self._server.last_labels |= labels_of_end(code, held)
            wait_for_clients(self._server)
        verdict = self._verdict(addresses.asked())
        say(verdict.counts)
        problems = [*verdict.problems, *self._problems()]
        for line in problems:
            click.echo(line, err=True)
        if sentence := self._told_change():
            say(sentence)
        if self._server.recorded:
            say(f"compare it with: omnirecord diff {shlex.quote(self._name)} {shlex.quote(str(self.db))}")
        else:
            self.db.unlink(missing_ok=True)
        return code or (1 if problems else 0)

    def replayed_by(self, command: Sequence[str]) -> str:
        """Return the command that replays the new cassette although the program lacks the change; empty if the command
        of any recording does."""
        rules = [f"ignore conversation {part}" for part in sorted(self.branch.changed_parts)]
        words = ["omnirecord", "run", "--replay", str(self.db)]
        options = (word for rule in [*self._match, *rules] for word in ("--match", rule))
        return with_command([*words, *options], command) if rules else ""

    def _verdict(self, asked: Sequence[str]) -> Verdict:
        from ..replayer.verdict import verdict_of

        point = self._point
        name = f"{self._name} at {self._fork.where}"
        expected = point.expected
        return verdict_of(
            self._server,
            name,
            done="forked",
            nothing=why_nothing(asked),
            is_expected=lambda exchange: exchange.exchange in expected,
        )

    def _problems(self) -> Iterator[str]:
        """The reasons why the branch failed, apart from those of any replay."""
        if self._server.served and not (self.branch.has_forked or self.branch.is_stopped):
            yield self._told_missing()
        if self.branch.is_stopped:
            yield from self._told_alone()
        if self.live_calls:
            outcome = self.outcome()
            for failure in dict.fromkeys(outcome.failed):
                yield f"A live call failed: {failure}"
            if self._has_other_model:
                for asked, answered in outcome.other_models:
                    yield f"The model {asked} was asked, and {answered} answered"

    def _told_missing(self) -> str:
        """Return that call N was not made, and where the other calls went."""
        point = self._point
        if point.turn is not None:
            return "No call of the turn was made, so no call went to the provider"
        if self.live_calls:
            told = f"and {counted(self.live_calls, 'other call')} went to the provider without the change"
        else:
            told = "so no call went to the provider"
        again = f". It repeats call {point.again}, since the program started again. Fork at call {point.again}"
        return f"Call {point.number} was not made, {told}{again if point.again else ''}"

    def _told_alone(self) -> Iterator[str]:
        """Return how to fork with all conversations, if only one of the cassette answers."""
        from ..cassette.select import named_session
        from ..forks.point import call_number

        cassette, name = named_session(self._point.source)
        if name is not None:
            words = ["omnirecord", "fork", by_name(str(cassette)), "--from-call"]
            number = call_number(cassette, min(self._point.attempts))
            yield (
                f"Only {self._name} answers, since another conversation has an equal request. If the program makes the"
                f" calls of the others, too: {shlex.join(words)} {number}"
            )

    def _told_change(self) -> str:
        """Return in how many live calls the change is; empty if there is no change, or no live call."""
        if not self._change or not self.live_calls:
            return ""
        calls = counted(self.live_calls, "live call")
        return f"the change is in {self.branch.changed:,} of {calls}: {self._change.told()}"

    @property
    def live_calls(self) -> int:
        """The number of requests that went to a provider."""
        return sum(served.source == "live" for _, served in self._server.served)

    @property
    def _has_other_model(self) -> bool:
        return self._change.model is not None or any(change.path == "model" for change in self._change.sets)

    def outcome(self) -> Outcome:
        """Return what happened from the fork on. The branch is over."""
        from ..forks.outcome import of_branch

        return of_branch(self.db)


def _upstreams(point: Point, given: Sequence[str]) -> dict[str | None, str]:
    """Return the servers of the live calls by hop. Raises `UsageError`."""
    from ..providers.variables import replayed, routes_of
    from ..server.listener import by_name as values_by_name

    unnamed, by_hop = values_by_name("--upstream", given, "openai=https://api.openai.com")
    chosen: dict[str | None, str] = {}
    chosen.update(by_hop)
    if unknown := [name for name in by_hop if name not in point.hops]:
        known = ", ".join(name for name in point.hops if name is not None)
        raise UsageError(f"--upstream {unknown[0]}=: the cassette has no such hop: {known or 'its hop has no name'}")
    first = point.hop if point.turn is None else None  # the hop of an --upstream without a name
    if unnamed is not None:
        chosen.setdefault(first, unnamed)
    recorded = {hop: played.upstream for hop, played in point.hops.items() if played.upstream is not None}
    servers = {hop: url.rstrip("/") for hop, url in chosen.items()}
    from_environment = {route.hop: route.upstream for route in routes_of(os.environ)}
    for service in replayed({hop: played.paths for hop, played in point.hops.items()}):
        if not service.is_recorded:
            continue
        if service.hop in chosen:
            servers[service.hop] = servers[service.hop].removesuffix(service.path)
        elif any(map(os.environ.get, service.service.variables)) and service.service.name in from_environment:
            servers[service.hop] = from_environment[service.service.name]
    by_cassette = {hop: url for hop, url in recorded.items() if hop not in servers}
    if point.hop not in {**by_cassette, **servers}:
        raise UsageError("the recording does not name the server of its model calls: give --upstream URL")
    _check_trusted(by_cassette, point.hop)
    return {**by_cassette, **servers}


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


def _compare(source: str, point: Point, branches: Sequence[tuple[_Branch, int]], as_json: bool) -> None:
    """Print the recording and the branches from call N on, a row each."""
    from ..forks.outcome import of_origin, rows, table_of

    of_branches = [
        (str(branch.db) if branch.db.exists() else None, code, branch.outcome() if branch.live_calls else None)
        for branch, code in branches
    ]
    compared = list(rows(of_origin(source, point), of_branches))
    where = f"call {point.number}" if point.turn is None else f"turn {point.turn}"
    lines = [f"From {where} on:", *table(table_of(compared))]
    print_found(as_json, compared, lines)
