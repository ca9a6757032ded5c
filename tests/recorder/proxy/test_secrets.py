"""Promise 7 through the proxy: what was planted is in no byte of the cassette's files, at no time."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest

from omnirecord.model import Message
from omnirecord.redaction.coded import is_data
from tests.recorder.proxy.test_websocket import HELLO, TEXT, switching, ws
from tests.support import wire
from tests.support.wire import Wire, ask, bytes_on_disk, connected, recorded

SECRET = "PLANTED" + "sEcReT0123456789"
PSEUDONYM = re.compile(rb"omnirecord-redacted-[0-9a-f]{12}")

REQUEST_LINES = {
    "authorization": f"Authorization: Bearer {SECRET}",
    "a cookie": f"Cookie: ap_session={SECRET}; theme=dark",
    "a key": f"X-Api-Key: {SECRET}",
    "the tunnel token": f"X-Omnigent-Runner-Tunnel-Token: {SECRET}",
    "an identity": f"X-Forwarded-Email: {SECRET}@example.com",
    "a referer": f"Referer: http://a/b?token={SECRET}",
    "proxy authorization": f"Proxy-Authorization: Basic {SECRET}",
}


async def on_disk_during_and_after(
    folder: Path, request: bytes, response: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
) -> bytes:
    """One exchange; all bytes that are in the files while the proxy runs and once it has stopped."""
    async with recorded(wire.answering(response), folder) as (proxy, _):
        await ask(proxy.url, request)
        await wire.eventually(lambda: wire.ending(proxy.db) == "eof")
        during = bytes_on_disk(proxy.db)
    return during + bytes_on_disk(proxy.db)


@pytest.mark.parametrize("kind", REQUEST_LINES)
async def test_a_secret_in_a_request_header_is_kept_out(kind: str, tmp_path: Path) -> None:
    found = await on_disk_during_and_after(tmp_path, wire.get("/", REQUEST_LINES[kind]))
    assert SECRET.encode() not in found
    assert PSEUDONYM.search(found)


async def test_a_secret_in_a_query_is_kept_out(tmp_path: Path) -> None:
    found = await on_disk_during_and_after(tmp_path, wire.get(f"/v1/x?access_token={SECRET}&limit=5"))
    assert SECRET.encode() not in found
    assert b"&limit=5" in found


async def test_a_secret_in_a_response_header_is_kept_out(tmp_path: Path) -> None:
    response = (
        f"HTTP/1.1 302 Found\r\nSet-Cookie: ap_session={SECRET}; Path=/\r\nLocation: /x?token={SECRET}\r\n"
        f"X-Auth-Token: {SECRET}\r\nContent-Length: 0\r\n\r\n"
    )
    found = await on_disk_during_and_after(tmp_path, wire.get(), response.encode())
    assert SECRET.encode() not in found
    assert b"Path=/" in found


async def test_a_secret_in_a_body_that_comes_in_pieces_is_kept_out_and_the_rest_is_kept(tmp_path: Path) -> None:
    """One byte a read, both ways, looked at after each."""
    data = json.dumps(
        {"name": "kept", "token": SECRET, "list": [{"client_secret": SECRET}], "last": "kept too"}
    ).encode()

    async def handle(conn: Wire) -> None:
        await conn.request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data))
        for n in range(len(data)):
            await conn.send(data[n : n + 1])
            await asyncio.sleep(0.001)

    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, head) as client:
        for n in range(len(data)):
            await client.send(data[n : n + 1])
            assert b"PLANTED" not in bytes_on_disk(proxy.db)
        _, headers = await client.head()
        assert await client.body(headers) == (data, True), "the wire is untouched"
        assert b"PLANTED" not in bytes_on_disk(proxy.db)
    assert b"PLANTED" not in bytes_on_disk(proxy.db)
    for side in ("request", "response"):
        kept = json.loads(wire.body(proxy.db, side))
        assert (kept["name"], kept["last"]) == ("kept", "kept too")
        assert kept["token"] == kept["list"][0]["client_secret"] != SECRET


async def test_a_secret_in_a_websocket_message_is_kept_out(tmp_path: Path) -> None:
    token = json.dumps({"type": "hello", "binding_token": SECRET, "n": 1}).encode()
    inner = base64.b64encode(json.dumps({"api_key": SECRET}).encode())
    down = [
        ws(TEXT, token),
        ws(2, b'{"body_b64": "' + inner + b'"}'),
        ws(TEXT, b'{"password": "' + SECRET.encode() + b'"}'),
    ]

    async def server(conn: Wire) -> None:
        await conn.send(b"".join(down))
        await conn.gone()

    def messages() -> list[Message]:
        with wire.opened(proxy.db) as store:
            return list(store.messages(1))

    async with recorded(switching(server), tmp_path) as (proxy, _), connected(proxy.url, HELLO) as client:
        await client.until(b"\r\n\r\n")
        await client.send(ws(TEXT, token[:20], mask=True, fin=False) + ws(0, token[20:], mask=True))
        assert await client.read(sum(map(len, down))) == b"".join(down), "the wire is untouched"
        await wire.eventually(lambda: len(messages()) == 4)
        assert SECRET.encode() not in bytes_on_disk(proxy.db)
    found = bytes_on_disk(proxy.db)
    assert SECRET.encode() not in found
    assert inner not in found
    assert all(PSEUDONYM.search(one.data) or one.opcode == 2 for one in messages())


CODINGS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (gzip.compress, gzip.decompress),
    "br": (brotli.compress, brotli.decompress),
    "deflate": (zlib.compress, zlib.decompress),
    "gzip, br": (
        lambda data: brotli.compress(gzip.compress(data)),
        lambda data: gzip.decompress(brotli.decompress(data)),
    ),
}


def coded(data: bytes, coding: str, content_type: str = "application/json") -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Encoding: {coding}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    ).encode() + data


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_compressed_body_with_a_secret_is_redacted_and_stays_compressed(coding: str, tmp_path: Path) -> None:
    pack, unpack = CODINGS[coding]
    data = json.dumps({"token": SECRET, "kept": "x" * 500}).encode()
    async with recorded(wire.answering(coded(pack(data), coding)), tmp_path) as (proxy, _):
        assert unpack((await ask(proxy.url, wire.get())).body) == data, "the wire is untouched"
    kept = json.loads(unpack(wire.body(proxy.db)))
    assert kept["token"] != SECRET
    assert kept["kept"] == "x" * 500


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_compressed_body_without_a_secret_is_kept_byte_for_byte(coding: str, tmp_path: Path) -> None:
    packed = CODINGS[coding][0](b'{"a": 1}' * 50)
    async with recorded(wire.answering(coded(packed, coding)), tmp_path) as (proxy, _):
        await ask(proxy.url, wire.get())
    assert wire.body(proxy.db) == packed


async def test_a_compressed_upload_with_a_secret_is_redacted(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps({"password": SECRET}).encode())
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with recorded(wire.answering(b"HTTP/1.1 204 No Content\r\n\r\n"), tmp_path) as (proxy, _):
        await ask(proxy.url, head + packed)
    assert SECRET.encode() not in gzip.decompress(wire.body(proxy.db, "request"))


@pytest.mark.parametrize("coding", ["gzip", "x-own"])
async def test_what_is_not_compressed_as_it_says_is_redacted_all_the_same(coding: str, tmp_path: Path) -> None:
    data = json.dumps({"token": SECRET, "kept": 1}).encode()
    found = await on_disk_during_and_after(tmp_path, wire.get(), coded(data, coding))
    assert SECRET.encode() not in found
    assert json.loads(wire.body(tmp_path / "run.db"))["kept"] == 1


async def test_a_compressed_body_that_is_cut_short_leaks_nothing(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps({"token": SECRET, "kept": list(range(3000))}).encode())
    response = coded(packed, "gzip").replace(b"Content-Length: ", b"Content-Length: 9")
    async with recorded(wire.answering(response[:-200]), tmp_path) as (proxy, _):
        assert not (await ask(proxy.url, wire.get())).whole
    kept = zlib.decompressobj(31).decompress(wire.body(proxy.db))
    assert kept.startswith(b'{"token": "omnirecord-redacted-')


async def test_the_session_that_a_compressed_answer_names_is_known(tmp_path: Path) -> None:
    response = coded(gzip.compress(b'{"id": "conv_1"}'), "gzip")
    async with recorded(wire.answering(response), tmp_path) as (proxy, _):
        await ask(proxy.url, b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    assert wire.exchanges(proxy.db)[0].session_id == "conv_1"


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_an_asset_is_kept_as_it_is(coding: str, tmp_path: Path) -> None:
    """A syntax table is no credential, though it has fields that are called `token`."""
    script = (
        b'const rules = [{token: "keyword.operator"}, {"token": "constant.language.json"}, {"password": "x1y2z3w4v5"}];'
    )
    packed = gzip.compress(script) if coding else script
    response = coded(packed, coding or "identity", "text/javascript; charset=utf-8")
    async with recorded(wire.answering(response), tmp_path) as (proxy, _):
        await ask(proxy.url, wire.get("/assets/index.js"))
    assert wire.body(proxy.db) == packed


@pytest.mark.parametrize("content_type", ["Text/CSS", "image/svg+xml", "font/woff2", "application/wasm", "video/mp4"])
def test_assets_are_no_data(content_type: str) -> None:
    assert not is_data(content_type)


@pytest.mark.parametrize(
    "content_type", [None, "", "application/json", "text/plain", "text/html", "multipart/form-data; x"]
)
def test_all_else_is_data(content_type: str | None) -> None:
    assert is_data(content_type)


async def test_one_secret_is_one_pseudonym_wherever_it_stands(tmp_path: Path) -> None:
    response = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n{"token": "%b"}' % (len(SECRET) + 13, SECRET.encode())
    request = wire.get(f"/?token={SECRET}", f"X-Api-Key: {SECRET}", f"Authorization: Bearer {SECRET}")
    found = await on_disk_during_and_after(tmp_path, request, response)
    assert len(set(PSEUDONYM.findall(found))) == 1


async def test_a_cassette_is_its_owners_alone(tmp_path: Path) -> None:
    async with recorded(wire.answering(), tmp_path) as (proxy, _):
        files = [path for path in tmp_path.iterdir() if path.name.startswith("run.db")]
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert proxy.db.stat().st_mode & 0o777 == 0o600
