"""Bad requests and bad answers: what is said of them quotes nothing of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.server import Replay
from tests.end_to_end.hostile.answers import SECRET, each_byte, spoiled
from tests.end_to_end.hostile.smuggling import CHUNKED, UPGRADE
from tests.support import wire
from tests.support.cassettes import Made
from tests.support.wire import Upstream, Wire, ask, connected, get, raw

S = SECRET
HEAD = b"GET /x?token=" + S + b" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + S + b"\r\n"
BAD = {
    "a NUL in a value": HEAD + b"Cookie: a=" + S + b"\0\r\n\r\n",
    "a control character in a value": HEAD + b"Cookie: a=" + S + b"\x01\r\n\r\n",
    "a lone CR": HEAD + b"Cookie: a=" + S + b"\rb\r\n\r\n",
    "a lone LF": HEAD.replace(b"\r\n", b"\n") + b"\n",
    "a name with a space": HEAD + b"X Key: " + S + b"\r\n\r\n",
    "a name that is a secret": HEAD + S + b" \x7f: a\r\n\r\n",
    "no colon": HEAD + S + b"\r\n\r\n",
    "a folded first field": b"GET /x HTTP/1.1\r\n " + S + b"\r\n\r\n",
    "a method that is none": HEAD.replace(b"GET", S) + b"\r\n",
    "a target with a control character": HEAD.replace(b"/x", b"/x\x01") + b"\r\n",
    "a target with a space": HEAD.replace(b"/x", b"/x y") + b"\r\n",
    "a target that is none": HEAD.replace(b"/x", b"http://:" + S + b"@/") + b"\r\n",
    "a target without a slash": HEAD.replace(b"/x", S) + b"\r\n",
    "CONNECT with a password": b"CONNECT u:" + S + b"@a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a version that is none": HEAD.replace(b"HTTP/1.1", b"HTTP/" + S) + b"\r\n",
    "no host": b"GET /x?token=" + S + b" HTTP/1.1\r\nX-Key: " + S + b"\r\n\r\n",
    "two hosts": HEAD + b"Host: " + S + b"\r\n\r\n",
    "a length that is none": HEAD + b"Content-Length: " + S + b"\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n" + S,
    "a length and chunks": HEAD + CHUNKED + b"Content-Length: 2\r\n\r\n" + S,
    "a coding that is none": HEAD + b"Transfer-Encoding: " + S + b"\r\n\r\n",
    "a coding before chunked": HEAD + b"Transfer-Encoding: " + S + b", chunked\r\n\r\n0\r\n\r\n",
    "a chunk that is none": HEAD + CHUNKED + b"\r\n" + S + b"\r\n",
    "a chunk extension that is none": HEAD + CHUNKED + b"\r\n1;" + S + b"=\0\r\nx\r\n0\r\n\r\n",
    "an upgrade with a body": HEAD + UPGRADE + b"Content-Length: 14\r\n\r\n" + S,
    "an old WebSocket": HEAD + b"Sec-WebSocket-Key1: " + S + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + S,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + S,
}


@asynccontextmanager
async def served(kind: str, folder: Path) -> AsyncIterator[str]:
    """The URL of a proxy, or of a replay."""
    if kind == "replay":
        tape = Made()
        tape.stream("s", 1.0, (1.0, b"data: hi\n\n"), ending="eof")
        async with Replay(tape.save(folder / "made.db")) as replay:
            yield replay.url
        return
    async with Upstream(wire.answering()) as upstream, Proxy(upstream.url, folder / "run.db") as proxy:
        yield proxy.url
        assert upstream.connections == 0


@pytest.mark.parametrize("kind", ["proxy", "replay"])
async def test_no_refusal_quotes_the_request(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async with served(kind, tmp_path) as url:
        for name, data in BAD.items():
            answer = await raw(url, data)
            assert answer.split(b" ")[1] in (b"400", b"405", b"501"), name
            assert SECRET not in answer, name
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"].startswith("omnirecord"), name
    assert SECRET.decode() not in caplog.text + "".join(capfd.readouterr())
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("kind", ["proxy", "replay"])
async def test_a_body_that_breaks_off_in_no_chunk_is_refused_by_both_servers(kind: str, tmp_path: Path) -> None:
    async with served_with_upload(kind, tmp_path) as url, connected(url, HEAD + CHUNKED + b"\r\n1\r\nx\r\n") as conn:
        await conn.send(S + b"\r\n")
        assert b" 400 " in (await conn.rest()).split(b"\r\n")[0]


@asynccontextmanager
async def served_with_upload(kind: str, folder: Path) -> AsyncIterator[str]:
    """The same, with an upstream that takes any request."""

    async def take(conn: Wire) -> None:
        await conn.rest()

    if kind == "replay":
        async with served(kind, folder) as url:
            yield url
    else:
        async with Upstream(take) as upstream, Proxy(upstream.url, folder / "run.db") as proxy:
            yield proxy.url


async def passed_on(answers: Iterable[bytes], folder: Path, request: bytes) -> None:
    """Give a client these answers, one after the other; fail if one is a fault of the proxy, or harms the next."""
    now = [b""]

    async def handle(conn: Wire) -> None:
        while b" /alive " in (await conn.request())[0]:
            await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nalive")
        await conn.send(now[0])

    async with Upstream(handle) as upstream, Proxy(upstream.url, folder / "run.db") as proxy:
        for number, now[0] in enumerate(answers):
            async with connected(proxy.url, request) as conn:
                async with asyncio.timeout(wire.PATIENCE):
                    answer = await conn.reader.read(1 << 16)
            assert answer[9:12] != b"500", now[0]
            if answer[9:12] == b"502":
                assert SECRET not in answer, now[0]
            if number % 20 == 0:
                assert (await ask(proxy.url, get("/alive"))).body == b"alive", now[0]


def some(numbers: Iterable[int]) -> Iterable[bytes]:
    return map(spoiled, numbers)


REQUESTS = {
    "GET": get("/x"),
    "HEAD": get("/x").replace(b"GET", b"HEAD"),
    "POST": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    "an upgrade": b"GET /x HTTP/1.1\r\nHost: a\r\n" + UPGRADE + b"\r\n",
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_no_spoiled_answer_is_a_fault_of_the_proxy_or_quoted(
    request_: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    await passed_on(some(range(60)), tmp_path, request_)
    assert SECRET.decode() not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.slow
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_no_one_of_thousands_is(
    request_: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], long: bool
) -> None:
    answers = [*some(range(60, 1500)), *each_byte()]
    await passed_on(answers if long else answers[::41], tmp_path, request_)
    assert SECRET.decode() not in caplog.text + "".join(capfd.readouterr())
