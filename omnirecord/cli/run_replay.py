"""`run --replay`: a recording answers the calls of a command. With `--record new_episodes`, servers answer the rest."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cassette.select import named_session
from ..errors import UsageError
from ..omnigent.routes import path_of
from ..providers.variables import Replayed, Route, checked_url, hop_of, replayed, routes_of, variable_of
from ..text import counted
from . import child
from .arguments import by_name
from .child_servers import (
    contracts_of,
    labels_of_end,
    named_servers,
    own_variables,
    run_command,
    wait_for_clients,
    why_nothing,
)
from .listen import say

if TYPE_CHECKING:
    from ..providers.grouping import Place
    from ..replayer.server import Replay

_Hop = str | None


class Addresses:
    """Which hop of a recording answers the clients of each variable. `targets`: the recorded targets by hop; `name`:
    the recording; `variables`: further variables that the user names. Raises `UsageError`."""

    def __init__(self, targets: Mapping[_Hop, Sequence[str]], name: str, variables: Sequence[str]) -> None:
        self.hops = list(targets)
        self.services = replayed({hop: list(map(path_of, found)) for hop, found in targets.items()})
        self.variables: dict[str, _Hop] = {}
        """The hops of other variables."""
        for hop in targets:
            if hop is not None and (variable := variable_of(hop)) is not None:
                self.variables[variable] = hop
        known = {hop.lower(): hop for hop in targets if hop is not None}
        for variable in variables:
            if (hop := known.get(hop_of(variable).lower())) is None:
                raise UsageError(f"--env {variable}: {name} has no requests to this server")
            self.variables[variable] = hop

    def made(self, urls: Mapping[_Hop, str]) -> dict[str, str]:
        """Return the variables of the command. `urls`: the addresses of the hops."""
        made = own_variables({hop: urls[hop] for hop in self.hops})
        made |= {variable: urls[hop] for variable, hop in self.variables.items()}
        for one in self.services:
            made |= one.variables(os.environ, urls[one.hop])
        return made

    def asked(self) -> list[str]:
        """Return the variables that the command should read."""
        own = own_variables(dict.fromkeys(self.hops, ""))
        return [
            *own,
            *self.variables,
            *(name for one in self.services if one.is_recorded for name in one.service.variables),
        ]


def replay(command: Sequence[str], held: child.Held, cassette: Path, variables: Sequence[str], **chosen: Any) -> int:
    """Run the command while a replay answers it. Return its exit code; 1 if that is 0 and the replay differs from the
    recording."""
    from ..replayer.matching.key import RECORD_REST
    from ..replayer.server import Replay

    running = Replay(cassette, **chosen)
    running.logs_misses = False  # they are printed at the end
    running.used_by = "serve"
    name = by_name(str(cassette))
    with running:
        urls = {hop.only: hop.url for hop in running.hops}
        recorded = {hop.only: [*hop.due, *hop.unanswered] for hop in running.hops}
        targets = {hop: [x.request.target for x in exchanges] for hop, exchanges in recorded.items()}
        addresses = Addresses(targets, name, variables)
        code = run_command(command, addresses.made(urls), held)
        code = _told(running, name, "", addresses.asked(), code)
    if any(one.advice == RECORD_REST.sentence("serve") for _, one in running.served):
        say(f"record the rest with: {_with_rest(cassette, command)}")
    return code


@dataclass
class _Live:
    """The servers that answer what a recording does not. `upstreams`: their URLs by hop. `made`: the variables of
    services that the recording lacks, each with its hop and the path behind the address."""

    upstreams: dict[_Hop, str]
    made: dict[str, tuple[str, str]] = field(default_factory=dict)


def _live(addresses: Addresses, upstreams: Sequence[str], environment: dict[str, str]) -> _Live:
    """Return the servers that the user names, and for the other hops those that the clients would use now. Raises
    `UsageError`."""
    first, named = named_servers(upstreams, environment)
    live = _Live(dict(named.items()))
    if first is not None:
        live.upstreams[None if None in addresses.hops else addresses.hops[0]] = first
    for variable, hop in addresses.variables.items():
        if url := environment.get(variable):
            live.upstreams.setdefault(hop, checked_url(variable, url))
    is_named = frozenset(live.upstreams)
    for service in addresses.services:
        if service.is_recorded and service.hop in is_named:  # the user may name the URL that the SDK would get
            live.upstreams[service.hop] = live.upstreams[service.hop].rstrip("/").removesuffix(service.path)
    for service, route in product(addresses.services, routes_of(environment)):
        if route.service != service.service.name:
            continue
        if not service.is_recorded:
            live.upstreams.setdefault(route.hop, route.upstream)
            live.made |= {name: (route.hop, path) for name, path in route.paths.items()}
        elif service.hop not in is_named and route.hop == route.service:
            _add(live, service, route, environment)
    return live


def _add(live: _Live, service: Replayed, route: Route, environment: Mapping[str, str]) -> None:
    """Add the server of a recorded service, at the path of its requests. A default server replaces no other one."""
    variable, path = next(iter(route.paths.items()))
    url = f"{route.upstream}{path}"
    if not url.endswith(service.path):
        raise UsageError(f"{variable} is {url}, but recorded requests have the path {service.path}: add it to the URL")
    server = url.removesuffix(service.path)
    known = live.upstreams.setdefault(service.hop, server)
    if known != server and environment.get(variable):
        where = "the first hop" if service.hop is None else f"the hop {service.hop}"
        raise UsageError(f"{variable} names {server}, but {where} of the recording goes to {known}: name one server")


def record_missing(
    command: Sequence[str],
    held: child.Held,
    cassette: Path,
    variables: Sequence[str],
    *,
    into: Path | None,
    upstreams: Sequence[str],
    contract: Sequence[str],
    recording: Mapping[str, Any],
    **chosen: Any,
) -> tuple[int, int]:
    """Run the command while a replay answers it, and servers answer and record the rest, into the cassette or into
    `into`. Return the exit code, and the number of recorded exchanges."""
    from ..episodes.server import Episodes, targets_of
    from ..replayer.verdict import recorded_failures

    name = by_name(str(cassette))
    targets = targets_of(cassette)
    addresses = Addresses(targets, name, variables)
    live = _live(addresses, upstreams, dict(os.environ))
    every, contracts = contracts_of(contract, [*targets, *live.upstreams])
    running = Episodes(
        cassette,
        live.upstreams,
        into=into,
        recording={**recording, "contract": every, "contracts": contracts},
        **chosen,
    )
    running.used_by = "serve"
    with running as server:
        urls: dict[_Hop, str] = {hop.only: hop.url for hop in running.hops}
        urls.update(server.urls)
        made = {name: f"{urls[hop]}{path}" for name, (hop, path) in live.made.items()}
        others = {hop: urls[hop] for hop in live.upstreams if hop in urls and hop not in targets}
        if (page := running.page_of_recording) is not None:
            say(f"the recording is at {page}")
        code = run_command(command, {**addresses.made(urls), **own_variables(others), **made}, held)
        running.last_labels |= labels_of_end(code, held)
        wait_for_clients(running)
        code = _told(running, name, by_name(str(running.db)), [*addresses.asked(), *made], code)
        failures = [one.exchange for one in recorded_failures(running) if one.exchange is not None]
    if failures:
        say(f"send failed calls again with: {_again(cassette, failures[0], command)}")
    if running.unrecorded:
        nothing = "" if running.recorded else "nothing was recorded: "
        say(f"{nothing}{counted(running.unrecorded, 'request')} passed unrecorded, as --only and --except say")
    return code or (1 if running.is_incomplete else 0), running.recorded


def _with_rest(cassette: Path, command: Sequence[str]) -> str:
    """Return the command that records what the cassette lacks."""
    is_whole = named_session(cassette)[1] is None and cassette.suffix in (".db", ".jsonl")
    words = ["omnirecord", "run", "--replay", by_name(str(cassette)), "--record", "new_episodes"]
    return with_command([*words, *([] if is_whole else ["-o", "NEW.db"])], command)


def with_command(words: Sequence[str], command: Sequence[str]) -> str:
    """Return a command line of `run` or `fork` with the command behind `--`."""
    told = shlex.join(command)
    return f"{shlex.join(words)} -- {told if told.isprintable() else 'COMMAND'}"


def _again(cassette: Path, exchange: int, command: Sequence[str]) -> str:
    """Return the command that sends a recorded request to its server again: a fork, or else a new recording."""
    from ..forks.point import call_number

    number = None if named_session(cassette)[1] is not None else call_number(cassette, exchange)
    words = ["run"] if number is None else ["fork", by_name(str(cassette)), "--from-call", str(number)]
    return with_command(["omnirecord", *words], command)


def _repeats(replay: Replay) -> list[Place]:
    """Return the missing calls that repeat an earlier one."""
    from ..cassette.conversations import placed_calls
    from ..cassette.open import open_store

    replaced = replay.taken_over()
    missing = {x.exchange for hop in replay.hops for x in hop.unsent} - replaced
    if not missing:
        return []
    with closing(open_store(replay.cassette, judges=False)) as store:
        return [place for call, place in placed_calls(store) if call.exchange in missing and place.again]


def _told(replay: Replay, name: str, into: str, asked: Sequence[str], code: int) -> int:
    """Print the result of a replay. Return the exit code of a run whose command had this exit code."""
    from ..replayer.verdict import verdict_of

    verdict = verdict_of(replay, name, into=into, nothing=why_nothing(asked))
    say(verdict.counts)
    for line in (*verdict.requests, *verdict.problems):
        click.echo(line, err=True)
    for place in _repeats(replay):
        say(
            f"call {place.call} of #{place.conversation} repeats call {place.again}, as the recorded program started"
            " again: a replay expects this, too"
        )
    return code or (1 if verdict.problems else 0)
