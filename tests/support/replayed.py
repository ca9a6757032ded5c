"""A cassette served, and recorded once more while the recorded clients are run again."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import omnirecord
from omnirecord.cassette.open import open_store
from omnirecord.replayer.verify import Rerun

QUIET_S = 2.0
"""How long nothing comes before a client leaves that waits for what a fault took away."""


async def record_replay(cassette: Path, db: Path, **how: Any) -> Path:
    """Serve `cassette` as `how` says, and record to `db` what its own clients do with it."""
    store = open_store(cassette)
    try:
        async with (
            omnirecord.replay(cassette, **{"timing": "instant", **how}) as server,
            omnirecord.record(server.url, db=db) as proxy,
        ):
            for recording in store.recordings():
                await _run(Rerun(store, recording.recording, proxy.url), patient="faults" not in how)
    finally:
        store.close()
    return db


async def _run(rerun: Rerun, *, patient: bool) -> None:
    if patient:
        await rerun.run(10.0)
        return
    task = asyncio.create_task(rerun.run(10.0))
    seen = -1
    while not task.done() and seen != (seen := sum(len(stream.body) for stream in rerun.streams.values())):
        await asyncio.wait([task], timeout=QUIET_S)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
