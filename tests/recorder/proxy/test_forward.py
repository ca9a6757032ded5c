"""Promise 1, towards upstream: it sees the request that the client sent, and when the client leaves."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from omnirecord.errors import UsageError
from omnirecord.recorder.proxy.server import Proxy
from tests.support import wire
from tests.support.wire import Headers, Wire, ask, connected, get, recorded

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MIB = 1 << 20


class Seen:
    """An upstream that keeps what it is sent and answers 200."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.headers: list[Headers] = []
        self.bodies: list[bytes] = []

    async def __call__(self, conn: Wire) -> None:
        while True:
            line, headers, body = await conn.request()
            self.lines.append(line)
            self.headers.append(headers)
            self.bodies.append(body)
            await conn.send(OK)


async def sent_on(request: bytes, folder: Path) -> tuple[bytes, Headers, bytes, str]:
    """The request line, headers and body that reach upstream, and upstream's host and port."""
    seen = Seen()
    async with recorded(seen, folder) as (proxy, upstream):
        assert (await ask(proxy.url, request)).body == b"ok"
    return seen.lines[0], seen.headers[0], seen.bodies[0], urlsplit(upstream.url).netloc


@pytest.mark.parametrize(
    "target",
    [
        "/", "/%7Ex", "/a%2Fb", "/a/../b", "/a/./b", "//host/x", "/a//b", "/x?", "/x?a=1&a=2&b", "/x?a=b?c=d",
        "/?q=%20+%2B", "/x?redirect=http://a/b", "/a;b=c", "/a:b@c", "/%FF", "/x?%FF",
        "/[a]", "/{a}?{b}", "/a'b\"c<d>|e^f`",
        "/x?a=%zz", "/%",
    ],
)  # fmt: skip
async def test_the_target_arrives_byte_for_byte(target: str, tmp_path: Path) -> None:
    line, *_ = await sent_on(get(target), tmp_path)
    assert line == f"GET {target} HTTP/1.1".encode()
    assert wire.exchanges(tmp_path / "run.db")[0].request.target == target


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        ("http://other.example:1/a?b", "/a?b"),
        ("http://other.example", "/"),
        ("HTTP://other.example/%7E", "/%7E"),
        ("http://other.example?a=b/c", "/?a=b/c"),
        ("https://u:p@other.example:1//x", "//x"),
    ],
)
async def test_an_absolute_target_goes_to_the_one_upstream_as_its_path(
    target: str, arrives: str, tmp_path: Path
) -> None:
    line, *_ = await sent_on(get(target), tmp_path)
    assert line == f"GET {arrives} HTTP/1.1".encode()


async def test_a_path_in_the_upstreams_url_comes_before_every_path(tmp_path: Path) -> None:
    seen = Seen()
    async with wire.Upstream(seen) as upstream, Proxy(f"{upstream.url}/pre/%7Ex/", tmp_path / "run.db") as proxy:
        await ask(proxy.url, get("/v1/sessions?a=b"))
        await ask(proxy.url, get("/"))
    assert seen.lines == [b"GET /pre/%7Ex/v1/sessions?a=b HTTP/1.1", b"GET /pre/%7Ex/ HTTP/1.1"]
    assert wire.exchanges(tmp_path / "run.db")[0].request.target == "/v1/sessions?a=b"


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:6767",
        "ftp://a/",
        "http://",
        "http://u:p@a/",
        "http://a/?q",
        "http://a/#f",
        "http://a:b/",
        "",
        "http://b\u00fccher.example",
        "http://a b/",
        "http://a/\n",
        "http://a/ b",
        "http://a/\x1b",
        "http://good\\@evil/",
    ],
)
def test_an_upstream_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--upstream"):
        Proxy(url)


async def test_headers_arrive_in_order_with_duplicates_and_case_and_nothing_is_added(tmp_path: Path) -> None:
    lines = ["x-B: 1", "X-a: 2", "x-b: 3", "Cookie: a=1", "Cookie: b=2", "X-Empty:", f"X-Long: {'x' * 60 * 1024}"]
    _, headers, _, host = await sent_on(get("/", *lines), tmp_path)
    sent = [tuple(part.strip().encode() for part in line.split(":", 1)) for line in lines]
    assert [one for one in headers if one[0] != b"Host"] == sent
    assert [one for one in headers if one[0] == b"Host"] == [(b"Host", host.encode())]


