"""The configurations of `docs/load-balancer.md`: two recorders behind nginx and HAProxy."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks.ports import free_port
from omnirecord.cassette.open import open_store
from omnirecord.model import Exchange
from omnirecord.recorder.proxy.server import Proxy
from tests.support.stores import accepting

PAGE = Path(__file__).parent.parent.parent / "docs" / "load-balancer.md"
SESSIONS = [f"session-{number}" for number in range(20)]
pytestmark = pytest.mark.slow


def configuration(language: str, listen: int, one: str, two: str) -> str:
    """The configuration of the page, with the addresses of this test."""
    block = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    addresses = {"127.0.0.1:8080": f"127.0.0.1:{listen}", "127.0.0.1:6868": one, "127.0.0.1:6869": two}
    return re.sub("|".join(map(re.escape, addresses)), lambda found: addresses[found[0]], block[1])


def nginx(folder: Path, text: str) -> list[str]:
    (folder / "omnirecord.conf").write_text(text)
    temporary = "\n".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = f"pid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}\n"
    (folder / "nginx.conf").write_text(whole + f"include {folder}/omnirecord.conf;\n}}\n")
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]


def haproxy(folder: Path, text: str) -> list[str]:
    (folder / "haproxy.cfg").write_text(text)
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


class Server:
    """Stands in for Omnigent: a stream goes on when a POST has come."""

    def __init__(self) -> None:
        self.posted: dict[str, asyncio.Event] = {}

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([
            web.post("/v1/sessions", self.create), web.get("/v1/sessions/updates", self.socket),
            web.get("/v1/sessions/{id}/stream", self.stream), web.post("/v1/sessions/{id}/events", self.post),
            web.post("/v1/sessions/{id}/elicitations/{e}/resolve", self.post), web.get("/v1/sessions/{id}", self.read),
        ])  # fmt: skip
        return app

    def _event(self, request: web.Request) -> asyncio.Event:
        return self.posted.setdefault(request.match_info["id"], asyncio.Event())

    async def create(self, _request: web.Request) -> web.Response:
        return web.json_response({"id": "created"})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"type": "session.heartbeat"}\n\n')
        await self._event(request).wait()
        await response.write(b"data: [DONE]\n\n")
        return response

    async def post(self, request: web.Request) -> web.Response:
        await request.read()
        if request.path.endswith("/resolve"):
            self._event(request).set()
        return web.json_response({})

    async def read(self, request: web.Request) -> web.Response:
        return web.json_response({"id": request.match_info["id"]})

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for message in response:
            await response.send_str(f"echo of {message.data}")
        return response


@asynccontextmanager
async def balancer(program: Callable[[Path, str], list[str]], folder: Path, text: str, port: int) -> AsyncIterator[str]:
    """Run a load balancer; return its URL when it accepts connections."""
    process = await asyncio.create_subprocess_exec(*program(folder, text), stderr=asyncio.subprocess.PIPE)
    try:
        await accepting(port, process, 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def session(client: aiohttp.ClientSession, url: str, name: str) -> None:
    """All requests of a session: its stream, a message, an answer, reads; the id is percent-encoded in one of them."""
    at = f"{url}/v1/sessions/{name}"
    async with client.get(f"{at}/stream") as stream:
        first = await asyncio.wait_for(stream.content.readuntil(b"\n\n"), 20)  # an unbuffered stream: before its end
        assert b"heartbeat" in first
        async with client.post(f"{at}/events", json={"type": "message"}) as answer:
            assert answer.status == 200
        async with client.get(f"{url}/v1/sessions/s%65ssion{name.removeprefix('session')}") as answer:
            assert (await answer.json())["id"] == name
        async with client.post(f"{at}/elicitations/e1/resolve", json={"action": "accept"}) as answer:
            assert answer.status == 200
        assert b"[DONE]" in await asyncio.wait_for(stream.content.read(), 20)


def exchanges(db: Path) -> list[Exchange]:
    with closing(open_store(db)) as store:
        return store.exchanges()


@pytest.mark.parametrize(("name", "program"), [("nginx", nginx), ("haproxy", haproxy)])
async def test_all_requests_of_a_session_meet_the_same_recorder(
    name: str, program: Callable[[Path, str], list[str]], tmp_path: Path
) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    server = TestServer(Server().app())
    await server.start_server()
    upstream, port, dbs = str(server.make_url("")), free_port(), [tmp_path / "one.db", tmp_path / "two.db"]
    try:
        async with Proxy(upstream, dbs[0]) as one, Proxy(upstream, dbs[1]) as two:
            addresses = [proxy.url.removeprefix("http://") for proxy in (one, two)]
            text = configuration(name, port, *addresses)
            async with balancer(program, tmp_path, text, port) as url, aiohttp.ClientSession() as client:
                await asyncio.gather(*(session(client, url, id_) for id_ in SESSIONS))
                async with client.ws_connect(f"{url}/v1/sessions/updates") as socket_:
                    await socket_.send_str("watch")
                    assert await socket_.receive_str(timeout=20) == "echo of watch"
                for _ in range(20):
                    async with client.post(f"{url}/v1/sessions", json={}) as answer:
                        assert answer.status == 200
    finally:
        await server.close()

    found = [exchanges(db) for db in dbs]
    of = [{x.session_id for x in some if x.session_id in SESSIONS} for some in found]
    assert of[0] | of[1] == set(SESSIONS)
    assert not of[0] & of[1]
    assert of[0]
    assert of[1]
    counts = [sum(x.session_id == id_ for some in found for x in some) for id_ in SESSIONS]
    assert counts == [4] * len(SESSIONS)
    assert all(any(x.request.target == "/v1/sessions" for x in some) for some in found)
