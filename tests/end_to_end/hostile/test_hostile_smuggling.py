"""Request smuggling: what one client sends never becomes, or answers, the request of another one."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from omnirecord.recorder.proxy.server import Proxy
from tests.end_to_end.hostile.smuggling import CHUNKED, HIDDEN, IN_CHUNKS, LENGTH, UPGRADE, Server, cases
from tests.support import wire
from tests.support.wire import Upstream, Wire, ask, connected, get, raw

CASES = list(cases())
PLAIN = get("/plain")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANSWERS_AT_ONCE = 0.25
"""Seconds that a client waits for an answer that may never come; no assertion depends on them."""


async def attack(url: str, data: bytes) -> bytes:
    """Send this on a connection of its own; return what comes first."""
    async with connected(url, data) as conn:
        try:
            async with asyncio.timeout(ANSWERS_AT_ONCE):
                return await conn.reader.read(1 << 16)
        except (TimeoutError, ConnectionResetError):
            return b""


async def attacked(some: list[tuple[str, bytes]], server: Server, folder: Path) -> None:
    """Run the cases; fail if a victim gets the answer to another request, or a case is a fault of the proxy."""
    async with Upstream(server) as upstream, Proxy(upstream.url, folder / "run.db") as proxy:
        for number, (name, data) in enumerate(some):
            answer = await attack(proxy.url, data)
            assert b" 500 " not in answer.split(b"\r\n")[0], name
            for victim in (f"/victim-{number}a", f"/victim-{number}b"):
                assert (await ask(proxy.url, get(victim))).body == victim.encode(), name


def seen_and_not_recorded(server: Server, db: Path) -> Counter[bytes]:
    """The requests that upstream saw more often than the proxy recorded them."""
    return Counter(server.seen) - Counter(one.request.target.encode() for one in wire.exchanges(db))


@pytest.mark.parametrize("status", [b"200 OK", b"426 Upgrade Required"])
async def test_upstream_sees_no_request_that_the_proxy_did_not(status: bytes, tmp_path: Path) -> None:
    server = Server("chunks", status)
    upgrading = [case for case in CASES if "upgrad" in case[0]]
    await attacked([*upgrading[::12], *CASES[::60]], server, tmp_path)
    assert not seen_and_not_recorded(server, tmp_path / "run.db")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["chunks", "length", "headers"])
async def test_no_client_gets_the_answer_to_another_request(way: str, tmp_path: Path, long: bool) -> None:
    server = Server(way)
    await attacked(CASES if long else CASES[::47], server, tmp_path)
    if way == "chunks":  # the others take a body for requests, on a connection that nobody else gets
        assert not seen_and_not_recorded(server, tmp_path / "run.db")


REFUSED = {
    "an upgrade with a length": (b"400", UPGRADE + LENGTH, HIDDEN),
    "an upgrade in chunks": (b"400", UPGRADE + CHUNKED, IN_CHUNKS),
    "an upgrade with a length of 2^64-1": (b"400", UPGRADE + b"Content-Length: 18446744073709551615\r\n", HIDDEN),
    "a length of 2^64-1": (b"400", b"Content-Length: 18446744073709551615\r\n", HIDDEN),
    "a coding before chunked": (b"501", b"Transfer-Encoding: gzip, chunked\r\n", IN_CHUNKS),
    "an upgrade with a coding nobody knows": (b"501", UPGRADE + b"Transfer-Encoding: xchunked\r\n", IN_CHUNKS),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_request_with_two_ends_is_refused_and_recorded_as_that(name: str, tmp_path: Path) -> None:
    status, fields, body = REFUSED[name]
    server = Server("chunks")
    async with Upstream(server) as upstream, Proxy(upstream.url, tmp_path / "run.db") as proxy:
        answer = await raw(proxy.url, b"GET /attack HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body)
        assert upstream.connections == 0
    head, _, text = answer.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert answer.count(b"HTTP/1.1") == 1  # the connection ends behind it, with what is left of the body
    (exchange,) = wire.exchanges(tmp_path / "run.db")
    assert exchange.response is not None
    assert (str(exchange.response.status).encode(), exchange.ending) == (status, "eof")
    assert wire.body(tmp_path / "run.db") == text


async def test_an_upgrade_gets_a_connection_of_its_own(tmp_path: Path) -> None:
    server = Server("chunks", b"426 Upgrade Required")
    upgrade = b"GET /ws HTTP/1.1\r\nHost: a\r\n" + UPGRADE + b"\r\n"
    async with (
        Upstream(server) as upstream,
        Proxy(upstream.url, tmp_path / "run.db") as proxy,
        connected(proxy.url) as client,
    ):
        for request, connections in ((PLAIN, 1), (PLAIN, 1), (upgrade, 2), (upgrade, 3), (PLAIN, 3)):
            await client.send(request)
            await client.body((await client.head())[1])
            assert upstream.connections == connections


async def late(conn: Wire) -> None:
    """Answers, and sends a second answer once the next request is being sent on any connection."""
    section = await conn.until(b"\r\n\r\n")
    while b" /victim " not in section:
        await conn.send(OK)
        LATE.append(conn)
        section = await conn.until(b"\r\n\r\n")
    for other in LATE:
        await other.send(POISON)
    await asyncio.sleep(0)
    await conn.send(OK)


LATE: list[Wire] = []
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"


async def test_an_answer_that_comes_late_reaches_no_other_client(tmp_path: Path) -> None:
    LATE.clear()
    async with (
        Upstream(late) as upstream,
        Proxy(upstream.url, tmp_path / "run.db") as proxy,
        connected(proxy.url, PLAIN) as client,
    ):
        await client.until(b"ok")
        assert (await ask(proxy.url, get("/victim"))).body == b"ok"
        assert upstream.connections == 2


async def test_the_upstream_connection_of_a_client_that_left_is_closed(tmp_path: Path) -> None:
    left: list[bool] = []

    async def handle(conn: Wire) -> None:
        await conn.until(b"\r\n\r\n")
        await conn.send(OK)
        await conn.rest()
        left.append(True)

    async with (
        Upstream(handle) as upstream,
        Proxy(upstream.url, tmp_path / "run.db") as proxy,
        connected(proxy.url, PLAIN) as client,
    ):
        await client.until(b"ok")
        assert not left
        client.close()
        await wire.eventually(lambda: left)


BODY = get("/unasked")
BEHIND_UPGRADE = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY)


@pytest.mark.parametrize("at", [None, 20, 54, 74])
@pytest.mark.parametrize("protocol", [b"h2c", b"foo", b"websocket"])
async def test_the_body_of_a_request_behind_an_upgrade_is_no_request(
    protocol: bytes, at: int | None, tmp_path: Path
) -> None:
    upgrade = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % protocol
    first = upgrade + BEHIND_UPGRADE
    server = Server("length", b"426 Upgrade Required")
    async with (
        Upstream(server) as upstream,
        Proxy(upstream.url, tmp_path / "run.db") as proxy,
        connected(proxy.url) as client,
    ):
        for piece in (first,) if at is None else (first[:at], first[at:]):
            await client.send(piece)
            await asyncio.sleep(0.02)
        await client.body((await client.head())[1])
        await client.send(BODY)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(ANSWERS_AT_ONCE):
                await client.rest()
    assert b"/unasked" not in server.seen


@pytest.mark.parametrize("protocol", [b"h2c", b"foo", b"websocket"])
async def test_a_request_behind_a_declined_upgrade_is_answered(protocol: bytes, tmp_path: Path) -> None:
    upgrade = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % protocol
    async with (
        Upstream(Server("length")) as upstream,
        Proxy(upstream.url, tmp_path / "run.db") as proxy,
        connected(proxy.url, upgrade * 2 + get("/last")) as client,
    ):
        await client.until(b"/ws")
        await client.until(b"/ws")
        await client.until(b"/last")


EARLY = {
    "leaves in a body with a length": b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nhalf",
    "leaves in a body of a GET": b"GET /early HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nhalf",
    "leaves in a chunk": b"GET /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf",
    "leaves between chunks": b"GET /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "waits for leave": b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\nExpect: 100-continue\r\n\r\n",
}


@pytest.mark.parametrize("is_answered", [False, True])
@pytest.mark.parametrize("name", EARLY)
async def test_a_connection_whose_request_was_not_sent_whole_is_closed(
    name: str, is_answered: bool, tmp_path: Path
) -> None:
    sent: list[bytes] = []

    async def handle(conn: Wire) -> None:
        while b" /early " not in (section := await conn.until(b"\r\n\r\n")):
            await conn.send(OK)
        if is_answered:
            await conn.send(OK)
        sent.append(section + await conn.rest())

    async with Upstream(handle) as upstream, Proxy(upstream.url, tmp_path / "run.db") as proxy:
        async with connected(proxy.url, EARLY[name]) as conn:
            if is_answered:
                assert b" 200 " in await conn.until(b"ok")
            else:
                await wire.eventually(lambda: upstream.connections == 1)
        for _ in range(2):
            assert (await ask(proxy.url, get("/victim"))).body == b"ok"
        (early,) = await wire.eventually(lambda: sent)
    assert early.count(b"HTTP/1.1") == 1
    assert not early.endswith(b"0\r\n\r\n")


async def test_a_body_with_a_chunk_that_is_none_ends_its_request(tmp_path: Path) -> None:
    sent: list[bytes] = []

    async def handle(conn: Wire) -> None:
        sent.append(await conn.until(b"half\r\n"))
        sent.append(await conn.rest())

    async with Upstream(handle) as upstream, Proxy(upstream.url, tmp_path / "run.db") as proxy:
        async with connected(proxy.url, EARLY["leaves between chunks"]) as conn:
            await wire.eventually(lambda: sent)
            await conn.send(b"zz\r\n" + HIDDEN)
            status, _ = await conn.head()
            await conn.gone()
        await wire.eventually(lambda: len(sent) == 2)
    assert (status, sent[1]) == (b"HTTP/1.1 400 Bad Request", b"")
    (exchange,) = wire.exchanges(tmp_path / "run.db")
    assert exchange.response is not None
    assert (exchange.response.status, exchange.ending) == (400, "eof")
