"""`proxy`: a recording proxy in front of an upstream."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..server.timers import monotonic
from ..text import counted
from . import last_resort
from .common import is_terminal, output_options
from .listen import print_parting, print_ready, say, stop_signal
from .options import arguments, recorder_options
from .stderr import log_to_stderr

if TYPE_CHECKING:
    from ..recorder.proxy.server import Proxy
    from ..recorder.shipping import Shipping
    from .live import Live

_LOOK = 0.1
"""Seconds between two looks for a signal while the last files are shipped."""
_SAYS_AFTER = 1.0
"""Seconds after which it says that it waits for them."""
_SHORT = 0.0005
"""Python's switch interval, in seconds: a thread that computes yields the GIL after it."""


@click.command()
@recorder_options
@click.option("-q", "--quiet", is_flag=True, help="Show only warnings and errors while recording.")
@click.option("--type", "type_glob", metavar="GLOB", help="Show only events of these types, one line each.")
@click.option("-v", "--verbose", is_flag=True, help="Show every event and request, one line each.")
@output_options
def proxy(quiet: bool, type_glob: str | None, verbose: bool, as_json: bool, **given: Any) -> None:
    """Record the traffic between clients and a server (the upstream).

    Clients connect to the printed address instead of the server's address. The proxy passes the bytes of each stream
    through unchanged, and records every event as it arrives. Ctrl-C stops the proxy.

    Stderr shows messages, answers, tools, approvals and failures. With --json, stderr shows them only if it is a
    terminal.

    \b
    Example:
      omnirecord proxy --upstream http://127.0.0.1:6767 --db session.db
    """
    import asyncio

    from ..episodes.record import controlled
    from ..server.accept import raise_limit
    from .live import Live, Screen

    if quiet and (verbose or type_glob):
        raise UsageError("--quiet excludes --verbose and --type")
    is_shown = is_terminal(sys.stderr) or verbose or type_glob is not None or not as_json
    screen = Screen(stderr=True) if is_shown and not quiet else None
    log_to_stderr(verbose=not quiet, before=screen.clear if screen else lambda: None)
    raise_limit()
    sys.setswitchinterval(_SHORT)
    server = controlled(**arguments(given))
    shipping = None if given["ship"] is None else _shipping(server)
    view = (
        None
        if screen is None
        else partial(Live, screen, lambda: server.db, lambda: server.dropped_bytes, type_glob=type_glob, every=verbose)
    )
    is_stopped = threading.Event()
    asyncio.run(_run_proxy(server, view, as_json, is_stopped, shipping, verbose=verbose))
    if shipping is not None:
        is_stopped.set()
        last_resort.call_off()
        _ship_rest(shipping, server.db)
    if server.is_incomplete:
        sys.exit(1)


async def _run_proxy(
    server: Proxy,
    view: Callable[[], Live] | None,
    as_json: bool,
    is_stopped: threading.Event,
    shipping: Shipping | None,
    *,
    verbose: bool,
) -> None:
    import asyncio

    from ..omnigent.routes import UI
    from ..recorder.proxy.upstream import slower_because

    with stop_signal(server.hurry, is_stopped) as stop:
        async with server:
            checking = asyncio.create_task(server.check_upstreams())
            live = None if view is None else await asyncio.to_thread(view)
            if live is not None:
                server.watch(live.announce)
            sentence = f"recording {_places(server)} into {server.db} ({_numbers(server)})"
            row: dict[str, Any] = {"url": server.url, "db": str(server.db), "upstream": server.upstream}
            if server.upstreams:
                row |= {"upstreams": dict(server.upstreams), "urls": dict(server.urls)}
            if server.proxies:
                row["proxies"] = dict(server.proxies)
            if server.page is not None:
                row |= {"ui": server.page.removesuffix(UI), "page": server.page}
                token = "" if server.made_token is None else f"#token={server.made_token}"
                sentence += f"; look at it at {server.page}{token}"
            from ..server.timers import reduce_gc

            reduce_gc()
            print_ready(as_json, sentence, row, server.made_token)
            if verbose and (why := slower_because()) is not None:
                say(why)
            if shipping is not None:
                shipping.start()
            await stop.wait()
            checking.cancel()
        if live:
            live.close()
        db = shlex.quote(str(server.db))
        recorded = counted(server.exchanges, "exchange")
        if shares := ", ".join(f"{count} of {name}" for name, count in server.exchanges_of.items()):
            recorded += f" ({shares})"
        if server.unrecorded:
            recorded += f", and {counted(server.unrecorded, 'request')} passed unrecorded"
        print_parting(f"recorded into {db}: {recorded}; read it with: omnirecord show {db}")


def _places(server: Proxy) -> str:
    """The upstreams, and where their clients connect."""
    shown = {url: f"{url} through the HTTP proxy {proxy}" for url, proxy in server.proxies.items()}
    named = [f"{name} ({shown.get(url, url)}) at {server.urls[name]}" for name, url in server.upstreams.items()]
    upstream = shown.get(server.upstream, server.upstream)
    first = [] if server.url in server.urls.values() else [f"{upstream} at {server.url}"]
    return ", ".join([*first, *named])


def _numbers(server: Proxy) -> str:
    """The numbers of the recordings in progress: one for each upstream."""
    first = server.recording
    count = len(server.upstreams) + (server.url not in server.urls.values())
    return f"recording {first}" if count == 1 else f"recordings {first} to {first + count - 1}"


def _shipping(server: Proxy) -> Shipping | None:
    """The process that ships, not started. Raises `ModuleNotFoundError` without the packages of the lake."""
    from importlib.util import find_spec

    for name in ("deltalake", "obstore", "pyarrow"):
        if find_spec(name) is None:
            raise ModuleNotFoundError(name=name)
    return server.shipping


def _ship_rest(shipping: Shipping, db: Path) -> None:
    """Wait until the last files are shipped, up to a minute. A signal ends the wait."""
    from ..recorder.shipping import SHIP_WITHIN

    left = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: left.set())
    shipping.end(db)
    until = monotonic() + SHIP_WITHIN
    if not shipping.wait(_SAYS_AFTER):
        say(f"shipping to {shipping.url}: waiting up to {SHIP_WITHIN:.0f} s; Ctrl-C leaves the rest for the next start")
    while not shipping.wait(_LOOK) and not left.is_set() and monotonic() < until:
        pass
    if not shipping.wait(0):
        shipping.leave()
    if shipping.left != 0:
        say(shipping.remains)
