"""The replay server between the same hostile clients: it refuses or answers each, and serves the next one."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from tests.end_to_end.hostile.harness import descriptors, resident
from tests.end_to_end.hostile.rows_client import GET, POST, SHAPES, Shape
from tests.support import wire
from tests.support.forked import Running
from tests.support.wire import connected, get

pytestmark = pytest.mark.asyncio(loop_scope="module")
CASSETTE = Path(__file__).parent.parent.parent.parent / "cassettes" / "approval.jsonl"
MIB = 1 << 20


class Serving:
    """A running `omnirecord serve`."""

    async def __aenter__(self) -> Serving:
        self.process = Running(["serve", CASSETTE, "--listen", "127.0.0.1:0", "--timing", "instant", "--json"])
        self.url = json.loads(await self.process.readline())["url"]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        _, errors = await self.process.communicate()
        assert self.process.returncode == 0
        assert b"Traceback" not in errors

    async def is_alive(self) -> bool:
        """Whether a recorded request is answered as it was."""
        first = json.loads(CASSETTE.read_text().splitlines()[1])["request"]["target"]
        async with asyncio.timeout(wire.PATIENCE):
            return (await wire.ask(self.url, get(first, "Connection: close"))).status.startswith(b"HTTP/1.1 ")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving() -> AsyncIterator[Serving]:
    async with Serving() as serving:
        assert await serving.is_alive()
        before = resident(serving.process.pid), descriptors(serving.process.pid)
        yield serving
        assert resident(serving.process.pid) - before[0] < 64 * MIB
        assert descriptors(serving.process.pid) <= before[1] + 2


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
async def test_a_request_is_refused_or_a_miss(shape: Shape, serving: Serving) -> None:
    async with connected(serving.url) as client:
        with suppress(ConnectionError):
            await client.send(shape.data)
        status, _ = await client.head()
    assert status.split()[1] == (b"404" if shape.arrives else b"%d" % shape.status)
    assert await serving.is_alive()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(
    "sent", [b"", b"GET /v1", GET + b"X-A: ", POST + b"Content-Length: 9\r\n\r\nhalf", GET + b"\r\n"]
)
async def test_a_client_may_leave_at_any_point(sent: bytes, how: str, serving: Serving) -> None:
    async with connected(serving.url, sent) as client:
        client.close() if how == "close" else client.reset()
    assert await serving.is_alive()
