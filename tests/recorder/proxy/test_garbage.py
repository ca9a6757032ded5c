"""A recorder that runs for months keeps nothing of a client that has left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: the tests' watchdog keeps a frame of each task.
PROGRAM = """
import asyncio, gc, sys
from collections import Counter
import aiohttp
import omnirecord
from tests.support.three_kinds import upstream, use

async def visit(url):
    await use(url, "visit")
    async with aiohttp.ClientSession() as client, client.post(f"{url}/visit/length", data=b"last") as answer:
        await answer.read()
    await asyncio.sleep(0.1)

async def main():
    async with upstream() as url, omnirecord.record(url, sys.argv[1]) as proxy:
        await visit(proxy.url)  # makes what is made once
        gc.collect()
        gc.disable()
        for _ in range(3):
            await visit(proxy.url)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        types = map(type, gc.garbage)
        print(Counter(one.__qualname__ for one in types if one.__module__.startswith("omnirecord.")))

asyncio.run(main())
"""


@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio.TaskGroup leaves a cycle with its CancelledError")
@pytest.mark.fast_path
def test_nothing_of_a_client_that_left_waits_for_a_garbage_collection(tmp_path: Path) -> None:
    """Old garbage is looked at so rarely that memory would grow for hours."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "a.db"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "Counter()"
