"""TLS on both sides: an upstream is verified, what is wrong is told, and files that cannot be used are refused."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

import omnirecord
from omnirecord.errors import UsageError
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.server import Replay
from omnirecord.server.access import Trust, explained, listening_context
from tests.recorder.proxy.test_websocket import HELLO, TEXT, echo, switching, ws
from tests.support.cassettes import conversation
from tests.support.command import invoke
from tests.support.examples import each
from tests.support.later import later
from tests.support.wire import (
    Upstream,
    Wire,
    answering,
    ask,
    connected,
    content,
    ending,
    event,
    eventually,
    exchanges,
    get,
    nobody_listens,
)  # fmt: skip

trustme = later("trustme")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC).replace(tzinfo=None)


class Files:
    """An authority, a server's certificate by it, a client's, and files of them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.stranger = trustme.CA(), trustme.CA()
        self.server = self.authority.issue_cert("127.0.0.1", "localhost")
        self.ca = self._write("ca.pem", self.authority.cert_pem.bytes())
        self.cert = self._write("cert.pem", self.server.cert_chain_pems[0].bytes())
        self.key = self._write("key.pem", self.server.private_key_pem.bytes())
        self.both = self._write("both.pem", self.server.private_key_and_cert_chain_pem.bytes())
        self.other_key = self._write("other.pem", self.stranger.issue_cert("a").private_key_pem.bytes())
        self.client = self._write(
            "client.pem", self.stranger.issue_cert("me@example.com").private_key_and_cert_chain_pem.bytes()
        )
        loaded = serialization.load_pem_private_key(self.server.private_key_pem.bytes(), None)
        encrypted = loaded.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
        self.encrypted = self._write("encrypted.pem", encrypted)
        self.junk = self._write("junk.pem", b"junk")
        self.missing = folder / "missing.pem"

    def _write(self, name: str, data: bytes) -> Path:
        (self.folder / name).write_bytes(data)
        return self.folder / name

    def context(self, cert: trustme.LeafCert | None = None, **more: Any) -> ssl.SSLContext:
        """Of a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (cert or self.server).configure_cert(context)
        for name, value in more.items():
            setattr(context, name, value)
        return context

    def asking(self, **more: Any) -> ssl.SSLContext:
        """Of a server that wants a client certificate of the stranger's."""
        context = self.context(verify_mode=ssl.CERT_REQUIRED, **more)
        self.stranger.configure_trust(context)
        return context

    def trusting(self) -> ssl.SSLContext:
        """Of a client of ours."""
        return ssl.create_default_context(cafile=self.ca)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


async def told(upstream: str, folder: Path, **options: Any) -> str:
    """What a client is told of an upstream that cannot be reached; the recording has it as such."""
    async with Proxy(upstream, folder / "run.db", **options) as proxy:
        answer = await ask(proxy.url, get())
    assert answer.status == b"HTTP/1.1 502 Bad Gateway"
    assert b'"code": "upstream_unreachable"' in answer.body
    assert ending(folder / "run.db") == "upstream_unreachable"
    return answer.body.decode()


async def test_an_upstream_that_our_authority_vouches_for_is_recorded(files: Files, tmp_path: Path) -> None:
    async with (
        Upstream(answering(OK), tls=files.context()) as upstream,
        Proxy(upstream.url, tmp_path / "run.db", ca=files.ca) as proxy,
    ):
        assert (await ask(proxy.url, get())).body == b"ok"
    assert ending(tmp_path / "run.db") == "eof"


