"""A server with a stream, an upload and a WebSocket, and a client that uses the three."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """A server with a path for a body, an upload, a stream and a WebSocket."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(3):
            await response.write(b"data: %d\n\n" % number)
        return response

    async def echo(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(await socket.receive_str())
        await socket.close()
        return socket

    async def length(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    app = web.Application(client_max_size=1 << 26)
    app.router.add_get("/{kind}/stream", stream)
    app.router.add_get("/{kind}/socket", echo)
    app.router.add_post("/{kind}/length", length)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def use(url: str, kind: str) -> tuple[bytes, str, str]:
    """Return what a client gets: a stream, the length of an upload of 1 MB, and the message of a WebSocket."""
    async with aiohttp.ClientSession() as client:
        async with client.get(f"{url}/{kind}/stream?a=b") as answer:
            stream = await answer.read()
        async with client.post(f"{url}/{kind}/length", data=bytes(1 << 20)) as answer:
            length = await answer.text()
        async with client.ws_connect(f"{url}/{kind}/socket") as socket:
            await socket.send_str("Hi")
            message = await socket.receive_str()
    return stream, length, message
