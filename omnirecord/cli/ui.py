"""`ui`: a cassette as a page in a browser."""

from __future__ import annotations

import asyncio
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import busy, cassette_argument, is_terminal, json_option, log_to_stderr
from .serving import LISTENS, options, print_ready, stop_signal

if TYPE_CHECKING:
    from ..viewing import Viewer


@click.command(short_help="Look at it in a browser.")
@cassette_argument
@click.option(
    "--listen", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT",
    help="Where the page is; port 0: a free one.",
)  # fmt: skip
@options(*LISTENS[1:])
@click.option("--no-browser", is_flag=True, help="Only print where the page is.")
@json_option
def ui(cassette: Path, listen: str, no_browser: bool, as_json: bool, **listening: Any) -> None:
    """Show a cassette as a page: what was said, with a playhead, a timeline, every event, what was wrong.

    On a terminal it opens in the browser. A cassette that is being recorded is followed. Ctrl-C stops it.

    \b
    Example:
      omnirecord ui session.db
    """
    from ..serving import parse_listen
    from ..viewing import Viewer

    log_to_stderr(verbose=False)
    host, port = parse_listen(listen, allow_remote=listening["allow_remote"])
    viewer = Viewer(cassette, host=host, port=port, **listening)
    asyncio.run(_run(viewer, no_browser=no_browser, as_json=as_json))


async def _run(viewer: Viewer, *, no_browser: bool, as_json: bool) -> None:
    with stop_signal(lambda: None) as stop:
        with busy(f"reading {viewer.cassette.name}"):
            await viewer.start()
        try:
            page = viewer.address
            print_ready(
                as_json, f"showing {viewer.cassette} at {page}", {"url": page, "cassette": str(viewer.cassette)}
            )
            if not no_browser and is_terminal(sys.stdout):
                await asyncio.to_thread(webbrowser.open, page)
            await stop.wait()
        finally:
            await viewer.stop()
