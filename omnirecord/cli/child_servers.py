"""What `run`, `run --replay` and `fork` share: the servers and the variables of a command, and its new cassette."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from signal import Signals
from time import sleep
from typing import TYPE_CHECKING

from ..cassette.labels import EXIT_CODE, OUTLIVED_BY, SIGNAL
from ..errors import UsageError
from ..server.timers import monotonic
from . import child
from .listen import say

if TYPE_CHECKING:
    from ..episodes.server import Episodes
    from ..recorder.proxy.server import Proxy

OWN = "OMNIRECORD_URL"
"""The variable with the address of the first upstream. That of another one is in `OMNIRECORD_URL_NAME`."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_HERE = ("127.0.0.1", "localhost")
_LEAVES_IN = 1.0
"""Seconds for the connections of a command that has ended to close, so that the recorder does not cut them."""


def new_cassette(output: Path | None) -> Path:
    """The cassette of a run, which does not exist. Raises `UsageError`."""
    from ..cassette.files import checked_new

    name = f"omnirecord-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.db"
    path = Path(name) if output is None else checked_new(output)
    if path.parent.is_dir() and not os.access(path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: its folder is read-only, so name a cassette elsewhere with -o")
    return path


def contracts_of(given: Sequence[str], hops: Iterable[str | None]) -> tuple[str | None, dict[str, str]]:
    """Return the contract of all hops, and that of each hop with a name. Raises `UsageError`."""
    from ..server.listener import by_name as values_by_name

    every, by_hop = values_by_name("--contract", given)
    if every is None:
        return None, by_hop
    return every, {**{hop: every for hop in hops if hop is not None}, **by_hop}


def run_command(command: Sequence[str], made: Mapping[str, str], held: child.Held) -> int:
    """Run the command with these variables. Say how it ended, unless it ended well. Return its exit code."""
    code = child.run(command, _environment_of(made), held)
    if code > 128 and (name := {one.value: one.name for one in Signals}.get(code - 128)):
        say(f"the command ended with exit code {code}, as by {name}")
    elif code:
        say(f"the command ended with exit code {code}")
    left = _outliving(made)
    held.outlived_by = len(left)
    if left:
        names, whose = (f"processes {', '.join(left)}", "their") if len(left) > 1 else (f"process {left[0]}", "its")
        say(f"the command ended before {names}: {whose} requests are cut after 1 s, and later ones are refused")
    return code


def _outliving(made: Mapping[str, str]) -> list[str]:
    """Return the ids of the processes with the addresses of the recorder, which outlive their command by 0.2 s; empty
    on other systems than Linux."""
    wanted = {f"{name}={value}".encode() for name, value in made.items() if "://" in value}
    found = _with_variables(wanted, Path("/proc").glob("[0-9]*/environ"))
    if found:  # a helper of the command may end just now
        sleep(0.2)
        found = _with_variables(wanted, found)
    return [path.parent.name for path in found]


def _with_variables(wanted: set[bytes], environments: Iterable[Path]) -> list[Path]:
    found = []
    for path in environments:
        with suppress(OSError):
            if not wanted.isdisjoint(path.read_bytes().split(b"\0")):
                found.append(path)
    return found


def named_servers(upstreams: Sequence[str], environment: dict[str, str]) -> tuple[str | None, dict[str, str]]:
    """Return the server without a name, and those with one. The server of a model API becomes its variable in the
    environment. Raises `UsageError`."""
    from ..providers.variables import SERVICES
    from ..server.listener import by_name as values_by_name

    first, named = values_by_name("--upstream", upstreams, "server=http://127.0.0.1:6767")
    for service in SERVICES:
        if service.name in named:
            environment[next(iter(service.variables))] = named.pop(service.name)
    _check_dotenv(environment)
    return first, named


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


def labels_of_end(code: int, held: child.Held | None) -> dict[str, str]:
    """Return the labels that say how a command ended."""
    labels = {EXIT_CODE: str(code)}
    if held is not None and held.received is not None:
        labels[SIGNAL] = held.received.name
    if held is not None and held.outlived_by:
        labels[OUTLIVED_BY] = str(held.outlived_by)
    return labels


def wait_for_clients(server: Proxy | Episodes) -> None:
    """Wait until the connections of a command that has ended are closed."""
    until = monotonic() + _LEAVES_IN
    while server.open_exchanges and monotonic() < until:
        sleep(0.005)


def own_variables(addresses: Mapping[str | None, str]) -> dict[str, str]:
    """The variables of upstreams that are no model API."""
    return {OWN if hop is None else f"{OWN}_{hop.upper().replace('-', '_')}": url for hop, url in addresses.items()}


def _environment_of(made: Mapping[str, str]) -> dict[str, str]:
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
        " another server, or if its client reads another variable: name that one with --env"
    )
