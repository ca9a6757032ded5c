"""Requests that pass unrecorded: `--only` and `--except`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

import omnirecord
from omnirecord.errors import UsageError
from omnirecord.recorder.wanted import Wanted
from tests.support.examples import each
from tests.support.three_kinds import upstream, use


async def test_a_client_sees_no_difference_and_the_cassette_has_the_wanted_requests_and_a_count(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    async with upstream() as url:
        options = {"only_paths": ["/wanted/*", "/other/stream"], "except_paths": ["*/length"], "control": True}
        async with omnirecord.record(url, db, **options) as proxy:  # type: ignore[arg-type]
            for kind in ("wanted", "other"):
                assert await use(proxy.url, kind) == (b"data: 0\n\ndata: 1\n\ndata: 2\n\n", str(1 << 20), "Hi")
            async with (
                aiohttp.ClientSession() as client,
                client.get(f"{proxy.url}/-/omnirecord/") as answer,
            ):
                state = await answer.json()
            assert (proxy.exchanges, proxy.unrecorded) == (3, 3)
            assert (state["exchanges"], state["unrecorded"], state["degraded"]) == (3, 3, None)
            assert not proxy.is_incomplete
    with omnirecord.open_cassette(db) as cassette:
        targets = [x.request.target for x in cassette.exchanges()]
        assert targets == ["/wanted/stream?a=b", "/wanted/socket", "/other/stream?a=b"]
        told = [one.message for one in cassette.incidents()]
        assert told == ["passed unrecorded: 3 requests with paths that --only or --except leave out"]
        assert [x.exchange for x in cassette.exchanges()] == [1, 2, 3]
    assert [one.code for one in omnirecord.doctor(db)] == []


async def test_a_client_that_leaves_an_unrecorded_stream_frees_it(tmp_path: Path) -> None:
    left = asyncio.Event()

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for _ in range(10_000):
                await response.write(b"data: 1\n\n")
                await asyncio.sleep(0.01)
        finally:
            left.set()
        return response

    runner = web.ServerRunner(web.Server(endless, handler_cancellation=True))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with omnirecord.record(f"http://{host}:{port}", tmp_path / "a.db", except_paths=["*"]) as proxy:
        async with aiohttp.ClientSession() as client:
            answer = await client.get(f"{proxy.url}/stream")
            assert await answer.content.readline() == b"data: 1\n"
            assert proxy.open_exchanges == 1
            answer.close()
        async with asyncio.timeout(30):
            await left.wait()
    await runner.cleanup()


@each(
    ("only", "excluded", "wanted"),
    [
        ([], [], ["/v1/responses", "/v1/models", "/"]),
        (["/v1/resp*"], [], ["/v1/responses"]),
        (["*"], ["/v1/*"], ["/"]),
        ([], ["/v1/models"], ["/v1/responses", "/"]),
        (["/v1/models", "/"], [], ["/v1/models", "/"]),
    ],
)
def test_globs_choose_paths_without_their_queries(only: list[str], excluded: list[str], wanted: list[str]) -> None:
    chosen = Wanted(only, excluded)
    paths = ["/v1/responses", "/v1/models", "/"]
    assert [path for path in paths if chosen.has(f"{path}?limit=1")] == wanted


def test_a_glob_that_matches_no_path_is_refused() -> None:
    with pytest.raises(
        UsageError, match="--only 'v1' matches no path, since each begins with /: write for instance '/v1'"
    ):
        Wanted(["v1"])
    with pytest.raises(UsageError, match=r"--except '/a.b=c' has a query, and only paths are compared"):
        Wanted([], ["/a?b=c"])
