"""What clients and upstreams see of a recorder, and how it says each exchange ended, as JSON: `python -m
tests.support.path_scenarios FOLDER`.

`tests/recorder/proxy/test_public_path.py` runs it on the installed aiohttp, and on a copy without the private names.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from omnirecord.recorder.proxy.upstream import slower_because
from omnirecord.replayer.server import Replay
from tests.support import wire
from tests.support.wire import END, STREAM, Wire, answering, ask, chunk, connected, event, get, recorded

MIB = 1 << 20
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
ZIPPED = gzip.compress(event(1) + event(2), mtime=0)
CODED = STREAM.replace(b"Transfer", b"Content-Encoding: gzip\r\nTransfer")
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: %b\r\nY: %b\r\n\r\n" % (b"x" * 40000, b"y" * 40000)
TRAILER = b"0\r\nX-Sum: 1\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
HELLO = get("/ws", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")

Handle = Callable[[Wire], Awaitable[None]]


def sending(*parts: bytes, then: Callable[[Wire], object] = Wire.close, request: bool = True) -> Handle:
    """Answer a request with these parts, each in a write of its own."""

    async def handle(conn: Wire) -> None:
        if request:
            await conn.request()
        for part in parts:
            await conn.send(part)
            await asyncio.sleep(0.02)
        then(conn)

    return handle


ANSWERS: dict[str, tuple[Handle, bytes]] = {
    "eof": (sending(STREAM, chunk(event(1)), chunk(event(2)) + END), get()),
    "eof in one write": (sending(STREAM + chunk(event(1)) + END), get()),
    "eof by closing": (sending(UNTIL_CLOSE, event(1)), get()),
    "done": (sending(STREAM, chunk(b"data: [DONE]\n\n") + END), get()),
    "reset": (sending(STREAM, chunk(event(1)), then=Wire.reset), get()),
    "cut between chunks": (sending(STREAM, chunk(event(1))), get()),
    "cut in a chunk": (sending(STREAM, chunk(event(1)), b"fff\r\n"), get()),
    "cut before the length": (sending(COUNTED, event(1)), get()),
    "an invalid chunk": (sending(STREAM, chunk(event(1)), b"no chunk\r\n", then=lambda _: None), get()),
    "compressed": (sending(CODED, chunk(ZIPPED[:20]), chunk(ZIPPED[20:]) + END), get()),
    "compressed and cut": (sending(CODED, chunk(ZIPPED[:20])), get()),
    "trailers": (sending(STREAM, chunk(event(1)), TRAILER), get()),
    "a frame of 3 MiB": (sending(STREAM, chunk(event(1, 3 * MIB)) + END), get()),
    "204": (answering(b"HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n"), get()),
    "304": (answering(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 5\r\n\r\n'), get()),
    "HEAD": (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), get().replace(b"GET", b"HEAD")),
    "a body with a length": (answering(OK), get()),
    "a chunked body": (sending(STREAM.replace(b"text/event-stream", b"text/plain"), chunk(b"hi") + END), get()),
    "a POST": (sending(STREAM, chunk(event(1)) + END), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"),
    "no answer": (sending(), get()),
    "a header section beyond 64 KiB": (answering(LARGE), get()),
}


async def _answer(handle: Handle, request: bytes, folder: Path) -> list[Any]:
    sent: list[Any] = []

    async def noting(conn: Wire) -> None:
        section = await conn.until(b"\r\n\r\n")
        sent.append(section.decode().replace(upstream.url.removeprefix("http://"), "HOST"))
        conn.reader = _Again(section, conn.reader)  # type: ignore[assignment]
        await handle(conn)

    async with recorded(noting, folder) as (proxy, upstream):
        try:
            answer = await ask(proxy.url, request)
            got: list[Any] = [repr(answer.status), [one for one in answer.headers if one[0] != b"Date"]]
            got += [len(answer.body), sha256(answer.body).hexdigest(), answer.whole]
        except (asyncio.IncompleteReadError, ConnectionError):
            got = ["no answer"]
    with wire.opened(folder / "run.db") as store:
        found = [(one.ending, one.stream) for one in store.exchanges()]
    kept = [wire.body(folder / "run.db") if stream is None else wire.content(folder / "run.db") for _, stream in found]
    return [*got, sent, found, [(len(body), sha256(body).hexdigest()) for body in kept]]


class _Again:
    """A reader that gives a header section again that was read already."""

    def __init__(self, section: bytes, reader: asyncio.StreamReader) -> None:
        self._section, self._reader = section, reader

    async def readuntil(self, mark: bytes) -> bytes:
        section, self._section = self._section, b""
        return section or await self._reader.readuntil(mark)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


async def _client_leaves(folder: Path) -> list[Any]:
    """The client leaves in the middle of a stream: upstream learns that within a second."""
    left = asyncio.Event()

    async def handle(conn: Wire) -> None:
        await conn.stream(event(1))
        await conn.gone()
        left.set()

    async with recorded(handle, folder) as (proxy, _):
        async with connected(proxy.url, get()) as client:
            await client.head()
            got = await client.chunk()
        began = asyncio.get_running_loop().time()
        await asyncio.wait_for(left.wait(), 10)
        is_at_once = asyncio.get_running_loop().time() - began < 2
    return [repr(got), is_at_once, wire.ending(folder / "run.db")]


async def _slow_reader(folder: Path, *, read_ahead: int, cut: bool) -> list[Any]:
    """A client that reads nothing until upstream has to wait or is done."""
    sent, size = 0, 0

    async def handle(conn: Wire) -> None:
        nonlocal sent, size
        await conn.stream()
        for number in range(160):
            frame = event(number, 1 << 16)
            size += len(frame)
            await conn.send(chunk(frame))
            sent = size
        await conn.send(b"" if cut else END)

    async with (
        recorded(handle, folder, read_ahead=read_ahead) as (proxy, _),
        connected(proxy.url, get(), receive_buffer=4096) as client,
    ):
        before = None
        while before != sent or not sent:  # until nothing moves
            before = sent
            await asyncio.sleep(0.3)
        waits = sent < 160 << 16
        _, headers = await client.head()
        body, is_whole = await client.body(headers)
    stored = wire.content(folder / "run.db")
    return [waits, len(body), sha256(body).hexdigest(), is_whole, stored == body, wire.ending(folder / "run.db")]


async def _websocket(folder: Path) -> list[Any]:
    """Bytes right behind both header sections, then 3 MiB each way, then the end by one side."""
    text, large = b"\x81\x02hi", b"\x82\x7f" + (3 * MIB).to_bytes(8, "big") + b"x" * 3 * MIB
    masked = b"\x81\x82\0\0\0\0hi"

    async def handle(conn: Wire) -> None:
        await conn.until(b"\r\n\r\n")
        await conn.send(SWITCH + text)
        async with asyncio.timeout(30):
            got.append((await conn.reader.readexactly(len(masked + large))).count(b"x"))
        await conn.send(large + b"\x88\0")
        await conn.until(b"\x88\x80\0\0\0\0")

    got: list[Any] = []
    async with recorded(handle, folder) as (proxy, _), connected(proxy.url, HELLO + masked) as client:
        got.append(repr(await client.head()))
        await client.send(large)
        async with asyncio.timeout(30):
            got.append((await client.reader.readexactly(len(text + large))).count(b"x"))
        await client.send(b"\x88\x80\0\0\0\0")
        got.append(repr(await client.rest()))
    with wire.opened(folder / "run.db") as store:
        kept = sorted((one.dir, one.opcode, len(one.data)) for one in store.messages(1))
    return [*got, kept, wire.ending(folder / "run.db")]


async def _kept_connection(folder: Path) -> list[Any]:
    """Requests one after the other on one connection, the last three at once."""
    async with (
        recorded(answering(*[OK] * 5), folder) as (proxy, _),
        connected(proxy.url, get("/1")) as client,
    ):
        got = []
        for number in range(2, 6):
            got.append(repr(await client.body((await client.head())[1])))
            await client.send(get(f"/{number}") if number < 3 else b"" if number > 3 else get("/3") + get("/4"))
    return got


async def _replay(folder: Path) -> list[Any]:
    async with recorded(sending(STREAM, chunk(event(1)), chunk(event(2)) + END), folder) as (proxy, _):
        await ask(proxy.url, get("/v1/sessions/s/stream"))
    async with Replay(folder / "run.db", timing="instant") as replay:
        answers = [await ask(replay.url, get(path)) for path in ("/v1/sessions/s/stream", "/none")]
    return [(repr(one.status), len(one.body), one.whole) for one in answers]


async def seen(folder: Path) -> dict[str, Any]:
    """All that is seen, by scenario."""
    scenarios: dict[str, Callable[[Path], Awaitable[list[Any]]]] = {
        **{name: partial(_answer, handle, request) for name, (handle, request) in ANSWERS.items()},
        "a client that leaves": _client_leaves,
        "a slow reader, all read ahead": partial(_slow_reader, read_ahead=32 * MIB, cut=False),
        "a slow reader that upstream waits for": partial(_slow_reader, read_ahead=MIB, cut=False),
        "a slow reader of a cut stream": partial(_slow_reader, read_ahead=32 * MIB, cut=True),
        "a WebSocket": _websocket,
        "a kept connection": _kept_connection,
        "a replay": _replay,
    }
    found: dict[str, Any] = {"slower because": slower_because()}
    for number, (name, run) in enumerate(scenarios.items()):
        place = folder / str(number)
        place.mkdir()
        async with asyncio.timeout(60):
            found[name] = await run(place)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(seen(Path(sys.argv[1]))), default=repr, indent=1))
