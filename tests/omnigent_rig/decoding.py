"""A reverse proxy that decodes the bodies of requests, as a gateway does in front of a server that cannot."""

from __future__ import annotations

from typing import Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

_NOT_PASSED = {"content-encoding", "content-length", "transfer-encoding", "connection", "host"}


class Decoder:
    """`async with Decoder(url) as decoder:` passes requests to `decoder.url` on to `url`, decoded."""

    def __init__(self, url: str) -> None:
        self._to = url
        self.url = ""

    async def __aenter__(self) -> Self:
        self._client = aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None))
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _NOT_PASSED]
        body = await request.read()  # aiohttp decodes it
        async with self._client.request(request.method, self._to + request.path_qs, headers=headers, data=body) as got:
            passed = [(name, value) for name, value in got.headers.items() if name.lower() not in _NOT_PASSED]
            coded = [("content-encoding", value) for value in got.headers.getall("content-encoding", [])]
            answer = web.StreamResponse(status=got.status, headers=CIMultiDict([*passed, *coded]))
            await answer.prepare(request)
            async for data in got.content.iter_any():
                await answer.write(data)
            return answer
