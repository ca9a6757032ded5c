"""`proxy` and `serve`: the two that run until they are stopped."""

from __future__ import annotations

import functools
import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from ..errors import UsageError
from ..garbage import settle
from ..gist import visible
from .arguments import by_name
from .common import (
    DATABASE,
    F,
    busy,
    cassette_argument,
    decoded_option,
    is_terminal,
    json_line,
    json_option,
    log_to_stderr,
    pseudonym_key_option,
    redact_options,
    shown,
)

if TYPE_CHECKING:
    import asyncio

    from ..live import Live
    from ..proxy import Proxy
    from ..replaying import Replay
    from .screen import Screen

log = logging.getLogger("omnirecord")

LISTEN = "127.0.0.1:6868"
_STOPS_WITHIN = 9.0
"""Seconds between the first signal and the end of the process, at most."""
_SHORT = 0.0005
"""Seconds after which a thread that computes lets another one go on."""
FILE = click.Path(readable=False, path_type=Path)


LISTENS = (
    click.option(
        "--listen", default=LISTEN, show_default=True, metavar="HOST:PORT",
        help="Address for clients; port 0 takes a free port.",
    ),
    click.option("--allow-remote", is_flag=True, help="Allow --listen on an address that is not loopback."),
    click.option("--tls-cert", type=FILE, metavar="FILE", help="Certificate for TLS with clients (PEM)."),
    click.option("--tls-key", type=FILE, metavar="FILE", help="Private key of --tls-cert, if that file has none."),
)  # fmt: skip
TRUSTS = (
    click.option("--ca", type=FILE, metavar="FILE", help="CA bundle that verifies the upstream certificate (PEM)."),
    click.option("--cert", type=FILE, metavar="FILE", help="Client certificate for the upstream (PEM)."),
    click.option("--key", type=FILE, metavar="FILE", help="Private key of --cert, if that file has none."),
    click.option("--insecure", is_flag=True, help="Do not verify the upstream certificate."),
)


