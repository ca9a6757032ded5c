"""`--redact content` through the proxy: the wire is untouched, what looks like a secret is in no byte of the files."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from omnirecord import record
from omnirecord.errors import UsageError
from omnirecord.recorder.proxy.server import Proxy
from tests.recorder.proxy.test_websocket import HELLO, TEXT, switching, ws
from tests.support import wire
from tests.support.wire import STREAM, Wire, ask, bytes_on_disk, chunk, connected, get, recorded

KEY = "sk-PLANTEDsEcReT0123456789"
BODY = KEY[3:]


def delta(text: str, **fields: Any) -> bytes:
    data = {"sequence_number": 1, "type": "response.output_text.delta", "delta": text, "message_id": None, **fields}
    return f"event: response.output_text.delta\ndata: {json.dumps(data)}\n\n".encode()


async def streamed(parts: list[bytes], folder: Path, head: bytes = STREAM, **options: Any) -> tuple[bytes, Proxy]:
    """What the client got of a stream that came in these reads; after each, the files were searched."""
    async with recorded(serving(parts, head), folder, redact="content", **options) as (proxy, _):
        async with connected(proxy.url, get()) as client:
            await client.head()
            got = b""
            while len(got) < sum(map(len, parts)):
                got += await client.chunk()
                assert_safe(proxy.db)
            await client.until(wire.END)
        await wire.eventually(lambda: wire.ending(proxy.db) in ("eof", "done"))
        assert_safe(proxy.db)
    assert_safe(proxy.db)
    return got, proxy


def assert_safe(db: Path) -> None:
    found = bytes_on_disk(db)
    assert BODY[:6].encode() not in found
    assert BODY[3:9].encode() not in found


def serving(parts: list[bytes], head: bytes) -> Any:
    async def handle(conn: Wire) -> None:
        await conn.request()
        await conn.send(head)
        for part in parts:
            await conn.send(chunk(part))
            await asyncio.sleep(0.002)
        await conn.send(wire.END)

    return handle


async def test_a_stream_is_masked_in_the_file_and_untouched_on_the_wire(tmp_path: Path) -> None:
    stream = delta(f"use {KEY}, or") + delta("a sk-learn task-1") + b"data: [DONE]\n\n"
    got, proxy = await streamed([stream], tmp_path)
    assert got == stream
    assert wire.content(proxy.db) == stream.replace(BODY.encode(), b"*" * len(BODY))
    assert [frame.verdict for frame in wire.frames(proxy.db)] == ["valid", "valid", "sentinel"]


def in_bytes_at_the_text(frame: bytes) -> list[bytes]:
    """Cut a delta: into single bytes from the name of its text to the end of it, and elsewhere into 16 bytes."""
    first = frame.index(b'"delta": "')
    last = frame.index(b'", "message_id"') + 2
    cuts = [*range(0, first, 16), *range(first, last), *range(last, len(frame), 16), len(frame)]
    return [frame[a:b] for a, b in pairwise(cuts)]


async def test_it_is_so_however_it_is_read_and_split_over_deltas(tmp_path: Path) -> None:
    before, *parts, after = [delta(text) for text in ("key s", "k", "-PLA", BODY[3:], " end")]
    reads = [read for part in parts for read in in_bytes_at_the_text(part)]
    got, proxy = await streamed([before, *reads, after], tmp_path)
    assert got == b"".join([before, *parts, after])
    safe = b"".join(delta(text) for text in ("key s", "k", "-***", "*" * len(BODY[3:]), " end"))
    assert wire.content(proxy.db) == safe
    assert [frame.raw for frame in wire.frames(proxy.db)] == [part + b"\n\n" for part in safe.split(b"\n\n")[:-1]]


async def test_texts_that_come_in_turns_are_masked_each_for_itself(tmp_path: Path) -> None:
    frames = [delta("sk-", message_id="a"), delta("Hello", message_id="b"), delta(BODY, message_id="a")]
    cut = [part for frame in frames for part in (frame[:90], frame[90:])]
    _, proxy = await streamed(cut, tmp_path)
    assert wire.content(proxy.db) == b"".join(frames).replace(BODY.encode(), b"*" * len(BODY))


async def test_what_is_not_a_whole_line_yet_is_in_the_file_too(tmp_path: Path) -> None:
    going_on = asyncio.Event()

    async def handle(conn: Wire) -> None:
        await conn.stream(delta("sk-", message_id="a"))
        await conn.send(chunk(delta("Hello", message_id="b")[:-15]))
        await going_on.wait()
        await conn.send(chunk(delta("Hello", message_id="b")[-15:]))
        await conn.gone()

    async with recorded(handle, tmp_path, redact="content") as (proxy, _), connected(proxy.url, get()) as client:
        size = len(delta("sk-", message_id="a") + delta("Hello", message_id="b"))
        await wire.eventually(lambda: len(wire.content(proxy.db)) == size - 15)
        assert b'"delta": "*****"' in wire.content(proxy.db)
        going_on.set()
        await wire.eventually(lambda: len(wire.content(proxy.db)) == size)
        await wire.eventually(lambda: wire.content(proxy.db).endswith(delta("Hello", message_id="b")))
        client.close()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_coded_stream_is_kept_without_its_coding(coding: str, tmp_path: Path) -> None:
    stream = [delta(f"{n} {KEY} x") for n in range(5)]
    packer = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    packed = [packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in stream] + [packer.flush()]
    head = STREAM.replace(b"Content-Type", f"Content-Encoding: {coding}\r\nContent-Type".encode())
    got, proxy = await streamed([half for part in packed for half in (part[:9], part[9:]) if half], tmp_path, head)
    assert got == b"".join(packed), "the wire is untouched"
    assert wire.content(proxy.db) == b"".join(stream).replace(BODY.encode(), b"*" * len(BODY))
    (exchange,) = wire.exchanges(proxy.db)
    assert exchange.response is not None
    assert "content-encoding" not in {name.lower() for name, _ in exchange.response.headers}
    with wire.opened(proxy.db) as store:
        assert sum(read.size for read in store.reads(1)) == len(wire.content(proxy.db)) == exchange.response_bytes


@pytest.mark.parametrize("coding", ["gzip", "x-own"])
async def test_what_cannot_be_decoded_is_not_kept_and_that_is_said(coding: str, tmp_path: Path) -> None:
    head = STREAM.replace(b"Content-Type", f"Content-Encoding: {coding}\r\nContent-Type".encode())
    got, proxy = await streamed([delta(KEY), delta("x")], tmp_path, head)
    assert got == delta(KEY) + delta("x")
    assert wire.content(proxy.db) == b""
    assert any("stream 1: " in said and "not stored" in said for said in wire.incidents(proxy.db))


async def test_bodies_messages_targets_and_headers_are_masked(tmp_path: Path) -> None:
    data = gzip.compress(json.dumps({"note": f"use {KEY} here"}).encode())
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nX-Note: see %b\r\nContent-Length: %d\r\n\r\n%b" % (
        KEY.encode(), len(data), data,
    )  # fmt: skip
    asked = f"say {KEY}, please".encode()
    request = b"POST /v1/keys/%b?q=%b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (
        KEY.encode(), KEY.encode(), len(asked), asked,
    )  # fmt: skip
    async with recorded(wire.answering(answer), tmp_path, redact="content") as (proxy, _):
        assert (await ask(proxy.url, request)).body == data, "the wire is untouched"
        await wire.eventually(lambda: wire.ending(proxy.db) == "eof")
    assert BODY.encode() not in bytes_on_disk(proxy.db)
    assert json.loads(gzip.decompress(wire.body(proxy.db))) == {"note": f"use sk-{'*' * len(BODY)} here"}
    assert wire.body(proxy.db, "request") == f"say sk-{'*' * len(BODY)}, please".encode()


async def test_a_secret_in_messages_is_masked_both_ways_and_across_them(tmp_path: Path) -> None:
    down = [json.dumps({"type": "d", "delta": part}).encode() for part in ("ok s", "k-PLA", BODY[3:] + " x")]

    async def server(conn: Wire) -> None:
        await conn.send(b"".join(ws(TEXT, message) for message in down))
        await conn.gone()

    async with recorded(switching(server), tmp_path, redact="content") as (proxy, _):
        async with connected(proxy.url, HELLO) as client:
            await client.until(b"\r\n\r\n")
            await client.send(ws(TEXT, f"say {KEY}".encode(), mask=True))
            await client.read(sum(len(ws(TEXT, message)) for message in down))
            await wire.eventually(lambda: b"say sk-" in bytes_on_disk(proxy.db))
        await wire.eventually(lambda: wire.ending(proxy.db))
    found = bytes_on_disk(proxy.db)
    assert BODY.encode() not in found
    assert BODY[3:].encode() not in found
    with wire.opened(proxy.db) as store:
        said = [json.loads(one.data)["delta"] for one in store.messages(1) if one.dir == "down" and one.opcode == 1]
    assert said == ["ok s", "k-***", "*" * len(BODY[3:]) + " x"]


async def test_a_users_own_prefix_is_masked(tmp_path: Path) -> None:
    _, proxy = await streamed([delta("acme_x1 ok")], tmp_path, redact_patterns=["acme_"])
    assert wire.content(proxy.db) == delta("acme_** ok")


async def test_without_it_content_is_kept_as_it_is(tmp_path: Path) -> None:
    async with recorded(serving([delta(KEY)], STREAM), tmp_path) as (proxy, _):
        await ask(proxy.url, get())
    assert wire.content(proxy.db) == delta(KEY)


def test_a_wrong_choice_is_refused() -> None:
    with pytest.raises(UsageError, match="'everything' is unknown"):
        record("http://127.0.0.1:1", redact="everything")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="they need redact content"):
        record("http://127.0.0.1:1", redact_patterns=["acme_"])
    with pytest.raises(UsageError, match="'a b' cannot be looked for"):
        record("http://127.0.0.1:1", redact="content", redact_patterns="a b")