@pytest.mark.parametrize(("server", "options", "says"), [
    (lambda f: f.context(), lambda _: {}, "authority that is not trusted here: give that one's certificate with --ca"),
    (lambda f: f.context(f.authority.issue_cert("example.com")), lambda f: {"ca": f.ca}, "is for another address"),
    (lambda f: f.context(f.authority.issue_cert("127.0.0.1", not_after=LONG_AGO)), lambda f: {"ca": f.ca}, "expired"),
    (lambda f: f.context(), lambda f: {"ca": f.client}, "an authority that is not trusted here"),
])  # fmt: skip
async def test_one_that_nobody_vouches_for_is_not_and_the_client_is_told_why(
    server: Callable[[Files], ssl.SSLContext], options: Callable[[Files], dict[str, Any]], says: str, files: Files,
    tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    async def unheard(_: Wire) -> None:
        raise AssertionError("a request was sent to it")

    async with Upstream(unheard, tls=server(files)) as upstream:
        with caplog.at_level(logging.WARNING, "omnirecord"):
            assert says in await told(upstream.url, tmp_path, **options(files))
    assert says in caplog.text


async def test_insecure_believes_anybody_and_says_so_each_time(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expired = files.context(files.stranger.issue_cert("example.com", not_after=LONG_AGO))
    caplog.set_level(logging.WARNING, "omnirecord")
    async with (
        Upstream(answering(OK), tls=expired) as upstream,
        Proxy(upstream.url, tmp_path / "run.db", insecure=True) as proxy,
    ):
        assert (await ask(proxy.url, get())).body == b"ok"
    (warning,) = caplog.messages
    assert warning.startswith(f"--insecure: the certificate of {upstream.url} is not verified, so a machine in between")


async def test_a_client_certificate_is_shown_to_who_asks(files: Files, tmp_path: Path) -> None:
    shown: list[Any] = []

    async def handle(conn: Wire) -> None:
        shown.append(conn.writer.get_extra_info("peercert"))
        await answering(OK)(conn)

    async with (
        Upstream(handle, tls=files.asking()) as upstream,
        Proxy(upstream.url, tmp_path / "run.db", ca=files.ca, cert=files.client) as proxy,
    ):
        assert (await ask(proxy.url, get())).body == b"ok"
    assert shown[0]["subjectAltName"] == (("email", "me@example.com"),)


@contextmanager
def alerting(context: ssl.SSLContext) -> Iterator[str]:
    """The URL of a server that refuses handshakes as OpenSSL does, with an alert; asyncio's servers send none."""

    def refuse(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                raw, _ = listening.accept()
                with raw.dup() as kept:
                    with suppress(ssl.SSLError):
                        context.wrap_socket(raw, server_side=True)
                    while kept.recv(1 << 16):  # to close with a request unread is a reset, which overtakes the alert
                        pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=refuse, args=(listening,), daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(("version", "says"), [
    (ssl.TLSVersion.TLSv1_2, "perhaps it wants a client certificate, see --cert and --key"),
    (ssl.TLSVersion.TLSv1_3, "it wants a certificate of the client: give one with --cert and --key"),
])  # fmt: skip
async def test_an_upstream_that_misses_a_client_certificate_is_told_as_that(
    version: ssl.TLSVersion, says: str, files: Files, tmp_path: Path
) -> None:
    with alerting(files.asking(minimum_version=version, maximum_version=version)) as url:
        assert says in await told(url, tmp_path, ca=files.ca)


async def test_an_upstream_that_speaks_no_tls_is_told_as_that(tmp_path: Path) -> None:
    async def plain(conn: Wire) -> None:
        await conn.read()
        await conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def closes(conn: Wire) -> None:
        await conn.read()

    for handle, says in ((plain, "is it http:// instead of https://?"), (closes, "closed the connection in the TLS")):
        async with Upstream(handle) as upstream:
            assert says in await told(upstream.url.replace("http", "https"), tmp_path)


@each(("reason", "says"), [
    ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "wants a certificate of the client"),
    ("SSLV3_ALERT_BAD_CERTIFICATE", "does not take the client certificate"),
    ("TLSV1_ALERT_UNKNOWN_CA", "does not trust the authority"),
    ("TLSV1_ALERT_PROTOCOL_VERSION", "speaks no TLS"),
    ("SOMETHING_NEW", "no TLS connection is possible (something new)"),
])  # fmt: skip
def test_each_reason_has_a_sentence(reason: str, says: str) -> None:
    error = ssl.SSLError(1, "x")
    error.reason = reason
    assert says in (explained(error) or "")
    assert explained(OSError(1, "x")) is None


BAD: dict[str, tuple[Callable[[Files], dict[str, Any]], str]] = {
    "a ca that is not there": (lambda f: {"ca": f.missing}, r"--ca .*missing.pem cannot be read: No such file"),
    "a ca that is a folder": (lambda f: {"ca": f.folder}, "--ca .* cannot be read: it is a directory"),
    "a ca that is none": (lambda f: {"ca": f.junk}, "--ca .*junk.pem holds no certificate"),
    "a ca that is a key": (lambda f: {"ca": f.key}, "--ca .*key.pem holds no certificate"),
    "a name that can be none": (lambda _: {"ca": "a\0b"}, "cannot be read: .*embedded null"),
    "a cert that is none": (lambda f: {"cert": f.junk, "key": f.key}, "--cert .*junk.pem and .* have to be PEM"),
    "a cert without a key": (lambda f: {"cert": f.cert}, "cannot be read, and there is no --key"),
    "a key that is not there": (lambda f: {"cert": f.cert, "key": f.missing}, "--key .*missing.pem cannot be read"),
    "another's key": (lambda f: {"cert": f.cert, "key": f.other_key}, "other.pem is not the key of the certificate in"),
    "an encrypted key": (lambda f: {"cert": f.cert, "key": f.encrypted}, "encrypted.pem is encrypted, .*openssl pkey"),
    "a key without a cert": (lambda f: {"key": f.key}, "--key is the key of --cert: give that as well"),
    "insecure with a ca": (lambda f: {"ca": f.ca, "insecure": True}, "give one of them"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_a_file_that_cannot_be_used_starts_nothing(name: str, files: Files, tmp_path: Path) -> None:
    options, says = BAD[name]
    with pytest.raises(UsageError, match=says):
        async with Proxy("https://127.0.0.1:1", tmp_path / "run.db", **options(files)):
            pass
    assert list(tmp_path.iterdir()) == []


def test_the_listening_side_takes_the_same_files(files: Files) -> None:
    for cert, key in ((files.cert, files.key), (files.both, None)):
        assert listening_context(cert, key) is not None
    assert listening_context(None, None) is None
    for cert, key, says in (
        (files.cert, files.encrypted, "--tls-key .* is encrypted"),
        (files.cert, None, "there is no --tls-key"),
        (None, files.key, "--tls-key is the key of --tls-cert"),
    ):
        with pytest.raises(UsageError, match=says):
            listening_context(cert, key)


def test_a_file_without_permission_is_said(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path == files.cert)  # root may read everything
    with pytest.raises(UsageError, match=r"--tls-key .* cannot be read: no permission"):
        listening_context(files.cert, files.key)


@pytest.mark.parametrize("words", [["--ca", "x"], ["--insecure"], ["--cert", "x", "--key", "y"]])
def test_an_upstream_without_tls_takes_none_of_it(words: list[str], tmp_path: Path) -> None:
    db = str(tmp_path / "run.db")
    done = invoke("proxy", "--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1", "--db", db, *words)
    assert (done.exit_code, "are for an upstream with https" in done.output) == (2, True)


async def test_clients_with_tls_get_streams_sockets_and_cuts_as_without(files: Files, tmp_path: Path) -> None:
    async def cut(conn: Wire) -> None:
        await conn.stream(event(1))

    for scheme in (None, files.context()):
        db = tmp_path / f"{scheme is None}.db"
        tls = {"tls_cert": files.cert, "tls_key": files.key}
        trust = {} if scheme is None else {"ca": files.ca}
        async with Upstream(cut, tls=scheme) as upstream, Proxy(upstream.url, db, **tls, **trust) as proxy:
            assert proxy.url.startswith("https://127.0.0.1:")
            answer = await ask(proxy.url, get(), files.trusting())
        assert (answer.body, answer.whole, ending(db)) == (event(1), False, "upstream_lost")
        async with (
            Upstream(switching(echo), tls=scheme) as upstream,
            Proxy(upstream.url, db, **tls, **trust) as proxy,
            connected(proxy.url, HELLO, tls=files.trusting()) as conn,
        ):
            await conn.head()
            await conn.send(ws(TEXT, b"hello"))
            assert await conn.read(7) == ws(TEXT, b"hello")


async def test_upstream_learns_that_a_client_with_tls_left(files: Files, tmp_path: Path) -> None:
    left = asyncio.Event()

    async def handle(conn: Wire) -> None:
        await conn.stream(event(1))
        await conn.gone()
        left.set()

    async with Upstream(handle) as upstream, Proxy(upstream.url, tmp_path / "run.db", tls_cert=files.both) as proxy:
        async with connected(proxy.url, get(), tls=files.trusting()) as conn:
            await conn.until(b"\n\n")
        async with asyncio.timeout(5):
            await left.wait()
        await eventually(lambda: ending(tmp_path / "run.db") == "client_left")
    assert content(tmp_path / "run.db") == event(1)


async def test_who_speaks_no_tls_to_a_server_that_does_ends_nothing(files: Files, tmp_path: Path) -> None:
    async with Replay(conversation().save(tmp_path / "a.db"), tls_cert=files.both, timing="instant") as server:
        async with connected(server.url.replace("https", "http"), get()) as conn:
            assert await conn.rest() == b""
        answer = await ask(server.url, get("/-/omnirecord/state", host="127.0.0.1"), files.trusting())
        assert answer.status.split()[1] == b"200"


def test_from_python_in_a_thread_too(files: Files, tmp_path: Path) -> None:
    path = conversation().save(tmp_path / "a.db")
    with (
        omnirecord.replay(path, tls_cert=files.cert, tls_key=files.key) as server,
        omnirecord.record(server.url, tmp_path / "b.db", ca=files.ca, tls_cert=files.both) as proxy,
    ):
        asyncio.run(ask(proxy.url, get("/v1/sessions/s"), files.trusting()))
    (recorded,) = exchanges(tmp_path / "b.db")
    assert recorded.request.target == "/v1/sessions/s"


def test_a_trust_that_asks_for_nothing_is_none() -> None:
    assert not Trust()
    assert Trust(insecure=True)
    proxy = omnirecord.record(nobody_listens(), "never.db", insecure=True)
    with pytest.raises(UsageError, match="for an upstream with https"):
        proxy.__enter__()
