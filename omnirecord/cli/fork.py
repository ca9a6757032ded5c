"""`fork`: runs a command against a recording up to one model call, and against the live provider from there on.

The command gets its addresses as in `run`. `forks` decides which request is answered from where. `branches` compares
several branches.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..text import counted
from . import child
from .arguments import DATABASE, NAMED, by_name
from .common import print_lines, table
from .listen import say
from .recording import of_recorder
from .run import environment_of, new_cassette, wait_for_clients, why_nothing
from .run_replay import Addresses
from .settings import one_each, reads_settings
from .stderr import log_to_stderr

if TYPE_CHECKING:
    from ..forks.branch import Branch
    from ..forks.change import Change
    from ..forks.outcome import Outcome
    from ..forks.point import Point
    from ..replayer.verdict import Verdict


@click.command()
@click.argument("source", type=NAMED, metavar="CASSETTE[#SESSION]")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option(
    "--from-call", type=int, metavar="N", required=True,
    help="Number of the first model call that goes to the provider, from 1, as `omnirecord show` prints it.",
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
@reads_settings(one_each(["match"]))
@of_recorder("contract", "ca", "insecure", "no_proxy", "labels", "redact", "redact_patterns", "pseudonym_key")
def fork(
    source: str, command: tuple[str, ...], from_call: int, model: str | None, sets: tuple[str, ...], edit: Path | None,
    upstreams: tuple[str, ...], variables: tuple[str, ...], output: Path | None, repeat: int | None,
    match: tuple[str, ...], faults: tuple[str, ...], **of_recording: Any,
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
    from ..cassette.forked import Fork
    from ..forks.point import point_of
    from ..server.accept import raise_limit

    if command:
        child.check(command)
    elif repeat is not None:
        raise UsageError("--repeat runs a command: give it behind --")
    point = point_of(source, from_call)
    change = _change(model, sets, edit, point)
    origin = Fork(Path(by_name(source)).name, point.recording_id, from_call, change=change.told())
    labels = [*of_recording.pop("labels"), *(f"{key}={value}" for key, value in origin.labels().items())]
    recording = {**of_recording, "labels": labels}
    files = _files(output, repeat)
    branches = [_Run(source, point, change, file, upstreams, variables, match, faults, recording) for file in files]
    with child.signals_held() as mask:
        log_to_stderr(verbose=False)
        raise_limit()
        codes = [one.run(command, mask) for one in branches]
    if repeat is not None:
        _tabulate(source, point, list(zip(branches, codes, strict=True)))
    sys.exit(next(filter(None, codes), 0))


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
        self, source: str, point: Point, change: Change, db: Path, upstreams: Sequence[str],
        variables: Sequence[str], match: Sequence[str], faults: Sequence[str], recording: Mapping[str, Any],
    ) -> None:  # fmt: skip
        from ..episodes import Episodes
        from ..forks.branch import Branch

        self.db = db
        self._point = point
        self._name = by_name(source)
        self._change = change
        self._others = variables
        self.branch: Branch = Branch(point, change)
        self._server = Episodes(
            point.source, _upstreams(point, upstreams), into=db, decide=self.branch.decide, recording=recording,
            timing="instant", match=match, faults=faults,
        )  # fmt: skip
        self._server.logs_misses, self._server.used_by = False, "serve"  # misses are printed at the end

    def run(self, command: Sequence[str], mask: child.Mask) -> int:
        """Run the command, or wait for Ctrl-C. Return its exit code; 1 if that is 0 and the branch failed."""
        addresses = Addresses({hop: of.paths for hop, of in self._point.hops.items()}, self._name, self._others)
        with self._server as server:
            urls: dict[str | None, str] = {hop.only: hop.url for hop in self._server.hops}
            urls.update(server.urls)
            made = addresses.made(urls)
            for key in {key for one in addresses.services for key in one.service.keys} & made.keys():
                del made[key]  # the provider wants a real one
            code = child.run(command, environment_of(made), mask) if command else _wait(made)
            wait_for_clients(self._server)
        verdict = self._verdict(addresses.asked())
        say(verdict.counts)
        problems = [*verdict.problems, *self._problems()]
        for line in problems:
            click.echo(line, err=True)
        if told := self._told_change():
            say(told)
        if self._server.recorded:
            a, b = shlex.quote(self._name), shlex.quote(str(self.db))
            say(f"compare it with: omnirecord diff {a} {b}")
        else:
            self.db.unlink(missing_ok=True)
        return code or (1 if problems else 0)

    def _verdict(self, asked: Sequence[str]) -> Verdict:
        from ..replayer.verdict import verdict_of

        point = self._point
        name = f"{self._name} at call {point.number}"
        expected = point.expected
        return verdict_of(
            self._server, name, done="forked", nothing=why_nothing(asked), is_expected=lambda x: x.exchange in expected
        )

    def _problems(self) -> Iterator[str]:
        """The reasons why the branch failed, apart from those of any replay."""
        if self._server.served and not (self.branch.has_forked or self.branch.is_stopped):
            yield f"Call {self._point.number} was not made, so no call went to the provider"
        if self.has_live_calls:
            yield from (f"A live call failed: {one}" for one in dict.fromkeys(self.outcome().failed))

    def _told_change(self) -> str:
        """Return in how many live calls the change is; empty if there is no change, or no live call."""
        live = sum(one.source == "live" for _, one in self._server.served)
        if not self._change or not live:
            return ""
        return f"the change is in {self.branch.changed:,} of {counted(live, 'live call')}: {self._change.told()}"

    @property
    def has_live_calls(self) -> bool:
        return any(one.source == "live" for _, one in self._server.served)

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
    found: dict[str | None, str] = {hop: one.upstream for hop, one in point.hops.items() if one.upstream is not None}
    for one in replayed({hop: of.paths for hop, of in point.hops.items()}):
        if one.is_recorded:
            if any(map(os.environ.get, one.service.variables)) and one.service.name in routes:
                found[one.hop] = routes[one.service.name]
            for hop, url in [(point.hop, first), *named.items()]:
                if hop == one.hop and url is not None:
                    found[hop] = url.rstrip("/").removesuffix(one.path)
    if point.hop not in found:
        raise UsageError("the recording does not name the server of its model calls: give --upstream URL")
    return found


def _wait(made: Mapping[str, str]) -> int:
    """Print the addresses, and wait for Ctrl-C or SIGTERM. Return the exit code."""
    for name, value in made.items():
        click.echo(f"{name}={value}")
    sys.stdout.flush()
    say("Ctrl-C ends the fork")
    child.wait_for_end()
    return 0


def _tabulate(source: str, point: Point, branches: Sequence[tuple[_Run, int]]) -> None:
    """Print the recording and the branches from call N on, a row each."""
    from ..forks.outcome import cells, of_origin, rows

    told = [(str(run.db), code, run.outcome() if run.has_live_calls else None) for run, code in branches]
    with redirect_stdout(sys.stderr):
        print_lines(table([cells(row) for row in rows(of_origin(source, point), told)]))
