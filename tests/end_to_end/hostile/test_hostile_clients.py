"""Clients that do everything wrong: none of them reaches upstream with a second request, and none is missed."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from tests.end_to_end.hostile.harness import Harness, sound
from tests.end_to_end.hostile.row import bytewise
from tests.end_to_end.hostile.rows_client import GET, POST, SHAPES, Shape
from tests.support import wire
from tests.support.process import Process
from tests.support.wire import STREAM, Wire, chunk, connected, event, get

pytestmark = pytest.mark.asyncio(loop_scope="module")
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    # What is refused is not quoted: it may be a secret.
    async with sound(tmp_path_factory.mktemp("hostile"), "X-A") as harness:
        yield harness


LEAVING = {
    "before anything": (b"", False),
    "in the request line": (b"GET /ro", False),
    "in a header field": (GET + b"X-A: ", False),
    "before the upload": (POST + b"Content-Length: 10\r\n\r\n", True),
    "in the upload": (POST + b"Content-Length: 10\r\n\r\nhalf", True),
    "in a chunk's size": (POST + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n1", True),
    "in a chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf", True),
    "before the answer": (GET + b"\r\n", True),
}
"""What was sent until then, and whether that is a request."""


class Counting:
    """An upstream that answers all requests that come on its connections."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, conn: Wire) -> None:
        while True:
            self.bodies.append((await conn.request())[2])
            await conn.send(OK)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
async def test_a_request_is_refused_or_arrives_as_the_one_that_it_is(shape: Shape, harness: Harness) -> None:
    upstream = Counting()
    async with harness.with_upstream(upstream), connected(harness.proxy.url) as client:
        with suppress(ConnectionError):  # it may be refused before all of it is sent
            await client.send(shape.data)
        status, _ = await client.head()
        assert status.split()[1] == b"%d" % shape.status
    found = await harness.recorded()
    assert upstream.bodies == [shape.body] * shape.arrives
    assert [one.ending for one in found if one.response] == ["eof"] * shape.arrives
    for one in found[:1]:
        with wire.opened(harness.db) as store:
            assert store.body(one.exchange, "request") == shape.body


