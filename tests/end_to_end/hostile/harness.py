"""One proxy process, its upstream and its cassette, which outlive every row: what a row breaks, the next one sees."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from omnirecord.model import Exchange
from omnirecord.omnigent.routes import path_of
from tests.end_to_end.hostile.row import Row, Script, Seen, see
from tests.support import wire
from tests.support.process import ForkedProcess
from tests.support.wire import Wire, connected, get

ALIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nalive"


def resident(pid: int) -> int:
    """Bytes of memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class Peak:
    """The most memory that a process has had more than at the beginning, in bytes: `most`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = resident(pid)
        self.most = 0

    async def __aenter__(self) -> Peak:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            self.most = max(self.most, resident(self._pid) - self._before)
            await asyncio.sleep(0.02)


class Harness:
    """Runs rows. `connections`: how many upstream has had."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.db = folder / "run.db"
        self._options = options
        self._script: Script = self._alive
        self.connections = 0
        self._known = 0

    async def __aenter__(self) -> Harness:
        self.upstream = await wire.Upstream(self._connected).__aenter__()
        self.proxy = await ForkedProcess(self.upstream.url, self.db, *self._options).__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.proxy.__aexit__(*error)
        await self.upstream.__aexit__(None)

    async def stop(self) -> str:
        """What the proxy had to say, once it has ended as it should."""
        code, errors = await self.proxy.end(signal.SIGTERM)
        assert code == 0, errors
        return errors

    @property
    def pid(self) -> int:
        return self.proxy.process.pid

    async def _connected(self, conn: Wire) -> None:
        self.connections += 1
        await self._script(conn)

    async def _alive(self, conn: Wire) -> None:
        await conn.request()
        await conn.send(ALIVE)

    def answer_again(self) -> None:
        """Connections that come from now on are answered as when nothing is wrong."""
        self._script = self._alive

    @asynccontextmanager
    async def with_upstream(self, script: Script) -> AsyncIterator[None]:
        """Upstream does this with connections that come meanwhile."""
        self._script = script
        try:
            yield
        finally:
            self.answer_again()

    async def seen(self, row: Row, url: str) -> Seen:
        """What the client of a row sees at this URL."""
        async with self.with_upstream(row.upstream), connected(url) as conn:
            await row.client(conn)
            return await see(conn, row)

    async def both(self, row: Row) -> tuple[Seen, Seen]:
        """Without the proxy, and through it."""
        return await self.seen(row, self.upstream.url), await self.seen(row, self.proxy.url)

    async def recorded(self, patience: float = wire.PATIENCE) -> list[Exchange]:
        """The exchanges since the last call, once they are over; the last of them shows that the proxy lives on."""
        target = f"/alive?{self._known}"  # a row may ask for /alive, too
        assert (await wire.ask(self.proxy.url, get(target))).body == b"alive"

        def over() -> list[Exchange]:
            found = [one for one in wire.exchanges(self.db) if one.exchange > self._known]
            alive = next((one.exchange for one in found if one.request.target == target), 0)
            # An exchange that began before may be in the file after it.
            are_all_there = {one.exchange for one in found}.issuperset(range(self._known + 1, alive + 1))
            return found if alive and are_all_there and all(one.end_ns for one in found) else []

        found = await wire.eventually(over, patience)
        self._known = max(one.exchange for one in found)
        return [one for one in found if path_of(one.request.target) != "/alive"]

    def kept(self, exchange: Exchange) -> bytes:
        """What of a response is in the cassette, as it was on the wire."""
        with wire.opened(self.db) as store:
            return store.wire(exchange) if exchange.kind == "sse" else store.body(exchange.exchange, "response")


GROWS_BY = 64 << 20
"""Bytes that the tests of a module may add to the proxy's memory."""


@asynccontextmanager
async def sound(folder: Path, *unsaid: str) -> AsyncIterator[Harness]:
    """A harness whose proxy does not grow meanwhile, nor logs a traceback or these words."""
    async with Harness(folder) as harness:
        await harness.recorded()
        before = resident(harness.pid), descriptors(harness.pid)
        yield harness
        assert resident(harness.pid) - before[0] < GROWS_BY
        assert descriptors(harness.pid) <= before[1] + 2
        said = await harness.stop()
        assert not [one for one in ("Traceback", *unsaid) if one in said], said
