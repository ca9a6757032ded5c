"""A browser-like client logs in at a real service through the recorder: cookies and redirects lead back to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.server import Replay
from tests.support.later import later

starlette = later("starlette.applications")
responses = later("starlette.responses")
routing = later("starlette.routing")
uvicorn = later("uvicorn")


@asynccontextmanager
async def login_app(host: str, **attributes: object) -> AsyncIterator[str]:
    """The URL of a service whose login sets a cookie and redirects to an absolute URL; its folders end with `/`."""

    async def login(request: starlette.Request) -> object:
        answer = responses.RedirectResponse(request.url_for("home"), status_code=303)
        answer.set_cookie("session", "s3cret", httponly=True, **attributes)
        return answer

    async def home(request: starlette.Request) -> object:
        return responses.PlainTextResponse(f"hello {request.cookies.get('session')}")

    routes = [
        routing.Route("/login", login, methods=["POST"]),
        routing.Route("/home/", home, name="home"),
    ]
    config = uvicorn.Config(starlette.Starlette(routes=routes), ws="none", lifespan="off", log_level="warning")
    config.load()  # imports modules, which takes longer than a callback may
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server.serve([listening]))
        try:
            yield f"http://{host}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@pytest.mark.parametrize(
    ("host", "attributes"), [("127.0.0.1", {}), ("localhost", {"domain": "localhost", "samesite": "strict"})]
)
async def test_a_login_and_its_redirects_stay_on_the_recorder_and_on_the_replay(
    host: str, attributes: dict[str, object], tmp_path: Path
) -> None:
    async def visit(url: str) -> str:
        async with httpx.AsyncClient(base_url=url, follow_redirects=True) as client:
            answer = await client.post("/login", data={"name": "me"})
            assert str(answer.url) == f"{url}/home/"
            answer = await client.get("/home")  # without the slash: the server redirects to the folder
            assert [str(one.headers["location"]) for one in answer.history] == [f"{url}/home/"]
            return answer.text

    async with login_app(host, **attributes) as upstream, Proxy(upstream, tmp_path / "run.db") as proxy:
        assert await visit(proxy.url) == "hello s3cret"
        assert proxy.exchanges == 4
    async with Replay(tmp_path / "run.db", timing="instant") as replay:
        await visit(replay.url)
        assert not replay.unmatched
