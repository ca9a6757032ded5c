"""A cassette served, and recorded once more while the recorded clients are run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import omnirecord
from omnirecord.library import open_store
from omnirecord.rerun import Rerun


async def record_replay(cassette: Path, db: Path, **how: Any) -> Path:
    """Serve `cassette` as `how` says, and record to `db` what its own clients do with it."""
    store = open_store(cassette)
    try:
        async with (
            omnirecord.replay(cassette, **{"timing": "instant", **how}) as server,
            omnirecord.record(server.url, db=db) as proxy,
        ):
            for recording in store.recordings():
                await Rerun(store, recording.recording, proxy.url).run(10.0)
    finally:
        store.close()
    return db