def options(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Several options, in their order."""
    return lambda function: functools.reduce(lambda made, option: option(made), reversed(options), function)


@click.command(short_help="Record what passes between clients and a server.")
@click.option("--upstream", required=True, metavar="URL", help="URL of the server; may have a path prefix.")
@options(*TRUSTS, *LISTENS)
@click.option(
    "--db", default="omnirecord.db", show_default=True, type=DATABASE,
    help="Cassette to append to; created if missing.",
)  # fmt: skip
@click.option(
    "--contract", default="omnigent", show_default=True, metavar="NAME|FILE",
    help="Contract for the verdicts: omnigent, documented, or an openapi.json.",
)  # fmt: skip
@click.option(
    "--read-ahead", default=8 * 1024 * 1024, show_default=True, type=click.IntRange(min=0), metavar="BYTES",
    help="Bytes to read ahead of a slow client, per stream; 0 turns it off.",
)  # fmt: skip
@click.option(
    "--resume", is_flag=True,
    help="Add an id to every event, and resume a reconnecting client after its Last-Event-ID.",
)  # fmt: skip
@click.option(
    "--resume-for", type=float, metavar="S",
    help="With --resume, seconds that a stream waits for its client to reconnect (default: 30).",
)  # fmt: skip
@click.option(
    "--rotate", multiple=True, metavar="SIZE|DURATION",
    help="Start a new cassette at SIZE (500MB) or after DURATION (1h); repeatable, the first to come counts. --db then"
    " links to the newest.",
)  # fmt: skip
@click.option(
    "--keep", multiple=True, metavar="N|DURATION|SIZE",
    help="Keep N rotated cassettes (10), or those of a DURATION (7d), or a total SIZE (5GB); remove older ones."
    " Repeatable.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Show only warnings and errors while recording.")
@click.option("--type", "type_glob", metavar="GLOB", help="Show only events of these types, one line each.")
@click.option("-v", "--verbose", is_flag=True, help="Show every event and request, one line each.")
@click.option("--control", is_flag=True, help="Serve the recording live below /-/omnirecord/, for omnirecord tail URL.")
@click.option(
    "--ui", is_flag=False, flag_value="", metavar="[HOST:PORT]",
    help="Like --control, and serve the page for browsers on its own address (default: the port after --listen, or a"
    " free one).",
)  # fmt: skip
@redact_options
@pseudonym_key_option
@decoded_option
@json_option
def proxy(
    upstream: str, listen: str, db: Path, contract: str, read_ahead: int, resume: bool, resume_for: float | None,
    rotate: tuple[str, ...], keep: tuple[str, ...], control: bool, ui: str | None, redact: str | None,
    redact_patterns: tuple[str, ...], pseudonym_key: Path | None, quiet: bool, type_glob: str | None, verbose: bool,
    as_json: bool, **listening: Any,
) -> None:  # fmt: skip
    """Record what passes between clients and the server at URL.

    Point clients at the printed address instead of the server's. Every byte passes through untouched; every event is
    in the cassette as it arrives. Ctrl-C stops it. Stderr shows what happens: messages, answers, tools, approvals,
    failures. With --json it does so only on a terminal.

    \b
    Example:
      omnirecord proxy --upstream http://127.0.0.1:6767 --db session.db
    """
    import asyncio

    from ..accepting import raise_limit
    from ..proxy import GRACE, Proxy
    from ..serving import parse_listen
    from .screen import Screen

    if resume_for is not None and not resume:
        raise UsageError("--resume-for says how long --resume waits: give that as well")
    if quiet and (verbose or type_glob):
        raise UsageError("--quiet excludes --verbose and --type")
    is_shown = is_terminal(sys.stderr) or verbose or type_glob is not None or not as_json
    screen = Screen(stderr=True, unbuffered=True) if is_shown and not quiet else None
    log_to_stderr(verbose=not quiet, before=screen.clear if screen else lambda: None)
    raise_limit()
    host, port = parse_listen(listen, allow_remote=listening["allow_remote"])
    sys.setswitchinterval(_SHORT)
    server = Proxy(
        upstream, db, host=host, port=port, **listening, contract=contract, read_ahead=read_ahead, resume=resume,
        resume_for=GRACE if resume_for is None else resume_for, control=control, ui=ui is not None and (ui or True),
        redact=redact, redact_patterns=redact_patterns, pseudonym_key=pseudonym_key, rotate=rotate, keep=keep,
        apart=True,
    )  # fmt: skip
    view = None if screen is None else partial(_watched, server, screen, type_glob, verbose)
    asyncio.run(_run_proxy(server, view, as_json))
    if server.is_incomplete:
        sys.exit(1)


def _watched(server: Proxy, screen: Screen, type_glob: str | None, every: bool) -> Live:
    """The view of a recording, which begins now."""
    from ..live import Live

    return Live(screen, lambda: server.db, lambda: server.dropped_bytes, type_glob=type_glob, every=every)


async def _run_proxy(server: Proxy, view: Callable[[], Live] | None, as_json: bool) -> None:
    import asyncio

    from ..proxy.control import UI

    with stop_signal(server.hurry) as stop:
        async with server:
            threading.Thread(target=_look_up, args=[server.upstream], name="omnirecord-name", daemon=True).start()
            live = None if view is None else await asyncio.to_thread(view)
            sentence = f"recording {server.upstream} at {server.url} into {server.db} (recording {server.recording})"
            row = {"url": server.url, "db": str(server.db), "upstream": server.upstream}
            if server.page is not None:
                row |= {"ui": server.page.removesuffix(UI), "page": server.page}
                token = "" if server.made_token is None else f"#token={server.made_token}"
                sentence += f"; look at it at {server.page}{token}"
            settle()
            print_ready(as_json, sentence, row, server.made_token)
            await stop.wait()
        if live:
            live.close()
        db = shlex.quote(str(server.db))
        recorded = _count(server.exchanges, "exchange")
        _print_parting(f"recorded into {db}: {recorded}; read it with: omnirecord show {db}")


@click.command(short_help="Answer as the recorded server did.")
@cassette_argument
@options(*LISTENS)
@click.option(
    "--timing", default="original", show_default=True, type=click.Choice(["original", "compressed", "instant"]),
    help="compressed: --speed 10 --max-gap 5; instant: wait only for the client's requests.",
)  # fmt: skip
@click.option("--speed", type=float, metavar="N", help="Play N times as fast.")
@click.option("--max-gap", type=float, metavar="S", help="Longest gap, in recorded seconds, before --speed.")
@click.option(
    "--gate", "gates", multiple=True, metavar="'METHOD GLOB'",
    help="Requests that gate the events after them (default: messages, interrupts, resolves); repeatable.",
)  # fmt: skip
@click.option("--no-gate", is_flag=True, help="Do not wait for requests of the client.")
@click.option(
    "--skip-gates-after", type=float, metavar="S",
    help="Seconds at a gate after which the replay continues without the request (default: never). In pytest, see"
    " gate_timeout in docs/pytest.md.",
)  # fmt: skip
@click.option(
    "--gate-timeout", "former_gate_timeout", type=float, metavar="S",
    help="Deprecated: the former name of --skip-gates-after.",
)  # fmt: skip
@click.option(
    "--match", multiple=True, metavar="RULE",
    help="Rule for matching requests, as in 'ignore query limit'; 'body' compares whole bodies. Repeatable. See"
    " docs/matching.md.",
)  # fmt: skip
@click.option(
    "--fault", "faults", multiple=True, metavar="SPEC",
    help="Fault to inject, as in 'cut before response.completed by reset'; repeatable. See docs/faults.md.",
)  # fmt: skip
@click.option(
    "--chunks", metavar="recorded|frame|byte|random:SEED",
    help="Size of each write: as recorded, a frame, a byte, or a random number of bytes.",
)  # fmt: skip
@click.option(
    "--resume", is_flag=True,
    help="Add an id to events that have none, and resume a reconnecting client after its Last-Event-ID.",
)  # fmt: skip
@click.option(
    "--web-ui", default="auto", show_default=True, metavar="auto|off|FOLDER",
    help="Web UI for browsers if the cassette has none; off serves only recorded files. See docs/web-ui.md.",
)  # fmt: skip
@decoded_option
@json_option
def serve(
    cassette: Path, listen: str, timing: str, speed: float | None, max_gap: float | None, gates: tuple[str, ...],
    no_gate: bool, skip_gates_after: float | None, former_gate_timeout: float | None,
    match: tuple[str, ...], faults: tuple[str, ...], chunks: str | None,
    resume: bool, web_ui: str, as_json: bool, **listening: Any,
) -> None:  # fmt: skip
    """Answer as the recorded server did, with its timing and its waits for the client.

    It never connects to another server. An unrecorded request gets a 404 that names the nearest requests. On a
    terminal, space pauses, `.` steps to the next event, + and - change the speed; Ctrl-C stops it.

    \b
    Example:
      omnirecord serve session.db --timing compressed
    """
    import asyncio

    from ..accepting import raise_limit
    from ..player.timing import seconds
    from ..replaying import Replay
    from ..serving import parse_listen

    log_to_stderr()
    if former_gate_timeout is not None:
        if skip_gates_after is not None:
            raise UsageError("--gate-timeout is the former name of --skip-gates-after: give one of them")
        seconds("gate-timeout", former_gate_timeout)
        _say("--gate-timeout is deprecated: it is called --skip-gates-after now")
        skip_gates_after = former_gate_timeout
    elif skip_gates_after is not None:
        seconds("skip-gates-after", skip_gates_after)
    raise_limit()
    host, port = parse_listen(listen, allow_remote=listening["allow_remote"])
    server = Replay(
        cassette, timing=timing, speed=speed, max_gap=max_gap, gates=gates, no_gate=no_gate,
        skip_gates_after=skip_gates_after, match=match, faults=faults, chunks=chunks, resume=resume,
        host=host, port=port,
        web_ui=None if web_ui == "off" else web_ui, **listening,
    )  # fmt: skip
    asyncio.run(_run_replay(server, as_json))


async def _run_replay(server: Replay, as_json: bool) -> None:
    from ..keys import HELP, Keys, listening

    keys = Keys(server, _say)
    with stop_signal(lambda: None) as stop:
        async with AsyncExitStack() as running:
            with busy(f"reading {shown(server.cassette)}"):
                await running.enter_async_context(server)
            settle()
            print_ready(
                as_json,
                f"serving {shown(server.cassette)} at {server.url}",
                {"url": server.url, "cassette": by_name(str(server.cassette))},
                server.made_token,
            )
            with listening(keys.press) as listens:
                if listens and is_terminal(sys.stderr):
                    _say(f"a browser sees {server.page}") if server.page else None
                    _say(HELP)
                await stop.wait()
            keys.close()
        _print_parting(f"{_count(len(server.requests), 'request')}, {len(server.unmatched)} unmatched")


def _look_up(upstream: str) -> None:
    """Warn if the upstream's name has no address. This opens no connection: the first one is a client's."""
    import socket

    host = urlsplit(upstream).hostname or ""
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        log.warning("the upstream's name %s has no address (%s): requests get 502 while it has none", host, why)


def print_ready(as_json: bool, sentence: str, row: dict[str, str], token: str | None = None) -> None:
    """The one line on stdout that says connections are accepted. `token`: one that was made up and nobody knows yet."""
    if token is not None:
        row["token"] = token
        _say(f"below /-/omnirecord/ it asks for: Authorization: Bearer {token}")
    click.echo(json_line(row) if as_json else visible(sentence))
    if sys.stdout is not None:  # closed by whoever started us
        sys.stdout.flush()


def _say(sentence: str) -> None:
    """Something for the person at the terminal."""
    click.echo(f"omnirecord: {visible(sentence)}", err=True)


def _print_parting(sentence: str) -> None:
    """What a person who pressed Ctrl-C wants to know; on a line of its own, behind the ^C."""
    if is_terminal(sys.stderr):
        click.echo(f"\n{visible(sentence)}", err=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _last_resort(asked: SimpleQueue[None]) -> None:
    """End the process some seconds after it was asked to, whatever it waits for: a disk may never answer."""
    asked.get()
    time.sleep(_STOPS_WITHIN)
    said = f"omnirecord: not stopped within {_STOPS_WITHIN:.0f} s: the process ends here, as if it was killed\n"
    with suppress(OSError):
        os.set_blocking(sys.stderr.fileno(), False)  # nothing waits for its reader
        os.write(sys.stderr.fileno(), said.encode())
    os._exit(1)


@contextmanager
def stop_signal(hurry: Callable[[], None]) -> Iterator[asyncio.Event]:
    """Set by the first SIGINT, SIGTERM or SIGHUP; the next one does not wait for what is going on.

    The event loop's own handlers are gone before the process is: a signal in between would change its exit code. So
    these are the system's, and once all is stopped, signals are ignored to the very end.
    """
    import asyncio

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    asked: SimpleQueue[None] = SimpleQueue()  # reentrant, unlike an Event: a signal may interrupt this handler
    threading.Thread(target=_last_resort, args=[asked], name="omnirecord-stop", daemon=True).start()

    def stop_or_hurry() -> None:
        if stop.is_set():
            hurry()
        stop.set()

    def ask(*_: object) -> None:
        asked.put(None)  # at once: an event loop that is busy takes its time
        loop.call_soon_threadsafe(stop_or_hurry)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]  # nohup
    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    except BaseException:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise
    for number in before:
        signal.signal(number, signal.SIG_IGN)
