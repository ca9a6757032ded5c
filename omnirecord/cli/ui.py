"""`ui`: a cassette, a comparison of two, or a lake, as a page in a browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..text import visible
from .arguments import NAMED, by_name
from .common import is_terminal, output_options, reading_contract_option
from .listen import print_ready, stop_signal
from .options import place_options
from .stderr import busy, log_to_stderr

if TYPE_CHECKING:
    from ..lake.page import LakeViewer
    from ..ui.viewer import Viewer

_MARKER = "omnirecord.json"
"""The file that makes a folder a lake, as in `lake.location`, which a command without a lake does not import."""


@click.command()
@click.argument("cassette", type=NAMED)
@click.argument("other", type=NAMED, required=False)
@click.option(
    "--listen",
    default="127.0.0.1:0",
    show_default=True,
    metavar="HOST:PORT",
    help="Address of the page; port 0 selects a free port.",
)
@place_options
@click.option("--no-browser", is_flag=True, help="Print the address of the page, and open no browser.")
@reading_contract_option
@output_options
def ui(cassette: str, other: str | None, listen: str, no_browser: bool, as_json: bool, **listening: Any) -> None:
    """Show a cassette as a page in a browser: conversation, timeline, every event, findings.

    On a terminal, the command opens the page in the browser. During a recording, the page shows new events as they
    arrive. With OTHER, the page shows the differences of both cassettes side by side. CASSETTE and OTHER may be one
    session: CASSETTE#SESSION. Ctrl-C stops the command.

    CASSETTE may also be a lake, which contains the recordings of many recorders: a folder, or a URL with s3://, gs://
    or az://. The page then lists all sessions of the lake, and shows trends by day.

    \b
    Examples:
      omnirecord ui session.db
      omnirecord ui session.db session.jsonl
      omnirecord ui lake
    """
    import asyncio

    from ..server.accept import raise_limit
    from ..server.listener import Place, parse_listen

    log_to_stderr(verbose=False)
    raise_limit()
    place = Place(*parse_listen(listen, allow_remote=listening["allow_remote"]), **listening)
    viewer: Viewer | LakeViewer
    if is_lake(cassette, other):
        from ..lake.page import LakeViewer

        viewer = LakeViewer(cassette, place)
        name = visible(viewer.lake.url)
        row = {"lake": viewer.lake.url}
        label = f"opening {name}"
    else:
        from ..ui.viewer import Viewer

        viewer = Viewer(cassette, other, place)
        names = [by_name(one) for one in (cassette, other) if one is not None]
        name = " beside ".join(names)
        row = dict(zip(("cassette", "other"), names, strict=False))
        label = f"reading {Path(names[0]).name}"
    asyncio.run(_run(viewer, label, name, row, no_browser, as_json))


def is_lake(cassette: str, other: str | None) -> bool:
    """Whether the arguments name a lake. Raises `UsageError` for a folder that is none, and for a lake with OTHER."""
    lakes = [one for one in (cassette, other or "") if "://" in one or (Path(one) / _MARKER).is_file()]
    if lakes and other is not None:
        raise UsageError(
            f"{by_name(lakes[0])} is a lake, and OTHER is for cassettes: `omnirecord ui LAKE` compares its sessions"
        )
    if not lakes and other is None and Path(cassette).is_dir():
        raise UsageError(
            f"{by_name(cassette)} is a folder and no lake, since it has no {_MARKER}: name a cassette in it, or make a"
            " lake with `omnirecord lake init`"
        )
    return bool(lakes)


async def _run(
    viewer: Viewer | LakeViewer, label: str, name: str, row: dict[str, str], no_browser: bool, as_json: bool
) -> None:
    """Serve the page of `name` until a signal. `row`: the object of `--json`, without the address."""
    import asyncio
    import webbrowser

    with stop_signal(lambda: None) as stop:
        with busy(label):
            await viewer.start()
        try:
            page = viewer.address
            print_ready(as_json, f"showing {name} at {page}", {"url": page, **row})
            if not no_browser and is_terminal(sys.stdout):
                await asyncio.to_thread(webbrowser.open, page)
            await stop.wait()
        finally:
            await viewer.stop()
