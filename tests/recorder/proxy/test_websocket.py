"""WebSockets through the proxy: bytes both ways, a refusal with its body, and what of it is recorded."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.model import Message
from omnirecord.recorder.proxy import websocket as tunnel
from omnirecord.recorder.proxy.websocket import MessageReader
from tests.support import wire
from tests.support.wire import Wire, connected, recorded

SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
HELLO = (
    b"GET /v1/runners/r/tunnel HTTP/1.1\r\nHost: client.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: http://127.0.0.1\r\n"
    b"Sec-WebSocket-Protocol: one, two\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MIB = 1 << 20


def ws(opcode: int, data: bytes, *, mask: bool = False, fin: bool = True, rsv1: bool = False) -> bytes:
    """One frame (RFC 6455, section 5.2). The mask is not zero, so that what is not unmasked shows."""
    head = bytes([fin << 7 | rsv1 << 6 | opcode])
    if len(data) < 126:
        head += bytes([mask << 7 | len(data)])
    elif len(data) < 1 << 16:
        head += bytes([mask << 7 | 126]) + len(data).to_bytes(2, "big")
    else:
        head += bytes([mask << 7 | 127]) + len(data).to_bytes(8, "big")
    if not mask:
        return head + data
    key = b"\x01\x02\x03\x04" * (len(data) // 4 + 1)
    masked = int.from_bytes(data, "big") ^ int.from_bytes(key[: len(data)], "big")
    return head + b"\x01\x02\x03\x04" + masked.to_bytes(len(data), "big")


def messages(db: Path, exchange: int = 1) -> list[Message]:
    with wire.opened(db) as store:
        return list(store.messages(exchange))


def said(db: Path) -> list[tuple[str, int, bytes]]:
    return [(one.dir, one.opcode, one.data) for one in messages(db)]


def switching(
    then: Callable[[Wire], Awaitable[None]], *lines: bytes, with_it: bytes = b""
) -> Callable[..., Awaitable[None]]:
    async def handle(conn: Wire) -> None:
        await conn.head()
        await conn.send(SWITCH + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + with_it)
        await then(conn)

    return handle


async def echo(conn: Wire) -> None:
    """Every byte back as it is: no WebSocket server, whose frames have no mask."""
    while data := await conn.read():
        await conn.send(data)


def in_turn(up: list[bytes], down: list[bytes]) -> Callable[[Wire], Awaitable[None]]:
    """A server that answers each of these frames of the client with one of its own."""

    async def then(conn: Wire) -> None:
        for theirs, ours in zip(up, down, strict=True):
            async with asyncio.timeout(wire.PATIENCE):
                assert await conn.reader.readexactly(len(theirs)) == theirs
            await conn.send(ours)
        await conn.gone()

    return then


async def test_the_handshake_passes_as_it_is(tmp_path: Path) -> None:
    seen = []

    async def handle(conn: Wire) -> None:
        seen.append(await conn.head())
        await conn.send(SWITCH + b"Sec-WebSocket-Protocol: two\r\nX-a: 1\r\nx-A: 2\r\n\r\n")

    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, HELLO) as client:
        answer = await client.until(b"\r\n\r\n")
    assert answer == SWITCH + b"Sec-WebSocket-Protocol: two\r\nX-a: 1\r\nx-A: 2\r\n\r\n"
    line, headers = seen[0]
    assert line == b"GET /v1/runners/r/tunnel HTTP/1.1"
    sent = [tuple(line.split(b": ")) for line in HELLO.split(b"\r\n")[2:-2]]
    assert [one for one in headers if one[0] != b"Host"] == sent
    assert wire.exchanges(proxy.db)[0].kind == "websocket"


async def test_messages_pass_both_ways_byte_for_byte_and_are_recorded_with_times(tmp_path: Path) -> None:
    frames: list[tuple[int, bytes, bool]] = [
        (TEXT, '{"hello": "wörld"}'.encode(), True), (PING, b"p", True), (BINARY, bytes(range(256)), True),
        (TEXT, b"frag", False), (PONG, b"", True), (0, b"ment", False), (0, b"ed", True), (CLOSE, b"\x03\xe8bye", True),
    ]  # fmt: skip
    up = [ws(opcode, data, mask=True, fin=fin) for opcode, data, fin in frames]
    down = [ws(opcode, data, fin=fin) for opcode, data, fin in frames]
    handle = switching(in_turn(up, down))
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, HELLO) as client:
        await client.until(b"\r\n\r\n")
        for theirs, ours in zip(down, up, strict=True):
            await client.send(ours)
            assert await client.read(len(theirs)) == theirs
        await wire.eventually(lambda: len(said(proxy.db)) == 12)
        found = messages(proxy.db)
    expected = [
        (TEXT, '{"hello": "wörld"}'.encode()), (PING, b"p"), (BINARY, bytes(range(256))), (PONG, b""),
        (TEXT, b"fragmented"), (CLOSE, b"\x03\xe8bye"),
    ]  # fmt: skip
    for direction in ("up", "down"):
        assert [(one.opcode, one.data) for one in found if one.dir == direction] == expected
    assert [one.at_ns for one in found] == sorted(one.at_ns for one in found)
    assert all(one.sent_ns and one.sent_ns >= one.at_ns for one in found)


async def test_what_comes_with_the_handshake_is_not_lost(tmp_path: Path) -> None:
    early = ws(TEXT, b"early", mask=True)
    handle = switching(in_turn([early], [ws(TEXT, b"second")]), with_it=ws(TEXT, b"first"))
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, HELLO + early) as client:
        await client.until(b"\r\n\r\n")
        assert await client.read(15) == ws(TEXT, b"first") + ws(TEXT, b"second")
    assert sorted(said(proxy.db)) == [("down", TEXT, b"first"), ("down", TEXT, b"second"), ("up", TEXT, b"early")]


async def test_a_refusal_passes_with_its_body(tmp_path: Path) -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\nX-Why: no\r\nContent-Type: a/b\r\nContent-Length: 12\r\n\r\nnot for you!"
    async with recorded(wire.answering(refusal), tmp_path) as (proxy, upstream):
        assert (await wire.ask(proxy.url, HELLO)).seen() == (await wire.ask(upstream.url, HELLO)).seen()
    (found,) = wire.exchanges(proxy.db)
    assert (found.kind, found.ending) == ("http", "eof")
    assert wire.body(proxy.db) == b"not for you!"


async def test_compression_is_negotiated_end_to_end_and_recorded_decoded(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=-15)

    def packed(data: bytes) -> bytes:
        return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")

    texts = [b"again and again and again", b"again and again and again", b"and once more, again"]
    frames = [ws(TEXT, packed(text), rsv1=True) for text in texts]  # one context: the second refers to the first

    async def handle(conn: Wire) -> None:
        for frame in frames:
            await conn.send(frame)
        await conn.gone()

    extension = b"Sec-WebSocket-Extensions: permessage-deflate"
    async with recorded(switching(handle, extension), tmp_path) as (proxy, _), connected(proxy.url, HELLO) as client:
        assert extension in await client.until(b"\r\n\r\n")
        assert await client.read(sum(map(len, frames))) == b"".join(frames)
        await wire.eventually(lambda: said(proxy.db) == [("down", TEXT, text) for text in texts])


@pytest.mark.watched(most=0.02, times=3)  # once, a copy into new memory may take 30 ms
async def test_a_large_message_passes_whole(tmp_path: Path) -> None:
    data = bytes(range(256)) * (2 * MIB // 256)
    up, down = ws(BINARY, data, mask=True), ws(BINARY, data)
    handle = switching(in_turn([up] * 3, [down] * 3))
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, HELLO) as client:
        await client.until(b"\r\n\r\n")
        _, back = await asyncio.gather(client.send(up * 3), client.read(len(down) * 3))
        assert back == down * 3
        await wire.eventually(lambda: len(said(proxy.db)) == 6)
    assert sorted(said(proxy.db)) == [("down", BINARY, data)] * 3 + [("up", BINARY, data)] * 3


async def test_many_messages_keep_their_order(tmp_path: Path) -> None:
    up, down = ([ws(TEXT, b"%d" % n, mask=mask) for n in range(2000)] for mask in (True, False))
    handle = switching(in_turn(up, down))
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, HELLO) as client:
        await client.until(b"\r\n\r\n")
        await asyncio.gather(client.send(b"".join(up)), client.read(sum(map(len, down))))
    for direction in ("up", "down"):
        assert [data for dir, _, data in said(proxy.db) if dir == direction] == [b"%d" % n for n in range(2000)]


@pytest.mark.parametrize(
    ("who", "ending"),
    [
        ("the server closes", "eof"),
        ("the client closes and the server answers", "eof"),
        ("the client leaves", "client_left"),
        ("the client says close and leaves", "client_left"),
        ("the server resets", "upstream_lost"),
        ("the server is gone", "upstream_lost"),
        ("the recorder stops", "recorder_stopped"),
    ],
)
async def test_who_ends_it_tells_how_it_ended(who: str, ending: str, tmp_path: Path) -> None:
    async def then(conn: Wire) -> None:
        if who == "the server closes":
            await conn.send(ws(CLOSE, b"\x03\xe8"))
        elif who == "the client closes and the server answers":
            await conn.read(8)
            await conn.send(ws(CLOSE, b"\x03\xe8"))
        elif who.startswith("the server"):
            await conn.send(ws(TEXT, b"a"))
            await asyncio.wait_for(seen.wait(), wire.PATIENCE)
            conn.reset() if who == "the server resets" else conn.close()
        else:
            await conn.gone()

    seen = asyncio.Event()
    async with recorded(switching(then), tmp_path) as (proxy, _):
        async with connected(proxy.url, HELLO) as client:
            await client.until(b"\r\n\r\n")
            if "close and leaves" in who or "the client closes" in who:
                await client.send(ws(CLOSE, b"\x03\xe8", mask=True))
            if who.startswith("the server") or "answers" in who:
                await client.read(3)
                seen.set()
                await client.gone()
            elif who == "the recorder stops":
                await wire.eventually(lambda: wire.ending(proxy.db) == "open")
                await asyncio.gather(proxy.stop(), client.gone())
        await wire.eventually(lambda: wire.ending(proxy.db) not in ("open", ""))
    assert wire.ending(proxy.db) == ending


async def test_a_lost_peer_is_told_to_the_other_at_once(tmp_path: Path) -> None:
    async def then(conn: Wire) -> None:
        await conn.gone()
        left.set()

    left = asyncio.Event()
    async with recorded(switching(then), tmp_path) as (proxy, _):
        async with connected(proxy.url, HELLO) as client:
            await client.until(b"\r\n\r\n")
        await asyncio.wait_for(left.wait(), 1)


async def test_what_is_no_websocket_passes_all_the_same(tmp_path: Path) -> None:
    """A peer that breaks the protocol costs the record of its direction, not the connection."""
    garbage = bytes(range(255, 0, -1)) * 20
    async with recorded(switching(echo), tmp_path) as (proxy, _), connected(proxy.url, HELLO) as client:
        await client.until(b"\r\n\r\n")
        await client.send(garbage)
        assert await client.read(len(garbage)) == garbage
        await client.send(b"more")
        assert await client.read(4) == b"more"


@pytest.mark.parametrize(
    "extension", [b"permessage-deflate; server_max_window_bits=99", b"permessage-deflate; x=", b"x-own"]
)
async def test_an_extension_that_makes_no_sense_passes_all_the_same(extension: bytes, tmp_path: Path) -> None:
    handle = switching(echo, b"Sec-WebSocket-Extensions: " + extension)
    async with recorded(handle, tmp_path) as (proxy, _), connected(proxy.url, HELLO) as client:
        assert extension in await client.until(b"\r\n\r\n")
        frame = ws(TEXT, b"a", mask=True)
        await client.send(frame)
        assert await client.read(len(frame)) == frame


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5), st.booleans())
def test_reading_along_never_raises_and_does_not_depend_on_the_cuts(
    data: bytes, cuts: list[int], deflate: bool
) -> None:
    headers = (("Sec-WebSocket-Extensions", "permessage-deflate"),) if deflate else ()
    at_once, in_pieces = MessageReader("up", headers), MessageReader("up", headers)
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [in_pieces.feed(data[a:b]) for a, b in pairwise(bounds)]
    assert [one for piece in pieces for one in piece] == at_once.feed(data)
    assert in_pieces.broken == at_once.broken


@pytest.mark.parametrize("cancels", [1, 2])
async def test_messages_of_a_client_that_left_are_all_noted_and_others_have_their_turn(
    cancels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were noted in one go, which delayed all streams by 0.37 s."""
    monkeypatch.setattr(tunnel, "_TURN", -1.0)
    data, noted, turns = bytes(50 * tunnel._PORTION), [], 0
    task = asyncio.create_task(tunnel._in_portions(noted.append, data))
    await asyncio.sleep(0)
    for _ in range(cancels):
        task.cancel()
        await asyncio.sleep(0)
    while not task.done():
        turns += 1
        await asyncio.sleep(0)
    assert b"".join(noted) == data
    assert task.cancelled()
    assert turns > 40 if cancels == 1 else turns < 5