async def test_what_is_for_one_connection_only_stays_there(tmp_path: Path) -> None:
    lines = [
        "Connection: keep-alive, X-Mine", "x-mine: 1", "Keep-Alive: timeout=5", "TE: trailers", "Upgrade: h2c",
        "Proxy-Connection: close", "X-Yours: 2",
    ]  # fmt: skip
    _, headers, *_ = await sent_on(get("/", *lines), tmp_path)
    assert {name.lower() for name, _ in headers} - {b"connection"} == {b"host", b"x-yours"}
    assert dict(headers).get(b"Connection", b"close") in (b"close", b"keep-alive")


async def test_the_cookies_of_one_client_never_go_out_with_anothers(tmp_path: Path) -> None:
    seen: list[Headers] = []

    async def handle(conn: Wire) -> None:
        while True:
            seen.append((await conn.request())[1])
            await conn.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: session=first; Path=/\r\nContent-Length: 0\r\n\r\n")

    async with wire.Upstream(handle) as upstream:
        by_name = upstream.url.replace("127.0.0.1", "localhost")  # a cookie jar refuses addresses, but not this
        async with Proxy(by_name, tmp_path / "run.db") as proxy:
            await ask(proxy.url, get("/", "Cookie: mine=1"))
            await ask(proxy.url, get("/"))
    assert [dict(one).get(b"Cookie") for one in seen] == [b"mine=1", None]


BODIES = {
    "with a length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "in chunks": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    "of a GET": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "of a DELETE": b"DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("kind", BODIES)
async def test_a_body_arrives_and_is_recorded(kind: str, tmp_path: Path) -> None:
    line, headers, body, _ = await sent_on(BODIES[kind], tmp_path)
    assert (line.split()[0], body) == (BODIES[kind].split()[0], b"hello")
    names = {name.lower() for name, _ in headers}
    framing = b"transfer-encoding" if kind == "in chunks" else b"content-length"
    assert names - {b"connection"} == {b"host", framing}, "nothing was added, and the framing is the client's"
    assert wire.body(tmp_path / "run.db", "request") == b"hello"
    assert wire.exchanges(tmp_path / "run.db")[0].request_bytes == 5


async def test_an_empty_body_is_sent_as_one(tmp_path: Path) -> None:
    _, headers, body, _ = await sent_on(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", tmp_path)
    assert (dict(headers)[b"Content-Length"], body) == (b"0", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_request_without_a_body_gets_no_length(method: str, tmp_path: Path) -> None:
    _, headers, _, _ = await sent_on(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode(), tmp_path)
    assert [name for name, _ in headers] == [b"Host", b"Connection"]


async def test_a_compressed_upload_passes_as_it_is(tmp_path: Path) -> None:
    packed = gzip.compress(b"hi" * 1000)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    _, headers, body, _ = await sent_on(head + packed, tmp_path)
    assert (dict(headers)[b"Content-Encoding"], body) == (b"gzip", packed)
    assert wire.body(tmp_path / "run.db", "request") == packed


async def test_a_client_that_expects_leave_to_send_gets_it(tmp_path: Path) -> None:
    seen = Seen()
    request = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    async with recorded(seen, tmp_path) as (proxy, _), connected(proxy.url, request) as client:
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"hello")
        assert (await client.head())[0] == b"HTTP/1.1 200 OK"
    assert seen.bodies == [b"hello"]


async def test_an_upload_is_passed_on_as_it_comes(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.head()
        for n in range(3):
            assert await conn.read() == b"part%d" % n
            arrived.set()
        await conn.send(OK)

    arrived = asyncio.Event()
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n"
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, request) as client:
        for n in range(3):
            arrived.clear()
            await client.send(b"part%d" % n)
            async with asyncio.timeout(wire.PATIENCE):
                await arrived.wait()
        assert (await client.head())[0] == b"HTTP/1.1 200 OK"


@pytest.mark.slow
async def test_a_large_upload_is_held_in_no_memory_and_waits_for_upstream(tmp_path: Path) -> None:
    size, taken = 64 * MIB, 0
    may_read = asyncio.Event()

    async def handle(conn: Wire) -> None:
        nonlocal taken
        # else the kernel lets it grow to 32 MiB here, and as much again at the proxy, where it had time for that
        conn.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        await conn.head()
        await may_read.wait()
        while taken < size:
            taken += len(await conn.read())
        await conn.send(OK)

    async def upload(client: Wire) -> None:
        nonlocal sent
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: x/y\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(64):
            await client.send(bytes(MIB))
            sent += MIB
            await asyncio.sleep(0.01)  # not faster than any disk: what is recorded waits for that in memory

    sent = 0
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url) as client:
        task = asyncio.create_task(upload(client))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 1.5)
        assert sent < 48 * MIB, "upstream reads nothing: the kernel's buffers are all there is"
        may_read.set()
        before, most = wire.resident(), 0
        while not task.done():
            await asyncio.sleep(0.01)
            most = max(most, wire.resident() - before)
        assert (await client.head())[0] == b"HTTP/1.1 200 OK"
    assert taken == size
    assert most < 48 * MIB
    assert wire.exchanges(proxy.db)[0].request_bytes == size


