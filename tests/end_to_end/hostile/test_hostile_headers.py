"""Header sections of any kind: those beyond 64 KB are refused, and no other one keeps the event loop busy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.server import Replay
from omnirecord.server.refusals import LIMIT
from tests.support.wire import Upstream, Wire, connected, opened

CASSETTE = Path(__file__).parent.parent.parent.parent / "cassettes" / "approval.jsonl"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
KIB = 1024


async def answer(conn: Wire) -> None:
    await conn.request()
    await conn.send(OK)


@asynccontextmanager
async def serving(name: str, db: Path, serve: Callable[[Wire], Any] = answer) -> AsyncIterator[str]:
    """The URL of a proxy or of a replay."""
    if name == "replay":
        async with Replay(CASSETTE, timing="instant") as replay:
            yield replay.url
    else:
        async with Upstream(serve) as upstream, Proxy(upstream.url, db) as proxy:
            yield proxy.url


async def asked(url: str, *pieces: bytes) -> tuple[bytes, dict[str, str]]:
    """Sends these pieces; returns the status line and, if it is one, our error."""
    async with connected(url) as client:
        with suppress(ConnectionError):
            for piece in pieces:
                await client.send(piece)
        line, headers = await client.head()
        body, _ = await client.body(headers)
    return line, json.loads(body)["error"] if body.startswith(b'{"error"') else {}


GET = b"GET /v1/sessions HTTP/1.1\r\nHost: a\r\n"
TOO_LARGE = {
    "one field": (GET + b"X-A: " + b"a" * LIMIT + b"\r\n\r\n",),
    "one field without an end": (GET + b"X-A: " + b"a" * 2 * LIMIT,),
    "one field of 4 MiB": (GET + b"X-A: " + b"a" * (4 << 20) + b"\r\n\r\n",),
    "many fields": (GET + b"X-A: %b\r\n" % (b"a" * 100) * (LIMIT // 100) + b"\r\n",),
    "1,001 fields": (GET + b"X-A: a\r\n" * 1000 + b"\r\n",),
    "a field's name": (GET + b"X" * LIMIT + b": a\r\n\r\n",),
    "many fields, each in a packet": (GET, *[b"X-A: " + b"a" * 8000 + b"\r\n" for _ in range(9)]),
}


@pytest.mark.parametrize("server", ["proxy", "replay"])
@pytest.mark.parametrize("name", TOO_LARGE)
async def test_a_header_section_beyond_64_kb_is_refused_with_431(server: str, name: str, tmp_path: Path) -> None:
    async with serving(server, tmp_path / "run.db") as url:
        status, error = await asked(url, *TOO_LARGE[name])
    assert status.endswith(b" 431 Request Header Fields Too Large")
    assert error == {
        "code": "header_fields_too_large",
        "message": "omnirecord refuses the request: its header section has more than 65,536 bytes or 1,000 fields",
    }


@pytest.mark.parametrize("server", ["proxy", "replay"])
async def test_a_request_line_beyond_64_kb_is_refused_with_414(server: str, tmp_path: Path) -> None:
    async with serving(server, tmp_path / "run.db") as url:
        status, error = await asked(url, b"GET /" + b"a" * LIMIT + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert status.split()[1] == b"414"
    assert error["message"] == "omnirecord refuses the request: its request line has more than 65,536 bytes"


async def test_what_follows_a_refused_header_section_is_no_request(tmp_path: Path) -> None:
    asked_for: list[bytes] = []

    async def note(conn: Wire) -> None:
        line, _, _ = await conn.request()
        asked_for.append(line)
        await conn.send(OK)

    large = GET + b"X-A: %b\r\n" % (b"a" * 100) * (LIMIT // 100) + b"\r\n"
    async with serving("proxy", tmp_path / "run.db", note) as url, connected(url) as client:
        with suppress(ConnectionError):
            await client.send(GET + b"\r\n" + large + GET + b"\r\n")
        answers = await client.rest()
    assert answers.startswith(b"HTTP/1.1 200 OK")
    assert answers.count(b" 431 Request") == 1
    assert len(asked_for) == 1


@pytest.mark.parametrize("server", ["proxy", "replay"])
async def test_a_header_section_below_64_kb_passes(server: str, tmp_path: Path) -> None:
    fields = b"".join(b"X-%d: %b\r\n" % (n, b"a" * 8000) for n in range(7))
    async with serving(server, tmp_path / "run.db") as url:
        status, error = await asked(url, GET + fields + b"X-A: " + b"a" * 9000 + b"\r\n\r\n")
    assert status.split()[1] == (b"200" if server == "proxy" else b"404"), error


async def test_many_small_requests_and_large_bodies_are_no_header_section(tmp_path: Path) -> None:
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
    async with serving("replay", tmp_path / "run.db") as url, connected(url) as client:
        await client.send((GET + b"X-A: " + b"a" * 1000 + b"\r\n\r\n") * 200 + post + GET[:20])
        await client.send(GET[20:] + b"Connection: close\r\n\r\n")
        answers = await client.rest()
    assert answers.count(b"HTTP/1.1 404") == 202
    assert b" 431 Request" not in answers


HEAD = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "one field": HEAD + b"X-A: " + b"a" * LIMIT + b"\r\nContent-Length: 0\r\n\r\n",
    "many fields": HEAD + b"X-A: %b\r\n" % (b"a" * 100) * (LIMIT // 100) + b"Content-Length: 0\r\n\r\n",
    "1,001 fields": HEAD + b"X-A: a\r\n" * 1001 + b"\r\n",
    "fields without an end": HEAD + b"X-A: %b\r\n" % (b"a" * 900) * 90,
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_with_a_header_section_beyond_64_kb_becomes_a_recorded_502(name: str, tmp_path: Path) -> None:
    async def too_large(conn: Wire) -> None:
        await conn.request()
        with suppress(ConnectionError):
            await conn.send(ANSWERS[name])
            await conn.gone()

    async with serving("proxy", tmp_path / "run.db", too_large) as url:
        status, error = await asked(url, GET + b"\r\n")
    assert status == b"HTTP/1.1 502 Bad Gateway"
    with opened(tmp_path / "run.db") as store:
        (exchange,) = store.exchanges()
        assert exchange.response is not None
        assert exchange.response.status == 502
        assert error["message"].encode() in store.body(exchange.exchange, "response")


PARTS = {
    "a Cookie of 10,000 parts": b"Cookie: " + b"a=b; " * 10_000 + b"\r\n",
    "a Cookie of blanks": b"Cookie: a=" + b" " * 20 * KIB + b"x\r\n",
    "a Set-Cookie": b"Set-Cookie: path=" + b" " * 20 * KIB + b"=\r\n",
    "a Sec-WebSocket-Protocol": b"Sec-WebSocket-Protocol: " + b"a." * 20 * KIB + b"\r\n",
    "a Connection of thousands of tokens": b"Connection: " + b"a," * 25 * KIB + b"\r\n",
    "990 Connections": b"Connection: a\r\n" * 990,
    "990 fields": b"".join(b"x-%d: b\r\n" % n for n in range(990)),
    "a Last-Event-ID": b"Last-Event-ID: " + b"1" * 60 * KIB + b"\r\n",
    "an Authorization": b"Authorization: Bearer " + b" " * 60 * KIB + b"\r\n",
    "a Referer with a query": b"Referer: http://a/?" + b"token=a&" * 6000 + b"\r\n",
    "an If-None-Match": b"If-None-Match: " + b'"a", ' * 12_000 + b"\r\n",
}
LINES = {
    "a query of many fields": b"/v1/sessions?" + b"a=b&" * 15_000,
    "a query of many secrets": b"/v1/sessions?" + b"token=abcdefghijklmnopqrst1&" * 2000,
    "a path of many segments": b"/v1/sessions" + b"/a" * 30_000,
    "a session with a long id": b"/v1/sessions/" + b"a" * 60_000 + b"/stream",
    "a target of escapes": b"/v1/sessions?a=" + b"%41" * 20_000,
}
REQUESTS = {
    **{name: GET + field + b"\r\n" for name, field in PARTS.items()},
    **{name: b"GET " + line + b" HTTP/1.1\r\nHost: a\r\n\r\n" for name, line in LINES.items()},
}


@pytest.mark.watched(most=0.02, times=3)
@pytest.mark.parametrize("server", ["proxy", "replay"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_no_request_keeps_the_event_loop_busy(server: str, name: str, tmp_path: Path) -> None:
    async with serving(server, tmp_path / "run.db") as url:
        for _ in range(3):
            status, _ = await asked(url, REQUESTS[name])
            assert status.startswith(b"HTTP/1.1 ")


CHUNKED = b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
NO_CONTENT = {
    "a trailer section": (b"0\r\n", *[b"T: " + b"t" * 60_000 + b"\r\n"] * 50),
    "a trailer": (b"0\r\nT: ", *[b"t" * 60_000] * 50),
    "a chunk extension": (b"5;", *[b"t" * 60_000] * 50),
}


@pytest.mark.parametrize("server", ["proxy", "replay"])
@pytest.mark.parametrize("name", NO_CONTENT)
async def test_bytes_of_a_body_that_are_not_content_are_limited(
    server: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def upload(conn: Wire) -> None:
        await conn.rest()

    async with serving(server, tmp_path / "run.db", upload) as url:
        line, error = await asked(url, CHUNKED, *NO_CONTENT[name])
    assert line.split()[1] == b"431"
    assert error["code"] == "header_fields_too_large"
    assert "fault" not in caplog.text


@pytest.mark.parametrize("name", NO_CONTENT)
async def test_an_answer_with_megabytes_that_are_not_content_is_cut(name: str, tmp_path: Path) -> None:
    sent: list[int] = []

    async def serve(conn: Wire) -> None:
        await conn.request()
        await conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        with suppress(ConnectionError):
            for piece in NO_CONTENT[name] * 6:
                await conn.send(piece)
                sent.append(len(piece))

    async with serving("proxy", tmp_path / "run.db", serve) as url, connected(url, GET + b"\r\n") as client:
        answer = await client.rest()
    assert answer.endswith(b"5\r\nhello\r\n")
    assert sum(sent) < 12 << 20


async def test_a_trailer_section_below_64_kb_passes(tmp_path: Path) -> None:
    async with serving("proxy", tmp_path / "run.db") as url:
        line, _ = await asked(url, CHUNKED, b"0\r\n", *[b"T: " + b"t" * 20_000 + b"\r\n"] * 3, b"\r\n")
    assert line.split()[1] == b"200"
