"""`proxy` and `serve`: the two that run until they are stopped."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import cassette_argument, json_option, log_to_stderr

if TYPE_CHECKING:
    from ..live import Live
    from ..proxy import Proxy
    from ..replaying import Replay

LISTEN = "127.0.0.1:6868"


def _listen_options(function: Callable[..., Any]) -> Callable[..., Any]:
    function = click.option("--allow-remote", is_flag=True, help="Allow --listen on an address that is not loopback.")(
        function
    )
    return click.option(
        "--listen",
        default=LISTEN,
        show_default=True,
        metavar="HOST:PORT",
        help="Where clients connect; port 0: a free one.",
    )(function)


@click.command(short_help="Record what passes between clients and a server.")
@click.option("--upstream", required=True, metavar="URL", help="The server; may have a path prefix.")
@_listen_options
@click.option(
    "--db", default="omnirecord.db", show_default=True, type=click.Path(readable=False, path_type=Path),
    help="The cassette to append to; made if it is not there.",
)  # fmt: skip
@click.option(
    "--contract", default="omnigent", show_default=True, metavar="NAME|FILE",
    help="What events are validated against: omnigent, documented, or an openapi.json.",
)  # fmt: skip
@click.option(
    "--read-ahead", default=8 * 1024 * 1024, show_default=True, type=click.IntRange(min=0), metavar="BYTES",
    help="How far upstream is read ahead of a slow client, per stream; 0: not at all.",
)  # fmt: skip
@json_option
def proxy(
    upstream: str, listen: str, db: Path, contract: str, read_ahead: int, as_json: bool, allow_remote: bool
) -> None:
    """Record what passes between clients and the server at URL.

    Point clients at the printed address instead of the server's. Every byte passes through untouched; every event is
    in the cassette as it arrives. Ctrl-C stops it. On a terminal it shows a line for each event.

    \b
    Example:
      omnirecord proxy --upstream http://127.0.0.1:6767 --db session.db
    """
    from ..proxy import Proxy
    from ..serving import parse_listen

    log_to_stderr()
    host, port = parse_listen(listen, allow_remote=allow_remote)
    live = _live()
    watch = {"watch": live.watch} if live else {}
    server = Proxy(upstream, db, host=host, port=port, contract=contract, read_ahead=read_ahead, **watch)
    asyncio.run(_run_proxy(server, live, as_json))


def _live() -> Live | None:
    """The lines for a person, where stderr is a terminal."""
    if not sys.stderr.isatty():
        return None
    from ..live import Live

    return Live()


async def _run_proxy(server: Proxy, live: Live | None, as_json: bool) -> None:
    stop = _stop_signal(server.hurry)
    async with server:
        _print_ready(
            as_json,
            f"recording {server.upstream} at {server.url} into {server.db} (recording {server.recording})",
            {"url": server.url, "db": str(server.db), "upstream": server.upstream},
        )
        await stop.wait()
    if live:
        live.close()


@click.command(short_help="Answer as the recorded server did.")
@cassette_argument
@_listen_options
@click.option(
    "--timing", default="original", show_default=True, type=click.Choice(["original", "compressed", "instant"]),
    help="compressed is --speed 10 --max-gap 5; instant waits for nothing but the client's requests.",
)  # fmt: skip
@click.option("--speed", type=float, metavar="N", help="Play N times as fast.")
@click.option("--max-gap", type=float, metavar="S", help="Cap every gap at S recorded seconds, before --speed.")
@click.option(
    "--gate", "gates", multiple=True, metavar="'METHOD GLOB'",
    help="Which requests hold back what followed them, instead of messages and resolves; repeatable.",
)  # fmt: skip
@click.option("--no-gate", is_flag=True, help="Hold nothing back.")
@click.option(
    "--gate-timeout", type=float, metavar="S", help="Go on without a request after S seconds; never by default."
)
@json_option
def serve(
    cassette: Path, listen: str, timing: str, speed: float | None, max_gap: float | None, gates: tuple[str, ...],
    no_gate: bool, gate_timeout: float | None, as_json: bool, allow_remote: bool,
) -> None:  # fmt: skip
    """Answer as the recorded server did, with its timing, waiting where it waited for the client.

    Nothing is ever asked of another server. What was not recorded gets a 404 that names the nearest requests.
    Ctrl-C stops it.

    \b
    Example:
      omnirecord serve session.db --timing compressed
    """
    from ..replaying import Replay
    from ..serving import parse_listen

    log_to_stderr()
    host, port = parse_listen(listen, allow_remote=allow_remote)
    server = Replay(
        cassette, timing=timing, speed=speed, max_gap=max_gap, gates=gates, no_gate=no_gate,
        gate_timeout=gate_timeout, host=host, port=port,
    )  # fmt: skip
    asyncio.run(_run_replay(server, as_json))


async def _run_replay(server: Replay, as_json: bool) -> None:
    stop = _stop_signal(lambda: None)
    async with server:
        _print_ready(
            as_json, f"serving {server.cassette} at {server.url}", {"url": server.url, "cassette": str(server.cassette)}
        )
        await stop.wait()


def _print_ready(as_json: bool, sentence: str, row: dict[str, str]) -> None:
    """The one line on stdout that says connections are accepted."""
    from ..jsonl import dumps

    click.echo(dumps(row) if as_json else sentence)
    sys.stdout.flush()


def _stop_signal(hurry: Callable[[], None]) -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM; the next one does not wait for what is going on."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            hurry()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    return stop