async def test_nobody_need_read_what_is_said_on_stderr(tmp_path: Path) -> None:
    """As behind a pager that somebody has left open: what is refused is told there, and nothing waits for that."""
    async with Process(wire.nobody_listens(), tmp_path / "run.db") as proxy:
        pipe = proxy.process._transport.get_pipe_transport(2)  # type: ignore[attr-defined]
        pipe.pause_reading()
        fcntl.fcntl(pipe.get_extra_info("pipe"), fcntl.F_SETPIPE_SZ, 4096)
        try:
            for n in range(200):
                assert (await wire.ask(proxy.url, get(f"/{n}"))).status == b"HTTP/1.1 502 Bad Gateway"
            await wire.eventually(lambda: len(wire.exchanges(tmp_path / "run.db")) == 200)
            proxy.process.terminate()
            await wire.eventually(lambda: proxy.process.returncode is not None)
        finally:
            pipe.resume_reading()
    assert proxy.process.returncode == 0


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("point", LEAVING)
async def test_a_client_that_leaves_is_told_upstream_at_once(how: str, point: str, harness: Harness) -> None:
    """An upload that is cut short reaches upstream as one; a half-closed client is one that has left."""
    sent, is_recorded = LEAVING[point]
    arrived, learnt = asyncio.Event(), asyncio.Event()

    async def upstream(conn: Wire) -> None:
        await conn.head()
        arrived.set()
        assert not (await conn.rest()).endswith(b"0\r\n\r\n"), "no end is invented"
        learnt.set()

    async with harness.with_upstream(upstream), connected(harness.proxy.url, sent) as client:
        if is_recorded:
            await asyncio.wait_for(arrived.wait(), wire.PATIENCE)
        if how == "half-close":
            client.writer.write_eof()
        else:
            client.close() if how == "close" else client.reset()
        if is_recorded:
            await asyncio.wait_for(learnt.wait(), wire.PATIENCE)
    found = await harness.recorded()
    assert [one.ending for one in found] == ["client_left"] * is_recorded


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("answer", [STREAM + chunk(event(1)), b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"])
async def test_a_client_that_leaves_in_the_answer_is_told_upstream_at_once(
    answer: bytes, how: str, harness: Harness
) -> None:
    learnt = asyncio.Event()

    async def upstream(conn: Wire) -> None:
        await conn.request()
        await conn.send(answer)
        await conn.gone()
        learnt.set()

    async with harness.with_upstream(upstream), connected(harness.proxy.url, get()) as client:
        await client.head()
        await client.read()
        client.close() if how == "close" else client.reset()
        await asyncio.wait_for(learnt.wait(), wire.PATIENCE)
    (found,) = await harness.recorded()
    assert found.ending == "client_left"
    assert harness.kept(found) == (event(1) if answer.startswith(STREAM) else b"half")


async def test_a_request_a_byte_at_a_time_is_one(harness: Harness) -> None:
    upstream = Counting()
    async with harness.with_upstream(upstream), connected(harness.proxy.url) as client:
        await bytewise(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")(client)
        assert (await client.head())[0] == b"HTTP/1.1 200 OK"
    assert upstream.bodies == [b"hello"]
    assert len(await harness.recorded()) == 1


async def test_a_hundred_requests_in_one_segment_are_a_hundred(harness: Harness) -> None:
    upstream = Counting()
    async with harness.with_upstream(upstream), connected(harness.proxy.url) as client:
        await client.send((GET + b"\r\n") * 99 + GET + b"Connection: close\r\n\r\n")
        assert (await client.rest()).count(b"HTTP/1.1 200 OK") == 100
    assert upstream.bodies == [b""] * 100
    assert [one.ending for one in await harness.recorded()] == ["eof"] * 100


async def test_two_hundred_clients_that_say_nothing_and_as_many_silent_upstreams_are_in_nobodys_way(
    harness: Harness,
) -> None:
    """Half-open sockets: connected, and never heard of again."""
    silent = [connected(harness.proxy.url) for _ in range(200)]
    waiting = [connected(harness.proxy.url, get("/waits")) for _ in range(200)]
    before = harness.connections
    async with harness.with_upstream(lambda conn: conn.gone()):
        for client in (*silent, *waiting):
            await client.__aenter__()
        await wire.eventually(lambda: harness.connections - before == 200)
        harness.answer_again()
        assert (await wire.ask(harness.proxy.url, get("/alive"))).body == b"alive"
        for client in (*silent, *waiting):
            await client.__aexit__(None, None, None)
    found = await harness.recorded()
    assert [one.ending for one in found] == ["client_left"] * 200


async def test_an_answer_before_the_upload_is_over_comes_though_the_upload_is_reset(harness: Harness) -> None:
    early = b"HTTP/1.1 413 Too Much\r\nConnection: close\r\nContent-Length: 4\r\n\r\nstop"

    async def upstream(conn: Wire) -> None:
        await conn.head()
        await conn.send(early)
        await conn.read(100_000)
        conn.reset()

    async with (
        harness.with_upstream(upstream),
        connected(harness.proxy.url, POST + b"Content-Length: 1000000\r\n\r\n") as client,
    ):
        await client.head()
        assert await client.read(4) == b"stop"
        with suppress(ConnectionError):
            await client.send(bytes(900_000))
    (found,) = await harness.recorded()
    assert found.response is not None
    assert (found.response.status, harness.kept(found)) == (413, b"stop")


@pytest.mark.parametrize("final", [b"HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno", OK])
async def test_who_expects_leave_gets_it_of_us_and_then_upstreams_answer(final: bytes, harness: Harness) -> None:
    """`Expect` is not passed on: upstream need not know it, and its 417 comes after the upload instead of before it."""

    async def upstream(conn: Wire) -> None:
        _, headers, body = await conn.request()
        assert b"Expect" not in dict(headers)
        assert body == b"hi"
        await conn.send(final)

    request = POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    async with harness.with_upstream(upstream), connected(harness.proxy.url, request) as client:
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hi")
        assert (await client.head())[0] == final.partition(b"\r\n")[0]
    assert len(await harness.recorded()) == 1
