"""More clients than there are file descriptors: those beyond are refused, the rest is served, stderr stays short."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.end_to_end.hostile.harness import descriptors
from tests.support import wire
from tests.support.cassettes import conversation
from tests.support.forked import Before
from tests.support.process import ForkedProcess, allow_many_files
from tests.support.wire import Wire, connected, event, get

LOOPS: dict[str, Before] = {"asyncio": [], "uvloop": [partial(exec, "import uvloop; uvloop.install()")]}


def limited(most: int, soft: int | None = None) -> partial[None]:
    """Sets these limits of file descriptors."""
    return partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft or most, most))


async def one_event(conn: Wire) -> None:
    await conn.stream(event(1))
    await conn.gone()


class Crowd:
    """Clients that come at the same time, and stay."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._url, self._stack = url, stack
        self.answers: Counter[bytes] = Counter()

    async def come(self, many: int, path: str = "/") -> Counter[bytes]:
        await asyncio.gather(*[self._one(get(path)) for _ in range(many)])
        return self.answers

    async def _one(self, request: bytes) -> None:
        client = await self._stack.enter_async_context(connected(self._url, request))
        status, headers = await client.head()
        self.answers[status.split()[1]] += 1
        if b" 503 " in status:
            body, whole = await client.body(headers)
            assert whole
            assert dict(headers)[b"Retry-After"] == b"1"
            assert json.loads(body)["error"]["code"] == "out_of_descriptors"
            assert await client.rest() == b""


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
async def test_streams_beyond_the_descriptors_are_refused_and_the_rest_is_served(
    loop: str, tmp_path: Path, long: bool, figure: Figure
) -> None:
    """The limit is the hard one. When the clients have left, as many are served again."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    allow_many_files()
    most, many = (1024, 2000) if long else (128, 200)
    db = tmp_path / "run.db"
    async with (
        wire.Upstream(one_event) as upstream,
        ForkedProcess(upstream.url, db, before=[*LOOPS[loop], limited(most)]) as proxy,
    ):
        first = descriptors(proxy.process.pid)
        async with AsyncExitStack() as stack:
            answers = await Crowd(proxy.url, stack).come(many)
        await wire.eventually(lambda: descriptors(proxy.process.pid) <= first + 1)
        async with AsyncExitStack() as stack:
            again = await Crowd(proxy.url, stack).come(answers[b"200"] // 2)
        code, said = await proxy.end(signal.SIGTERM)
    assert answers[b"200"] + answers[b"503"] == many
    assert answers[b"200"] >= (most - 80) // 3
    assert again == {b"200": answers[b"200"] // 2}
    assert code == 0
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 4
    assert len(said) < 2000
    found = wire.exchanges(db)
    assert len(found) == answers[b"200"] + again[b"200"]
    assert all(wire.content(db, one.stream or 0) == event(1) for one in found)
    assert wire.incidents(db)[0].startswith("file descriptors run short")
    figure(
        f"{many} streams, {most} descriptors, {loop}",
        f"{answers[b'200']} served, {answers[b'503']} refused with 503, {len(said.splitlines())} lines on stderr",
    )


def serve(cassette: Path, limit: Callable[[], object]) -> ForkedProcess:
    """`omnirecord serve` in the place of a proxy."""
    process = ForkedProcess("http://127.0.0.1:1", cassette, before=[limit])
    process.command = [
        sys.executable, "-c", "from omnirecord.cli import main; main()", "serve", str(cassette),
        "--listen", "127.0.0.1:0", "--json",
    ]  # fmt: skip
    return process


@pytest.mark.slow
async def test_a_replay_too_refuses_what_is_beyond_its_descriptors(tmp_path: Path) -> None:
    async with serve(conversation().save(tmp_path / "a.db"), limited(128)) as served:
        before = descriptors(served.process.pid)
        async with AsyncExitStack() as stack:
            answers = await Crowd(served.url, stack).come(200, "/v1/sessions/s/stream")
        assert answers[b"200"] + answers[b"503"] == 200
        assert answers[b"200"] >= 40
        await wire.eventually(lambda: descriptors(served.process.pid) <= before + 1)
        assert (await wire.ask(served.url, get("/v1/sessions/s"))).status.split()[1] == b"200"
        code, said = await served.end(signal.SIGTERM)
    assert code == 0
    assert len(said.splitlines()) <= 4, said


@pytest.mark.slow
async def test_a_command_raises_its_soft_limit_to_the_hard_one(tmp_path: Path) -> None:
    limit, cassette = limited(512, soft=64), conversation().save(tmp_path / "a.db")
    proxy = ForkedProcess("http://127.0.0.1:1", tmp_path / "b.db", before=[limit])
    for process in (proxy, serve(cassette, limit)):
        async with process:
            limits = Path(f"/proc/{process.process.pid}/limits").read_text()
            assert [line.split()[3:5] for line in limits.splitlines() if "open files" in line] == [["512", "512"]]


@pytest.mark.slow
async def test_clients_that_say_nothing_do_not_keep_others_out(tmp_path: Path) -> None:
    """They hold all seats, until another client needs one."""
    async with (
        wire.Upstream(one_event) as upstream,
        ForkedProcess(upstream.url, tmp_path / "run.db", before=[limited(128)]) as proxy,
        AsyncExitStack() as stack,
    ):
        for _ in range(60):
            await stack.enter_async_context(connected(proxy.url))
        async with asyncio.timeout(3 * wire.PATIENCE):
            answers = await Crowd(proxy.url, stack).come(1)
            while not answers[b"200"]:
                await asyncio.sleep(0.1)
                answers = await Crowd(proxy.url, stack).come(1)
