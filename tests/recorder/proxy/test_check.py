"""At the start, `omnirecord proxy` connects once to each upstream, and says which ones it cannot reach."""

from __future__ import annotations

import signal
import socket
import ssl
from pathlib import Path

import pytest

from omnirecord.recorder.proxy import upstream as upstreams
from omnirecord.recorder.proxy.server import Proxy
from tests.support.http_proxy import CREDENTIALS, NAME, http_proxy
from tests.support.later import later
from tests.support.process import ForkedProcess
from tests.support.wire import Upstream, Wire, answering, ask, eventually, exchanges, get, nobody_listens

trustme = later("trustme")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(autouse=True)
def without_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def cassette(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


async def checked(caplog: pytest.LogCaptureFixture, cassette: Path, upstream: str, **options: object) -> list[str]:
    """The warnings of a check."""
    async with Proxy(upstream, cassette, **options) as proxy:  # type: ignore[arg-type]
        caplog.clear()
        await proxy.check_upstreams()
        return caplog.messages


async def test_an_upstream_that_is_down_is_one_line_and_later_it_is_used_like_any_other(cassette: Path) -> None:
    down = nobody_listens()
    async with ForkedProcess(down, cassette, "--quiet") as proxy:
        said = f"no connection to the upstream {down}: Connection refused. Clients get a 502 until there is one\n"
        await eventually(lambda: said in proxy.errors())
        async with Upstream(answering(OK), port=int(down.rpartition(":")[2])):
            assert (await ask(proxy.url, get())).body == b"ok"
        assert await proxy.end(signal.SIGINT) == (0, f"omnirecord: {said}")
    assert len(exchanges(cassette)) == 1


async def test_an_upstream_that_is_up_gets_a_connection_without_a_request_and_no_line(
    cassette: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[bytes] = []

    async def handle(conn: Wire) -> None:
        sent.append(await conn.rest())

    async with Upstream(handle) as upstream, Upstream(handle) as model:
        assert await checked(caplog, cassette, upstream.url, upstreams={"model": model.url}) == []
        assert (upstream.connections, model.connections) == (1, 1)
        await eventually(lambda: len(sent) == 2)
    assert sent == [b"", b""]
    assert exchanges(cassette) == []


async def test_each_upstream_that_is_down_has_a_line(cassette: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = nobody_listens(), nobody_listens()
    said = await checked(caplog, cassette, first, upstreams={"model": second})
    assert sorted(said) == sorted(
        f"no connection to the upstream {url}: Connection refused. Clients get a 502 until there is one"
        for url in (first, second)
    )


async def test_a_name_without_an_address_is_said(cassette: Path, caplog: pytest.LogCaptureFixture) -> None:
    (said,) = await checked(caplog, cassette, "http://no-such-name.invalid:1")
    assert "http://no-such-name.invalid:1: the name no-such-name.invalid has no address (" in said


async def test_a_certificate_that_is_not_trusted_is_said_with_the_option_that_helps(
    cassette: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def speaking(conn: Wire) -> None:
        await conn.read()
        await conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with Upstream(answering(OK), tls=tls) as upstream:
        (said,) = await checked(caplog, cassette, upstream.url)
        assert "is signed by an authority that is not trusted here: give that one's certificate with --ca" in said
        assert await checked(caplog, cassette, upstream.url, ca=tmp_path / "ca.pem") == []
    async with Upstream(speaking) as upstream:
        (said,) = await checked(caplog, cassette, upstream.url.replace("http:", "https:"))
        assert "is it http:// instead of https://?" in said


async def test_a_server_that_does_not_answer_is_said_after_a_while(
    cassette: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstreams, "_CONNECTS_WITHIN", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and begins no TLS
        (said,) = await checked(caplog, cassette, f"https://127.0.0.1:{silent.getsockname()[1]}")
    assert ": no answer within 0.2 s. " in said


async def test_behind_an_http_proxy_the_tunnel_is_checked(
    cassette: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_proxy(tmp_path) as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{address}")
        (said,) = await checked(caplog, cassette, f"https://{NAME}")
        assert f"the HTTP proxy http://{address} answered 407 Proxy Authentication Required: put a user" in said
        monkeypatch.setenv("HTTPS_PROXY", f"http://{CREDENTIALS}@{address}")
        (said,) = await checked(caplog, cassette, f"https://{NAME}:{nobody_listens().rpartition(':')[2]}")
        assert (
            f"the HTTP proxy http://{address} answered 502 Bad Gateway; to connect without it, use --no-proxy" in said
        )
        monkeypatch.setenv("HTTP_PROXY", f"http://{address}")
        assert await checked(caplog, cassette, f"http://{NAME}") == []
