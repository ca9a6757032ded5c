"""What open streams hold, in bytes that Python gave out: in the recording proxy, and in one that keeps nothing.

Everything is in this process, what the proxies are between too: for each stream a socket of a client and one of a
server, a hundred bytes each. What SQLite holds is not counted: it is bounded, however many streams there are.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from aiohttp import web

import omnirecord

from . import bare_proxy

STREAMS = 100
FIRST = 20
"""Streams that are open before those that are weighed: what is made once is there then."""
REQUEST = (
    "GET /v1/sessions/s{}/stream HTTP/1.1\r\nHost: localhost:6868\r\nAccept: text/event-stream\r\n"
    "Accept-Encoding: gzip, deflate\r\nUser-Agent: client/1.0\r\nAuthorization: Bearer abcdefghijklmnop\r\n\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"X-Accel-Buffering: no\r\nDate: Wed, 25 Nov 2026 20:03:21 GMT\r\nServer: uvicorn\r\n\r\n"
    b'event: session.heartbeat\ndata: {"type":"session.heartbeat","server_time":1764100000}\n\n'
)

Rest = Callable[[int], object]
"""Returns once so many streams have been dealt with."""


class Upstream:
    """Answers each request with a stream of one event, and leaves it open. Use it with `closing`."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=STREAMS)
        self._open = [self._listening]
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            one, _ = self._listening.accept()
            self._open.append(one)
            if not one.recv(65536):  # `close`
                return
            one.sendall(ANSWER)

    def close(self) -> None:
        socket.create_connection(self._listening.getsockname()).close()
        self._thread.join()
        for one in self._open:
            one.close()


def opened(port: int, numbers: range, clients: ExitStack) -> None:
    """Clients whose event has come, till `clients` is left."""
    for number in numbers:
        one = clients.enter_context(socket.create_connection(("127.0.0.1", port)))
        one.sendall(REQUEST.format(number).encode())
        came = b""
        while not came.endswith(b"}\n\n\r\n"):  # behind which the proxies' chunk ends
            came += one.recv(65536)


async def weighed(port: int, rest: Rest, clients: ExitStack) -> int:
    """Bytes that a hundred more streams hold."""
    held = []
    for numbers in range(FIRST), range(FIRST, FIRST + STREAMS):
        await asyncio.to_thread(opened, port, numbers, clients)
        await asyncio.to_thread(rest, numbers.stop)
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    return held[1] - held[0]


async def recording(upstream: str, db: Path, rest: Rest, clients: ExitStack) -> int:
    async with omnirecord.record(upstream, db=db) as proxy:
        return await weighed(int(proxy.url.rpartition(":")[2]), rest, clients)


async def bare(upstream: str, clients: ExitStack) -> int:
    runner = web.AppRunner(bare_proxy.app(upstream), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return await weighed(runner.addresses[0][1], lambda _: None, clients)
    finally:
        await runner.cleanup()


def weights(db: Path, settled: Callable[[Path, int], object]) -> tuple[int, int]:
    """Of the recording proxy, and of the bare one. `settled` returns once a file has the events of so many streams."""
    tracemalloc.start()
    try:
        with ExitStack() as clients, closing(Upstream()) as upstream:
            ours = asyncio.run(recording(upstream.url, db, lambda streams: settled(db, streams), clients))
            return ours, asyncio.run(bare(upstream.url, clients))
    finally:
        tracemalloc.stop()
