"""The whole trip, on a cassette that ships with the project: no network but loopback, no Omnigent.

The cassette is served as the upstream; its clients are run again through a recording proxy in front of that; what
was recorded is shown, and verified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from .errors import NotACassette
from .library import open_store
from .live import Live, Screen
from .proxy import Proxy
from .replaying import Replay
from .rerun import Rerun
from .telling.showing import lines_of
from .verify import Verification, verify

Say = Callable[[str], None]


def shipped_cassette() -> Path:
    """The cassette of the demo: in the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    for path in (package / "demo.jsonl", package.parent / "cassettes" / "approval.jsonl"):
        if path.exists():
            return path
    raise NotACassette("the demo's cassette is missing from this installation: install omnirecord again")


async def demo(db: Path, say: Say, screen: Screen | None = None, *, is_temporary: bool = False) -> Verification:
    """Make the trip, recording into `db`; say what happens, and show it on `screen`. Returns how the replay of that
    recording compares."""
    cassette = shipped_cassette()
    kept = " (a temporary file: --db keeps it)" if is_temporary else ""
    async with Replay(cassette, timing="compressed") as upstream:
        say(f"1. Serving {cassette.name}, a recorded Omnigent session, at {upstream.url}: that is the upstream.")
        async with Proxy(upstream.url, db) as proxy:
            live = None if screen is None else Live(screen, lambda: proxy.db, lambda: proxy.dropped_bytes)
            say(f"2. Recording it through {proxy.url} into {db.name}{kept}, with the clients of the recording.")
            await _run_clients(cassette, proxy.url)
        if live is not None:
            live.close()
    say("3. What was recorded (omnirecord show):")
    say("")
    store = open_store(db)
    try:
        for line in lines_of(store, None):
            say(f"   {line}")
    finally:
        store.close()
    say("")
    result = await verify(db, timing="instant")
    say(f"4. Served again to itself (omnirecord verify): {result.streams} stream(s), {result.bytes} bytes, "
        + ("every byte equal." if result.equal else "; ".join(result.differences)))  # fmt: skip
    say("   Now with your own server: omnirecord proxy --upstream http://127.0.0.1:6767")
    return result


async def _run_clients(cassette: Path, url: str) -> None:
    store = await asyncio.to_thread(open_store, cassette)
    try:
        for recording in store.recordings():
            await Rerun(store, recording.recording, url).run()
    finally:
        store.close()
