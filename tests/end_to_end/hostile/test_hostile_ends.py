"""Ends of the recorder: killed while it begins or stops, stopped with a hundred streams; and a clock set back."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import freezegun
import pytest

from omnirecord.recorder.thread import RecorderThread
from tests.conftest import Figure
from tests.support import wire
from tests.support.process import ForkedProcess, Process
from tests.support.wire import Wire, chunk, connected, event, get, recorded


async def ten_events(conn: Wire) -> None:
    await conn.stream()
    for n in range(10):
        await conn.send(chunk(event(n)))
    await conn.gone()


def is_usable(db: Path) -> bool:
    """A reader opens it as it is, if it is there, and a recorder goes on with it."""
    if db.exists() and db.stat().st_size:
        wire.exchanges(db)
    RecorderThread(db, None).stop()
    return [path.name for path in db.parent.iterdir()] == [db.name]


@pytest.mark.slow
async def test_a_recorder_that_is_killed_while_it_begins_leaves_a_file_that_opens(
    tmp_path: Path, long: bool, figure: Figure
) -> None:
    """The file is new, or holds what the one before had left behind."""
    rounds, moments, db = 50 if long else 3, random.Random(3), tmp_path / "run.db"
    for _ in range(rounds):
        proxy = Process("http://127.0.0.1:1", db)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*proxy.command, stdout=pipe, stderr=pipe)
        await asyncio.sleep(moments.uniform(0.2, 1.0))
        process.kill()
        await process.communicate()
        assert is_usable(db)
        if moments.random() < 0.5:
            db.unlink()
    figure("kill -9 while it begins", f"{rounds} times: each file opened, and was gone on with")


@pytest.mark.slow
async def test_a_recorder_that_is_killed_while_it_stops_loses_nothing(
    tmp_path: Path, long: bool, figure: Figure
) -> None:
    rounds, moments = 50 if long else 3, random.Random(5)
    async with wire.Upstream(ten_events) as upstream:
        for n in range(rounds):
            folder = tmp_path / str(n)
            folder.mkdir()
            async with ForkedProcess(upstream.url, folder / "run.db") as proxy, connected(proxy.url, get()) as client:
                await client.head()
                got = await client.read(1000)
                while event(9) not in got:
                    got += await client.read()
                await asyncio.sleep(0.25)
                proxy.process.send_signal(signal.SIGTERM)
                await asyncio.sleep(moments.uniform(0.0, 0.2))
                if proxy.process.returncode is None:
                    proxy.process.kill()
                await proxy.process.wait()
            assert wire.content(folder / "run.db") == b"".join(map(event, range(10)))
            assert wire.ending(folder / "run.db") in ("recorder_killed", "recorder_stopped")
            assert is_usable(folder / "run.db")
    figure("kill -9 while it stops", f"{rounds} times: no byte lost, each file opened")


@pytest.mark.slow
@pytest.mark.timed
async def test_a_terminated_proxy_with_a_hundred_streams_has_all_that_their_clients_had(
    tmp_path: Path, figure: Figure
) -> None:
    async def ticking(conn: Wire) -> None:
        await conn.stream()
        n = 0
        while True:
            await conn.send(chunk(event(n)))
            n += 1
            await asyncio.sleep(0.05)

    db = tmp_path / "run.db"
    async with (
        wire.Upstream(ticking) as upstream,
        ForkedProcess(upstream.url, db) as proxy,
        AsyncExitStack() as stack,
    ):
        clients = [await stack.enter_async_context(connected(proxy.url, get(f"/{n}"))) for n in range(100)]
        for client in clients:
            await client.head()
        listening = [asyncio.create_task(client.body([(b"transfer-encoding", b"chunked")])) for client in clients]
        await asyncio.sleep(1)
        began = time.monotonic()
        code, said = await proxy.end(signal.SIGTERM)
        took = time.monotonic() - began
        answers = await asyncio.gather(*listening)
    assert (code, said) == (0, "")
    assert took < 5
    assert not any(whole for _, whole in answers), "cut, not ended"
    found = {one.request.target: one for one in wire.exchanges(db)}
    assert {one.ending for one in found.values()} == {"recorder_stopped"}
    kept = [wire.content(db, found[f"/{n}"].stream or 0) for n in range(100)]
    assert all(content.startswith(body) for content, (body, _) in zip(kept, answers, strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]
    size = sum(len(body) for body, _ in answers)
    figure("SIGTERM with 100 streams", f"ended in {took:.1f} s, exit code 0; {size} bytes had reached clients, 0 lost")


async def test_a_clock_that_is_set_back_or_ahead_does_not_move_the_recording(tmp_path: Path) -> None:
    """The wall clock jumps by a day between events: their times are those of the steady clock."""
    jumps = [timedelta(0), timedelta(days=-1), timedelta(days=1), timedelta(days=-400)]
    began = datetime(2026, 6, 1, 12)

    async def handle(conn: Wire) -> None:
        await conn.stream()
        for n, jump in enumerate(jumps):
            clock.move_to(began + jump)
            await conn.send(chunk(event(n)))
            await asyncio.sleep(0.05)
        await conn.send(wire.END)

    with freezegun.freeze_time(began, real_asyncio=True) as clock:
        async with recorded(handle, tmp_path) as (proxy, _):
            await wire.ask(proxy.url, get())
    offsets = [frame.offset_ns / 1e9 for frame in wire.frames(proxy.db)]
    assert [0 <= later - earlier < 2 for earlier, later in pairwise(offsets)] == [True] * 3
    with wire.opened(proxy.db) as store:
        (recording,) = store.recordings()
    assert recording.started_at.startswith("2026-06-01T12:00:00")
