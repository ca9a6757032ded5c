"""An upstream in a process of its own, so that what it costs to send a flood delays nobody who is measured.

`/tick` gets an event each 10 ms, whose delta is the time at which it was sent (ns, `CLOCK_MONOTONIC`); everything else
gets 64 KiB each 6.5 ms, which is 10 MB/s, for as long as it is read. Prints its URL.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.wire import STREAM, Upstream, Wire, chunk, event

PIECE = 64 * 1024
EVERY = PIECE / 10e6


async def tick(conn: Wire) -> None:
    while True:
        now = b"%d" % time.monotonic_ns()
        await conn.send(chunk(event(0).replace(b'"delta":"0 "', b'"delta":"%b"' % now)))
        await asyncio.sleep(0.01)


async def flood(conn: Wire) -> None:
    n, due = 0, time.monotonic()
    while True:
        await conn.send(chunk(event(n, PIECE)))
        n += 1
        due = max(due + EVERY, time.monotonic() - 1)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def serve(conn: Wire) -> None:
    line, *_ = await conn.request()
    await conn.send(STREAM)
    await (tick(conn) if b"/tick" in line else flood(conn))


async def main() -> None:
    async with Upstream(serve) as upstream:
        sys.stdout.write(f"{upstream.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


@asynccontextmanager
async def flooding() -> AsyncIterator[str]:
    """The URL of such an upstream."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.end_to_end.hostile.flood", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.communicate()


if __name__ == "__main__":
    asyncio.run(main())