async def test_an_answer_that_comes_before_the_upload_is_over_is_passed_on(tmp_path: Path) -> None:
    early = b"HTTP/1.1 413 Too Much\r\nConnection: close\r\nContent-Length: 4\r\n\r\nstop"

    async def handle(conn: Wire) -> None:
        await conn.head()
        await conn.send(early)

    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin"
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, request) as client:
        assert (await client.head())[0] == b"HTTP/1.1 413 Too Much"
        assert await client.read(4) == b"stop"
    assert wire.ending(proxy.db) == "eof"
    assert wire.incidents(proxy.db) == []


async def test_a_stream_that_begins_before_the_upload_is_over_runs_beside_it(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.head()
        await conn.send(wire.STREAM + wire.chunk(wire.event(1)))
        assert await conn.read(5) == b"begin"
        assert await conn.read(3) == b"end"
        await conn.send(wire.chunk(wire.event(2)) + wire.END)

    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nbegin"
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, request) as client:
        await client.head()
        assert await client.chunk() == wire.event(1)
        await client.send(b"end")
        assert await client.chunk() == wire.event(2)
        assert await client.until(b"\r\n\r\n") == wire.END
    assert wire.ending(proxy.db) == "eof"
    assert wire.body(proxy.db, "request") == b"beginend"


@pytest.mark.timed
@pytest.mark.parametrize("when", ["before the answer", "in a stream", "in a body", "in an upload"])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_upstream_learns_at_once_that_the_client_left(when: str, how: str, tmp_path: Path) -> None:
    """A silent upstream: nothing is written to the client that would tell."""
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    learnt: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def handle(conn: Wire) -> None:
        await conn.head()
        if when == "in a stream":
            await conn.send(wire.STREAM)
        elif when == "in a body":
            await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        elif when == "in an upload":
            await conn.read(4)
        ready.set_result(None)
        await conn.gone()
        learnt.set_result(time.monotonic())

    upload = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf"
    request = upload if when == "in an upload" else get()
    async with recorded(handle, tmp_path) as (proxy, _):
        async with connected(proxy.url, request) as client:
            await asyncio.wait_for(ready, wire.PATIENCE)
            if when.startswith("in a ") or when == "in an answer":
                await client.head()
            left = time.monotonic()
            client.close() if how == "close" else client.reset()
            assert await asyncio.wait_for(learnt, wire.PATIENCE) - left < 0.1
        await wire.eventually(lambda: wire.ending(proxy.db) == "client_left")


async def test_every_exchange_goes_to_upstream_on_its_own_and_none_is_invented(tmp_path: Path) -> None:
    seen = Seen()
    async with recorded(seen, tmp_path) as (proxy, upstream):
        assert upstream.connections == 0, "the recorder opens no connection of its own"
        await asyncio.gather(*[ask(proxy.url, get(f"/{n}")) for n in range(20)])
    assert sorted(seen.lines) == sorted(b"GET /%d HTTP/1.1" % n for n in range(20))
