"""`demo`: replay, record, show and verify a shipped cassette. Needs no network but loopback, and no Omnigent.

The cassette is served as the upstream; its clients are run again through a recording proxy in front of that; what
was recorded is shown, and verified.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..cassette.files import TemporaryFolder
from ..errors import NotACassette
from .arguments import DATABASE, opened
from .common import is_terminal, output_options, print_rows
from .group import Failure

if TYPE_CHECKING:
    from ..replayer.verify import Verification
    from .live import Screen

Say = Callable[[str], None]


def shipped_cassette() -> Path:
    """The cassette of the demo: in the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    for path in (package / "demo.jsonl", package.parent / "cassettes" / "approval.jsonl"):
        if path.exists():
            return path
    raise NotACassette("the demo's cassette is missing from this installation: install omnirecord again")


async def run_demo(db: Path, say: Say, screen: Screen | None = None, *, is_temporary: bool = False) -> Verification:
    """Run the demo, recording into `db`, with its output on `screen`. Returns the comparison of the last replay."""
    import asyncio

    from ..analysis.transcript import lines_of
    from ..cassette.open import open_store
    from ..recorder.proxy.server import Proxy
    from ..replayer.server import Replay
    from ..replayer.verify import Rerun, verify
    from .live import Live

    cassette = shipped_cassette()
    kept = " (a temporary file: --db keeps it)" if is_temporary else ""
    async with Replay(cassette, timing="compressed") as upstream:
        say(f"1. The upstream: {cassette.name}, a recorded Omnigent session, served at {upstream.url}.")
        async with Proxy(upstream.url, db) as proxy:
            live = None if screen is None else Live(screen, lambda: proxy.db, lambda: proxy.dropped_bytes)
            say(f"2. The proxy at {proxy.url} records it into {db.name}{kept}, with the clients of the recording.")
            with closing(await asyncio.to_thread(open_store, cassette)) as store:
                for recording in store.recordings():
                    await Rerun(store, recording.recording, proxy.url).run()
        if live is not None:
            live.close()
    say("3. The recording (omnirecord show):")
    say("")
    with opened(db) as store:
        for line in lines_of(store, None):
            say(f"   {line}")
    say("")
    result = await verify(db, timing="instant")
    replayed = f"{result.streams} stream(s), {result.bytes} bytes"
    say(
        f"4. A replay, compared with the recording (omnirecord verify): {replayed}, "
        + ("every byte equal." if result.equal else "; ".join(result.differences))
    )
    say("   Now with your own server: omnirecord proxy --upstream http://127.0.0.1:6767")
    return result


@click.command()
@click.option("--db", type=DATABASE, help="Keep the recording in this file (default: a temporary file).")
@output_options
def demo(db: Path | None, as_json: bool) -> None:
    """Replay an example session, record the replay through the proxy, then show and verify the recording.

    The command needs no network.

    \b
    Example:
      omnirecord demo
    """
    import asyncio

    from .live import Screen

    screen = Screen(stderr=True) if is_terminal(sys.stderr) and not as_json else None
    say = (lambda _: None) if as_json else click.echo
    with TemporaryFolder("demo") as folder:
        try:
            result = asyncio.run(run_demo(db or Path(folder) / "demo.db", say, screen, is_temporary=db is None))
        except TimeoutError as error:
            raise Failure(f"the demo did not finish: {error}") from error
    if as_json:
        print_rows([{"db": None if db is None else str(db), **result.row()}])
    sys.exit(0 if result.equal else 1)
