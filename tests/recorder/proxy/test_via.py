"""Upstreams behind an HTTP proxy that the environment names: a real proxy, and names that only this proxy resolves."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from yarl import URL

from omnirecord.errors import UsageError
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.recorder.proxy.upstream import Connection
from omnirecord.recorder.proxy.via import http_proxy as proxy_for
from tests.recorder.proxy.test_websocket import HELLO, TEXT, echo, switching, ws
from tests.support.http_proxy import CREDENTIALS, NAME, PASSWORD, http_proxy
from tests.support.later import later
from tests.support.process import ForkedProcess
from tests.support.wire import (
    END,
    Headers,
    Upstream,
    Wire,
    answering,
    ask,
    bytes_on_disk,
    chunk,
    connected,
    content,
    ending,
    event,
    get,
    nobody_listens,
)

trustme = later("trustme")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
VARIABLES = "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"


@pytest.fixture(scope="module")
def proxy_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with http_proxy(tmp_path_factory.mktemp("proxy")) as address:
        yield address


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """Of a server with the name that only the proxy resolves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    return context


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set variables for proxies; without the call, none is set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def given(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return given


def named(server: Upstream) -> str:
    """The URL of a server with the name that only the proxy resolves."""
    return server.url.replace("127.0.0.1", NAME)


def keeping(came: list[tuple[bytes, Headers, bytes]]) -> Callable[[Wire], object]:
    async def handle(conn: Wire) -> None:
        while True:
            came.append(await conn.request())
            await conn.send(OK)

    return handle


async def test_an_https_upstream_is_reached_through_a_tunnel(
    proxy_address: str, environment: Callable[..., None], tls: ssl.SSLContext, ca: Path, tmp_path: Path
) -> None:
    came: list[tuple[bytes, Headers, bytes]] = []
    environment(HTTPS_PROXY=f"http://{CREDENTIALS}@{proxy_address}")
    async with (
        Upstream(keeping(came), tls=tls) as upstream,
        Proxy(named(upstream), tmp_path / "run.db", ca=ca) as proxy,
    ):
        assert proxy.proxies == {named(upstream): f"http://{proxy_address}"}
        post = b"POST /x? HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        assert (await ask(proxy.url, get("/x?"))).body == (await ask(proxy.url, post)).body == b"ok"
    (line, headers, _), (posted, _, body) = came
    assert (line, posted, body) == (b"GET /x? HTTP/1.1", b"POST /x? HTTP/1.1", b"abc")
    assert headers == [(b"Host", named(upstream).removeprefix("https://").encode())]
    on_disk = bytes_on_disk(tmp_path / "run.db")
    assert not any(secret.encode() in on_disk for secret in (PASSWORD, CREDENTIALS, "Proxy-Authorization"))


async def test_an_http_proxy_gets_the_whole_url_and_the_upstream_no_credentials(
    proxy_address: str, environment: Callable[..., None], tmp_path: Path
) -> None:
    came: list[tuple[bytes, Headers, bytes]] = []
    environment(http_proxy=f"{CREDENTIALS}@{proxy_address}")
    async with Upstream(keeping(came)) as upstream, Proxy(f"{named(upstream)}/b", tmp_path / "run.db") as proxy:
        assert (await ask(proxy.url, get("/x%2f?a?", "Proxy-Authorization: Basic bWU="))).body == b"ok"
    ((line, headers, _),) = came
    assert line == b"GET /b/x%2f?a? HTTP/1.1"
    assert [name for name, _ in headers if name.lower() == b"proxy-authorization"] == []


@pytest.mark.fast_path
async def test_events_pass_through_a_tunnel_without_a_task(
    proxy_address: str, environment: Callable[..., None], tls: ssl.SSLContext, ca: Path, tmp_path: Path
) -> None:
    async def handle(conn: Wire) -> None:
        await conn.stream(event(0))
        await goes_on.wait()
        await conn.send(chunk(event(1)) + END)

    goes_on = asyncio.Event()
    environment(HTTPS_PROXY=f"http://{CREDENTIALS}@{proxy_address}")
    async with (
        Upstream(handle, tls=tls) as upstream,
        Proxy(named(upstream), tmp_path / "run.db", ca=ca) as proxy,
        connected(proxy.url, get()) as client,
    ):
        await client.head()
        assert await client.chunk() == event(0)
        passing = [one for one in gc.get_objects() if isinstance(one, Connection) and one.arrived is not None]
        assert len(passing) == 1
        goes_on.set()
        assert await client.chunk() == event(1)
    assert content(tmp_path / "run.db") == event(0) + event(1)


async def test_a_websocket_goes_through_the_tunnel(
    proxy_address: str, environment: Callable[..., None], tls: ssl.SSLContext, ca: Path, tmp_path: Path
) -> None:
    environment(ALL_PROXY=f"http://{CREDENTIALS}@{proxy_address}")
    async with (
        Upstream(switching(echo), tls=tls) as upstream,
        Proxy(named(upstream), tmp_path / "run.db", ca=ca) as proxy,
        connected(proxy.url, HELLO) as client,
    ):
        assert (await client.head())[0].split()[1] == b"101"
        message = ws(TEXT, b"hello", mask=True)
        await client.send(message)
        assert await client.read(len(message)) == message


REFUSALS = [
    ("https", "{}", "answered 407 Proxy Authentication Required: put a user and a password into HTTPS_PROXY, as in"),
    ("http", "{}", "answered 407 Proxy Authentication Required: put a user and a password into HTTP_PROXY, as in"),
    ("https", "me:s3cret@{}", "answered 407 Proxy Authentication Required: it does not accept the user and password"),
    ("http", "me:s3cret@{}", "answered 407 Proxy Authentication Required: it does not accept the user and password"),
    ("https", "me:s3cret@DOWN", "no connection to the HTTP proxy http://DOWN, which HTTPS_PROXY names: Connection re"),
    ("http", "me:s3cret@DOWN", "no connection to the HTTP proxy http://DOWN, which HTTP_PROXY names: Connection refu"),
    ("https", "me:s3cret@no.example.test:1", "the HTTP proxy http://no.example.test:1, which HTTPS_PROXY names: "),
]


@pytest.mark.parametrize(("scheme", "given", "says"), REFUSALS)
async def test_a_proxy_that_refuses_is_named_without_its_password(
    scheme: str, given: str, says: str, proxy_address: str, environment: Callable[..., None], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    down = nobody_listens().removeprefix("http://")
    value = "http://" + given.format(proxy_address).replace("DOWN", down)
    environment(**{f"{scheme}_proxy".upper(): value})
    async with Proxy(f"{scheme}://{NAME}", tmp_path / "run.db") as proxy:
        answer = await ask(proxy.url, get())
    assert answer.status == b"HTTP/1.1 502 Bad Gateway"
    assert b'"code": "upstream_unreachable"' in answer.body
    assert says.replace("DOWN", down) in answer.body.decode()
    assert f"the HTTP proxy http://{value.rpartition('@')[2].removeprefix('http://')}" in caplog.text
    assert ending(tmp_path / "run.db") == "upstream_unreachable"
    assert "s3cret" not in caplog.text + answer.body.decode()


async def test_a_certificate_is_verified_through_the_tunnel(
    proxy_address: str, environment: Callable[..., None], tls: ssl.SSLContext, tmp_path: Path
) -> None:
    environment(HTTPS_PROXY=f"http://{CREDENTIALS}@{proxy_address}")
    async with Upstream(answering(OK), tls=tls) as upstream, Proxy(named(upstream), tmp_path / "run.db") as proxy:
        body = (await ask(proxy.url, get())).body.decode()
    assert f"with --ca (through the HTTP proxy http://{proxy_address})" in body


async def test_no_proxy_and_the_option_lead_directly_to_the_upstream(
    environment: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(HTTP_PROXY=nobody_listens())
    async with Upstream(answering(OK)) as upstream:
        async with ForkedProcess(upstream.url, tmp_path / "a.db") as proxy:  # loopback
            assert (await ask(proxy.url, get())).body == b"ok"
        assert Proxy(named(upstream), tmp_path / "b.db").proxies
        assert not Proxy(named(upstream), tmp_path / "b.db", no_proxy=True).proxies
        monkeypatch.setenv("NO_PROXY", f"localhost, {NAME}")
        assert not Proxy(named(upstream), tmp_path / "b.db").proxies


@pytest.mark.parametrize(
    ("upstream", "variables", "proxy"),
    [
        ("https://h", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://h", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://h", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("http://h", {"HTTPS_PROXY": "http://p:1", "ALL_PROXY": "http://p:2"}, "http://p:2"),
        ("https://h", {"HTTPS_PROXY": "http://p:1", "https_proxy": "http://p:2"}, "http://p:2"),
        ("https://h", {"HTTPS_PROXY": "http://p:1", "https_proxy": ""}, None),
        ("https://h", {"HTTPS_PROXY": "p:1"}, "http://p:1"),
        ("https://h", {"HTTPS_PROXY": "https://u:w@p/"}, "https://p"),
        ("https://h", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("https://a.h.example", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".h.example"}, None),
        ("https://a.h.example", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h.example"}, None),
        ("https://ah.example", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h.example"}, "http://p:1"),
        ("https://h:8443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h:8443"}, None),
        ("https://h", {"HTTPS_PROXY": "http://p:1", "no_proxy": "h:8443, h:443"}, None),
        ("https://h:8443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h:443"}, "http://p:1"),
        ("https://10.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h, 10.0.0.0/8"}, None),
        ("https://10.1.2.3:8443", {"HTTPS_PROXY": "http://p:1", "no_proxy": "10.1.2.0/24"}, None),
        ("https://11.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://p:1"),
        ("https://[fd00::7]", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8,fd00::/8"}, None),
        ("https://10.example", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8,nothing/8"}, "http://p:1"),
        ("https://10.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/99,/,"}, "http://p:1"),
        ("https://localhost", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://127.9.9.9", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://[::1]", {"ALL_PROXY": "socks5://p:1"}, None),
        ("https://h", {}, None),
    ],
)
def test_the_environment_says_which_proxy_an_upstream_has(
    upstream: str, variables: dict[str, str], proxy: str | None, environment: Callable[..., None]
) -> None:
    environment(**variables)
    found = proxy_for(URL(upstream))
    assert (None if found is None else str(found)) == proxy
    assert "Basic" not in repr(found)


@pytest.mark.parametrize("given", ["socks5://u:w@p:1", "ftp://u:w@p", "http://u:w@[", "http://u:w@p:x", "http://"])
def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(
    given: str, environment: Callable[..., None], tmp_path: Path
) -> None:
    environment(HTTPS_PROXY=given)
    with pytest.raises(UsageError, match=r"^HTTPS_PROXY .*without a proxy, use --no-proxy$") as raised:
        Proxy("https://h", tmp_path / "run.db")
    assert "u:w" not in str(raised.value)


async def test_the_start_line_names_the_proxy_of_each_upstream(
    environment: Callable[..., None], tmp_path: Path
) -> None:
    environment(HTTPS_PROXY="http://me:s3cret@p.example.test:3128")
    further = "--upstream", "model=https://api.example.test"
    async with ForkedProcess("http://127.0.0.1:1", tmp_path / "a.db", *further) as proxy:
        assert proxy.ready["proxies"] == {"https://api.example.test": "http://p.example.test:3128"}
    async with ForkedProcess("https://h.example.test", tmp_path / "b.db", *further, json=False) as proxy:
        assert proxy.line.startswith(
            "recording https://h.example.test through the HTTP proxy http://p.example.test:3128 at"
        )
        assert "model (https://api.example.test through the HTTP proxy http://p.example.test:3128) at" in proxy.line
        assert "s3cret" not in proxy.line
    async with ForkedProcess("https://h.example.test", tmp_path / "c.db", "--no-proxy", json=False) as proxy:
        assert proxy.line.startswith("recording https://h.example.test at")
