"""Promise 4: whoever reads slowly costs a bounded piece of memory, delays nobody, and loses the recording nothing."""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.end_to_end.hostile.delays import Delays, percentile, told
from tests.end_to_end.hostile.flood import flooding
from tests.end_to_end.hostile.harness import Peak
from tests.support import wire
from tests.support.process import Process
from tests.support.wire import Wire, connected, get

MIB = 1 << 20
READ_AHEAD = 8 * MIB
KERNEL = 3 * MIB
"""What of a stream may be in aiohttp's and our own hands beside that."""
NUMBER = re.compile(rb'"sequence_number":([0-9]+)')


async def sip(client: Wire) -> None:
    """A byte a second."""
    while await client.reader.read(1):  # noqa: ASYNC110
        await asyncio.sleep(1)


@pytest.mark.timed
@pytest.mark.slow
@pytest.mark.parametrize("many", [1, 100])
async def test_slow_readers_delay_nobody_and_their_recordings_lack_nothing(
    many: int, tmp_path: Path, long: bool, figure: Figure
) -> None:
    """Each reads a byte a second of 10 MB/s. In short, four do so for two seconds."""
    if many == 1 and not long:
        pytest.skip("one is run with --long; here four are")
    many, seconds = (many, 20.0) if long else (4, 2.0)
    db = tmp_path / "run.db"
    async with (
        flooding() as upstream,
        Process(upstream, db) as proxy,
        AsyncExitStack() as stack,
        connected(proxy.url, get("/tick")) as client,
        connected(upstream, get("/tick")) as direct,
    ):
        await client.head()
        await direct.head()
        other, others = Delays(client), Delays(direct)
        async with Peak(proxy.process.pid) as peak:
            slow = [connected(proxy.url, get(f"/{n}"), receive_buffer=4096) for n in range(many)]
            sips = [asyncio.create_task(sip(await stack.enter_async_context(one))) for one in slow]
            during, without = await asyncio.gather(other.listen(seconds), others.listen(seconds))
            await wire.eventually(lambda: len(wire.exchanges(db)) == many + 1)
        for one in sips:
            one.cancel()
        code, said = await proxy.end(signal.SIGTERM)
    read = [number_of_events(db, one.stream or 0) for one in wire.exchanges(db) if one.request.target != "/tick"]
    figure(
        f"{many} slow readers",
        f"{sum(read) * 64 / 1024:.0f} MiB of them in the file, none missing; memory at most"
        f" +{peak.most / MIB:.0f} MiB; another stream's delay: {told(during)} (without the proxy: {told(without)})",
    )
    assert (code, "no longer kept" in said) == (0, False)
    assert min(read) * 64 * 1024 > READ_AHEAD, "each was read ahead"
    assert peak.most < many * (READ_AHEAD + KERNEL) + 256 * MIB
    assert percentile(during, 50) < 50


def number_of_events(db: Path, stream: int) -> int:
    """How many came in a row, from the first on; fails where one is missing."""
    frames = [frame for frame in wire.frames(db, stream) if frame.verdict == "valid" and frame.raw is not None]
    numbers = [int(NUMBER.findall(frame.raw or b"")[0]) for frame in frames]
    assert numbers == list(range(len(numbers)))
    return len(numbers)
