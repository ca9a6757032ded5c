"""Many at once: a hundred streams in their recorded time, and hundreds of replays in one process."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

import omnirecord
from omnirecord.replayer.server import Replay
from omnirecord.replayer.verify import quantile
from tests.support.cassettes import Made, delta
from tests.support.watchdog import slowness
from tests.support.wire import connected, get

STREAMS, EVENTS_EACH = 100, 25


def crowd() -> tuple[Made, list[list[float]]]:
    """A hundred streams of twenty events a second, each with gaps of its own, and their times."""
    random, tape, times = Random(7), Made(), []
    for number in range(STREAMS):
        at, reads = 1.0, []
        for n in range(EVENTS_EACH):
            at += random.uniform(0.01, 0.09)
            reads.append((at, delta(str(n))))
        tape.stream(f"/v1/x/{number}", 1.0, *reads, ending="eof", end=at)
        times.append([when for when, _ in reads])
    return tape, times


async def arrivals(url: str, number: int) -> list[float]:
    """When each event of a stream came. Clients come one after the other, within a second."""
    await asyncio.sleep(number / STREAMS)
    async with connected(url, get(f"/v1/x/{number}")) as wire:
        await wire.head()
        came = []
        for _ in range(EVENTS_EACH):
            await wire.chunk()
            came.append(time.monotonic())
        return came


async def lateness(server: Replay, times: list[list[float]]) -> list[float]:
    """How late each event came, in ms, ascending; against the most punctual one of its stream."""
    all_came = await asyncio.gather(*(arrivals(server.url, n) for n in range(STREAMS)))
    late = []
    for came, recorded in zip(all_came, times, strict=True):
        offsets = [a - b for a, b in zip(came, recorded, strict=True)]
        late += [(offset - min(offsets)) * 1000 for offset in offsets]
    return sorted(late)


@pytest.mark.slow
@pytest.mark.timed
async def test_a_hundred_streams_keep_their_time_within_ten_milliseconds(tmp_path: Path) -> None:
    tape, times = crowd()
    best = float("inf")
    async with Replay(tape.save(tmp_path / "tape.db")) as server:
        for _ in range(3):  # the machine has other work too: what the replay can do is the best of three
            best = min(best, quantile(await lateness(server, times), 0.99))
            if best < 10.0:
                break
    assert best < 10.0 * slowness()


async def one_stream(url: str, events: int) -> list[float]:
    async with connected(url, get("/v1/x")) as wire:
        await wire.head()
        came = []
        for _ in range(events):
            await wire.chunk()
            came.append(time.monotonic())
        return came


@pytest.mark.slow
@pytest.mark.timed
async def test_one_stream_keeps_its_time_within_two_milliseconds(tmp_path: Path) -> None:
    random, tape, reads, at = Random(11), Made(), [], 1.0
    for n in range(100):
        at += random.choice([0.0007, random.uniform(0.001, 0.01), random.uniform(0.01, 0.03)])
        reads.append((at, delta(str(n))))
    tape.stream("/v1/x", 1.0, *reads, ending="eof", end=at)
    best = float("inf")
    async with Replay(tape.save(tmp_path / "tape.db")) as server:
        for _ in range(5):  # the machine has other work too: what the replay can do is the best of five
            came = await one_stream(server.url, len(reads))
            offsets = [a - b for a, (b, _) in zip(came, reads, strict=True)]
            best = min(best, quantile(sorted((offset - min(offsets)) * 1000 for offset in offsets), 0.98))
            if best < 2.0:
                break
    assert best < 2.0 * slowness()


@pytest.mark.slow
async def test_many_clients_at_once_get_every_byte(tmp_path: Path, long: bool) -> None:
    """A thousand with `--long`, otherwise 300."""
    tape, bodies = Made(), []
    for number in range(5):
        reads = [(1.0 + n / 100, delta(f"{number}.{n} {'word ' * 40}")) for n in range(600)]
        tape.stream(f"/v1/talk/{number}", 1.0, *reads, ending="eof", end=99.0)
        bodies.append(b"".join(data for _, data in reads))

    async def once(url: str, number: int, all_there: asyncio.Barrier) -> bool:
        async with connected(url, get(f"/v1/talk/{number}")) as wire:
            _, headers = await wire.head()
            await all_there.wait()
            return await wire.body(headers) == (bodies[number], True)

    with files_for(3000 if long else 900) as files:
        clients = files // 3
        all_there = asyncio.Barrier(clients)
        path = tape.save(tmp_path / "tape.db")
        with omnirecord.replay(path, timing="instant") as server:  # in a thread, as clients keep ours busy
            assert all(await asyncio.gather(*(once(server.url, n % 5, all_there) for n in range(clients))))


@contextmanager
def files_for(wanted: int) -> Iterator[int]:
    """Let this process have so many files open, or as many as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    may = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, may), hard))
    try:
        yield may
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
