"""`ui`: a cassette, or a comparison of two, as a page in a browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .arguments import by_name
from .common import NAMED, busy, decoded_option, is_terminal, json_option, log_to_stderr
from .listen import LISTENS, options, print_ready, stop_signal

if TYPE_CHECKING:
    from ..ui.viewer import Viewer


@click.command(short_help="Show a cassette as a page in a browser.")
@click.argument("cassette", type=NAMED)
@click.argument("other", type=NAMED, required=False)
@click.option(
    "--listen", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT",
    help="Address of the page; port 0 takes a free port.",
)  # fmt: skip
@options(*LISTENS[1:])
@click.option("--no-browser", is_flag=True, help="Print the address of the page; open no browser.")
@decoded_option
@json_option
def ui(cassette: str, other: str | None, listen: str, no_browser: bool, as_json: bool, **listening: Any) -> None:
    """Show a cassette as a page in a browser: conversation, playhead, timeline, every event, findings.

    On a terminal it opens in the browser. A cassette that is being recorded is followed. With OTHER, the two are
    compared side by side, as diff does it; each may name a session, as CASSETTE#SESSION. Ctrl-C stops it.

    \b
    Examples:
      omnirecord ui session.db
      omnirecord ui session.db session.jsonl
    """
    import asyncio

    from ..server.accept import raise_limit
    from ..server.listener import parse_listen
    from ..ui.viewer import Viewer

    log_to_stderr(verbose=False)
    raise_limit()
    host, port = parse_listen(listen, allow_remote=listening["allow_remote"])
    viewer = Viewer(cassette, other, host=host, port=port, **listening)
    names = [by_name(name) for name in (cassette, other) if name is not None]
    asyncio.run(_run(viewer, names, no_browser=no_browser, as_json=as_json))


async def _run(viewer: Viewer, names: list[str], *, no_browser: bool, as_json: bool) -> None:
    import asyncio
    import webbrowser

    with stop_signal(lambda: None) as stop:
        with busy(f"reading {Path(names[0]).name}"):
            await viewer.start()
        try:
            page = viewer.address
            row = {"url": page, "cassette": names[0], **({"other": names[1]} if names[1:] else {})}
            print_ready(as_json, f"showing {' beside '.join(names)} at {page}", row)
            if not no_browser and is_terminal(sys.stdout):
                await asyncio.to_thread(webbrowser.open, page)
            await stop.wait()
        finally:
            await viewer.stop()
