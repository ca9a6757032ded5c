"""Promise 1, towards the client: what it sees through the proxy is what it sees without it."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import pytest

from omnirecord.recorder.proxy.server import Proxy
from tests.support import wire
from tests.support.wire import Answer, Wire, answering, ask, get, recorded

LONG = b"x" * 60 * 1024

RESPONSES = {
    "headers in their order, with duplicates and their case": (
        b"HTTP/1.1 200 OK\r\nX-b: 1\r\nx-A: 2\r\nX-B: 3\r\nx-b: 4\r\nContent-Length: 2\r\nX-B:5\r\n\r\nhi"
    ),
    "two cookies set": b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    "a reason of its own": b"HTTP/1.1 200 Fine By Me\r\nContent-Length: 2\r\n\r\nhi",
    "a status nobody knows": b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n",
    "no reason": b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n",
    "an empty header": b"HTTP/1.1 200 OK\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n",
    "a header of 60 KiB": b"HTTP/1.1 200 OK\r\nX-Long: " + LONG + b"\r\nContent-Length: 0\r\n\r\n",
    "a header in UTF-8": "HTTP/1.1 200 OK\r\nX-Name: ünï\r\nContent-Length: 0\r\n\r\n".encode(),
    "Date, Server and Content-Type of its own": (
        b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Type: a/b\r\nDate: d\r\nContent-Length: 0\r\n\r\n"
    ),
    "304 with a length": b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 5000\r\n\r\n',
    "304 without one": b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n',
    "204": b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
    "205 and an empty body": b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
    "a redirect, not followed": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n",
    "401 with its challenge": (
        b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 4\r\n\r\nnope'
    ),
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n",
    "an empty chunked body": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a body until the end": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nas long as it takes",
    "an answer of HTTP/1.0": b"HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nold",
    "gzip, as it is": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(b"hi", mtime=0))
        + gzip.compress(b"hi", mtime=0)
    ),
    "what says gzip and is none": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "a coding nobody knows": b"HTTP/1.1 200 OK\r\nContent-Encoding: x-own\r\nContent-Length: 3\r\n\r\nabc",
    "a body cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "chunks cut short": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n wo",
    "chunks without their last": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "an error of the server": b"HTTP/1.1 500 Oh No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
}


async def both_ways(response: bytes, request: bytes, folder: Path) -> tuple[Answer, Answer]:
    """The answer to a request without the proxy, and the one through it."""
    async with recorded(answering(response), folder) as (proxy, upstream):
        return await ask(upstream.url, request), await ask(proxy.url, request)


@pytest.mark.parametrize("kind", RESPONSES)
async def test_the_client_sees_what_it_would_see_without_the_proxy(kind: str, tmp_path: Path) -> None:
    direct, proxied = await both_ways(RESPONSES[kind], get(), tmp_path)
    assert proxied.seen() == (b"HTTP/1.1 " + direct.status[9:], *direct.seen()[1:])


async def test_a_chunked_body_stays_chunked_and_a_counted_one_counted(tmp_path: Path) -> None:
    _, chunked = await both_ways(RESPONSES["chunks"], get(), tmp_path)
    assert (b"Transfer-Encoding", b"chunked") in chunked.headers
    (tmp_path / "2").mkdir()
    _, counted = await both_ways(RESPONSES["no reason"], get(), tmp_path / "2")
    assert b"Transfer-Encoding" not in dict(counted.headers)


async def test_the_body_of_a_head_has_a_length_and_no_bytes(tmp_path: Path) -> None:
    request = get().replace(b"GET", b"HEAD")
    response = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5000\r\n\r\n"
    direct, proxied = await both_ways(response, request, tmp_path)
    assert proxied.seen() == direct.seen()
    assert (b"Content-Length", b"5000") in proxied.headers


@pytest.mark.parametrize("connection", ["", "Connection: keep-alive\r\n"])
async def test_a_client_of_http_1_0_gets_an_answer_it_can_read(connection: str, tmp_path: Path) -> None:
    request = f"GET / HTTP/1.0\r\nHost: a\r\n{connection}\r\n".encode()
    async with recorded(answering(RESPONSES["chunks"]), tmp_path) as (proxy, _):
        whole = await wire.raw(proxy.url, request)  # until we end the connection, as 1.0 has it
    head, _, body = whole.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK")
    assert b"ransfer-" not in head
    assert body == b"hello world"


async def test_a_1_0_client_that_asks_to_keep_the_connection_is_told_or_let_go(tmp_path: Path) -> None:
    request = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
    async with recorded(answering(RESPONSES["a reason of its own"]), tmp_path) as (proxy, _):
        assert (await wire.raw(proxy.url, request)).endswith(b"\r\n\r\nhi")


async def test_a_connection_of_the_client_is_used_again(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        while True:
            line, *_ = await conn.request()
            await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + line.split()[1][1:])

    async with recorded(handle, tmp_path) as (proxy, _), wire.connected(proxy.url) as client:
        for name in (b"ab", b"cd"):
            await client.send(get(f"/{name.decode()}"))
            _, headers = await client.head()
            assert await client.body(headers) == (name, True)


async def test_two_requests_sent_at_once_are_answered_in_their_order(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        line, *_ = await conn.request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + line.split()[1][1:])

    async with recorded(handle, tmp_path) as (proxy, _):
        answers = await wire.raw(proxy.url, get("/ab") + get("/cd", "Connection: close"))
    assert answers.index(b"\r\n\r\nab") < answers.index(b"\r\n\r\ncd")


async def test_a_compressed_stream_passes_as_it_is_and_is_read_decoded(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=31)
    events = [wire.event(n) for n in range(3)]
    packed = [packer.compress(one) + packer.flush(zlib.Z_SYNC_FLUSH) for one in events] + [packer.flush()]
    head = wire.STREAM.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    response = head + b"".join(map(wire.chunk, packed)) + wire.END
    async with recorded(answering(response), tmp_path) as (proxy, _):
        assert (await ask(proxy.url, get())).body == b"".join(packed)
    assert wire.content(proxy.db) == b"".join(events)
    assert [frame.verdict for frame in wire.frames(proxy.db)] == ["valid"] * 3


@pytest.mark.parametrize("request_line", [b"CONNECT example.com:443", b"CONNECT /x", b"OPTIONS *", b"GET ftp://a/b"])
async def test_what_has_no_place_at_one_upstream_is_refused_clearly(request_line: bytes, tmp_path: Path) -> None:
    async with recorded(answering(), tmp_path) as (proxy, upstream):
        answer = await ask(proxy.url, request_line + b" HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert upstream.connections == 0
    assert answer.status.startswith(b"HTTP/1.1 405 ")
    assert json.loads(answer.body)["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("request_", [get(), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"])
async def test_an_upstream_that_closes_without_an_answer_is_seen_as_that(request_: bytes, tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        await conn.request()

    async with recorded(handle, tmp_path) as (proxy, upstream):
        assert await wire.raw(proxy.url, request_) == b""
        assert upstream.connections == 1, "nobody asked for the request to be sent twice"
    assert wire.ending(proxy.db) == "upstream_lost"


async def test_an_upstream_that_cuts_its_header_section_is_seen_as_a_cut(tmp_path: Path) -> None:
    async with recorded(answering(b"HTTP/1.1 200 OK\r\nX-A"), tmp_path) as (proxy, _):
        assert await wire.raw(proxy.url, get()) == b""
    assert wire.ending(proxy.db) == "upstream_lost"


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_an_upstream_that_kills_a_kept_connection_costs_no_request(method: bytes, tmp_path: Path) -> None:
    """It answers once on each connection, promises to keep it, and ends it when the next request comes."""
    served = []

    async def handle(conn: Wire) -> None:
        line, *_ = await conn.request()
        served.append(line)
        await conn.send(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi")
        await conn.reader.read(1)
        conn.reset()

    request = method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    async with recorded(handle, tmp_path) as (proxy, _):
        for _ in range(3):
            assert (await ask(proxy.url, request)).status == b"HTTP/1.1 200 OK"
    assert len(served) == 3
    assert {one.ending for one in wire.exchanges(proxy.db)} == {"eof"}


async def test_an_upstream_that_is_not_there_is_a_502_in_omnigents_shape(tmp_path: Path) -> None:
    async with Proxy(wire.nobody_listens(), tmp_path / "run.db") as proxy:
        answer = await ask(proxy.url, get("/v1/sessions"))
    assert answer.status == b"HTTP/1.1 502 Bad Gateway"
    error = json.loads(answer.body)["error"]
    assert error["code"] == "upstream_unreachable"
    assert proxy.upstream.rstrip("/") in error["message"]
    (found,) = wire.exchanges(proxy.db)
    assert (found.ending, found.response and found.response.status) == ("upstream_unreachable", 502)
    assert wire.body(proxy.db) == answer.body


async def test_bytes_that_are_no_utf8_end_no_recording(tmp_path: Path) -> None:
    """Passing them is out of scope; that they cost no more than their own exchange is not."""

    async def handle(conn: Wire) -> None:
        line, *_ = await conn.request()
        odd = b"\xff" if line.startswith(b"GET /odd") else b"x"
        await conn.send(b"HTTP/1.1 200 " + odd + b"\r\nX-A: " + odd + b"\r\nContent-Length: 2\r\n\r\nhi")

    async with recorded(handle, tmp_path) as (proxy, _):
        for target in (b"/odd", b"/plain"):
            request = b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nX-B: \xff\r\nConnection: close\r\n\r\n"
            answer = await wire.raw(proxy.url, request)
        assert answer.endswith(b"hi")
    assert [(one.request.target, one.ending) for one in wire.exchanges(proxy.db)] == [
        ("/odd", "eof"),
        ("/plain", "eof"),
    ]
