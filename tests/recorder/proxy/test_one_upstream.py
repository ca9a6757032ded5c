"""The proxy connects to its upstream and to nobody else, whatever a request, an answer or the environment says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.server import Replay
from tests.recorder.proxy.test_websocket import SWITCH, TEXT, ws
from tests.support.process import ForkedProcess
from tests.support.wire import Headers, Upstream, Wire, ask, connected, get, raw

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Servers:
    """The upstream, which keeps what it is sent, and another server, which nobody may connect to."""

    def __init__(self, upstream: Upstream, other: Upstream) -> None:
        self.upstream, self.other = upstream, other
        self.came: list[tuple[bytes, Headers]] = []

    @property
    def place(self) -> str:
        """Host and port of the other one."""
        return self.other.url.removeprefix("http://")


@asynccontextmanager
async def two(answer: bytes = OK) -> AsyncIterator[Servers]:
    async def keep(conn: Wire) -> None:
        while True:
            line, headers, _ = await conn.request()
            servers.came.append((line, headers))
            await conn.send(answer.replace(b"OTHER", servers.place.encode()))

    async def nobody(_: Wire) -> None:
        raise AssertionError("it was connected to")

    async with Upstream(keep) as upstream, Upstream(nobody) as other:
        servers = Servers(upstream, other)
        yield servers
        assert other.connections == 0


TARGETS = [
    "http://OTHER/x", "HTTPS://OTHER/x", "http://OTHER", "http://OTHER?a", "http://u:p@OTHER/x", "http://UP@OTHER/x",
    "http://OTHER@UP/x", "http://OTHER\\@UP/x", "http://OTHER#@UP/", "http:///OTHER/x", "http:/OTHER/x", "http:OTHER/x",
    "http:\\\\OTHER\\x", "//OTHER/x", "///OTHER/x", "/\\OTHER/x", "\\\\OTHER\\x", "/@OTHER/x", "@OTHER/x", ":1@OTHER/x",
    "OTHER", "*", "?http://OTHER", "/..//OTHER", "/?url=http://OTHER", "/%0d%0aHost:%20OTHER", "/;@OTHER", "/#http://OTHER",
    "ftp://OTHER/x", "ws://OTHER/x", "file:///etc/passwd", "unix:///tmp/x", "http://[::1]:1/x", "http://127.0.0.1:99999/x",
    "http://127.0.0.1:0/x", "http://%31%32%37.0.0.1/x", "http://a:b:c/x", "http://OTHER /x", "/x HTTP/1.1 http://OTHER",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
async def test_whatever_the_request_line_says(target: str, tmp_path: Path) -> None:
    async with two() as servers, Proxy(servers.upstream.url, tmp_path / "run.db") as proxy:
        up = servers.upstream.url.removeprefix("http://")
        said = target.replace("OTHER", servers.place).replace("UP", up)
        answer = await raw(proxy.url, get(said, "Connection: close", host=servers.place))
        status = int(answer.split(b" ")[1])
        assert status in (200, 400, 405)
        assert len(servers.came) == (status == 200)
        for line, headers in servers.came:
            assert line.startswith(b"GET /")
            assert [value for name, value in headers if name == b"Host"] == [up.encode()]


@pytest.mark.parametrize("line", [
    "CONNECT OTHER", "CONNECT http://OTHER/", "CONNECT /x", "CONNECT //OTHER", "connect OTHER", "CONNECT UP",
    "OPTIONS *", "PRI *",
])  # fmt: skip
async def test_no_tunnel_is_opened(line: str, tmp_path: Path) -> None:
    async with two() as servers, Proxy(servers.upstream.url, tmp_path / "run.db") as proxy:
        said = line.replace("OTHER", servers.place).replace("UP", servers.upstream.url.removeprefix("http://"))
        answer = await raw(proxy.url, f"{said} HTTP/1.1\r\nHost: {servers.place}\r\nConnection: close\r\n\r\n".encode())
        assert answer.split(b" ")[1] in (b"400", b"405")
        assert servers.upstream.connections == 0


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_passed_and_not_followed(status: str, tmp_path: Path) -> None:
    lines = b'Location: http://OTHER/x\r\nRefresh: 0; url=http://OTHER/\r\nAlt-Svc: http/1.1="OTHER"\r\nLink: <http://OTHER/>\r\n'
    moved = f"HTTP/1.1 {status}\r\n".encode() + lines + b"Content-Length: 0\r\n\r\n"
    async with two(moved) as servers, Proxy(servers.upstream.url, tmp_path / "run.db") as proxy:
        for _ in range(2):
            answer = await ask(proxy.url, get())
            assert answer.status == f"HTTP/1.1 {status}".encode()
            assert (b"Location", f"http://{servers.place}/x".encode()) in answer.headers
        assert len(servers.came) == 2


async def test_no_proxy_and_no_password_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two() as servers:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, servers.other.url)
            monkeypatch.setenv(name.lower(), servers.other.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password secret\ndefault login me password secret\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        async with ForkedProcess(servers.upstream.url, tmp_path / "run.db") as proxy:
            assert (await ask(proxy.url, get())).body == b"ok"
        ((_, headers),) = servers.came
        assert [name for name, _ in headers] == [b"Host"]


@pytest.mark.parametrize("named", ["X-Forwarded-Host", "Forwarded", "X-Original-URL", "X-Rewrite-URL", "Referer"])
async def test_no_header_says_where_to(named: str, tmp_path: Path) -> None:
    async with two() as servers, Proxy(servers.upstream.url, tmp_path / "run.db") as proxy:
        request = f"GET /x HTTP/1.1\r\nHost: {servers.place}\r\n{named}: http://{servers.place}/\r\n\r\n"
        await raw(proxy.url, request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode())
        for line, headers in servers.came:
            assert line == b"GET /x HTTP/1.1"
            assert dict(headers)[b"Host"] == servers.upstream.url.removeprefix("http://").encode()


async def test_a_websocket_goes_to_the_upstream_too(tmp_path: Path) -> None:
    lines = "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"
    async with (
        two(SWITCH + b"\r\n" + ws(TEXT, b"up")) as servers,
        Proxy(servers.upstream.url, tmp_path / "run.db") as proxy,
        connected(proxy.url, get(f"http://{servers.place}/x", *lines, host=servers.place)) as conn,
    ):
        status, _ = await conn.head()
        assert (status.split()[1], await conn.read(4)) == (b"101", ws(TEXT, b"up"))


async def test_a_replay_connects_to_nobody(tmp_path: Path) -> None:
    async with two() as servers:
        async with Proxy(servers.upstream.url, tmp_path / "run.db") as proxy:
            await ask(proxy.url, get("/x"))
        before = servers.upstream.connections
        async with Replay(tmp_path / "run.db", timing="instant") as replay:
            for target in ("/x", "/never", f"http://{servers.place}/x", servers.upstream.url + "/x"):
                await ask(replay.url, get(target, host=servers.place))
            connect = f"CONNECT {servers.place} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            await raw(replay.url, connect.encode())
        assert servers.upstream.connections == before
