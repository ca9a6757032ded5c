"""Twenty streams of two hops, with rotation and shipping, killed with -9 again and again."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

import omnirecord
from omnirecord.lake.location import Lake
from omnirecord.lake.query import LakeQuery
from omnirecord.recorder.thread import RecorderThread
from omnirecord.wire.limits import Rotation
from tests.conftest import Figure
from tests.support import forked, killing
from tests.support.killing import DURABLE_AFTER, Held, Holdings, Killed, Pace, Received, Running, cassettes, event, held
from tests.support.wire import Upstream, connected, get

_CYCLE = 23
"""Events after which the kinds of `killing.event` repeat."""
_POINTS = (("settle", 1), ("settle", 3), ("frames", 1), ("frames", 5), ("rotate", 1), ("rotate", 2), ("journal", 3))

Shape = tuple[str | None, str, str]
"""Type, verdict and issues of a frame, without its numbers."""


def shape_of(frame: tuple[str | None, str, object]) -> Shape:
    type_, verdict, issues = frame
    return type_, verdict, re.sub(r"\d+", "#", repr(issues))


async def undisturbed(folder: Path, upstream: str) -> dict[str | None, list[Shape]]:
    """The frames of one cycle of events at each hop, recorded without a kill."""
    names = {None: "r0-s0-k0", "model": "r0-s1-k0"}
    async with omnirecord.record(upstream, folder / "run.db", upstreams={"model": upstream}) as proxy:
        paths = {
            proxy.url: f"/v1/sessions/{names[None]}-short/stream",
            proxy.urls["model"]: f"/{names['model']}-short/v1/responses",
        }
        for url, path in paths.items():
            async with connected(url, get(path)) as client:
                await client.head()
                while await client.chunk():
                    pass
    found = held(folder)
    return {hop: [shape_of(frame) for frame in found[name].frames[:_CYCLE]] for hop, name in names.items()}


async def killed(folder: Path, upstream: str, options: list[str], round_: int, random: Random) -> Killed:
    """One recorder and its kill: at a random moment, or itself at a chosen point of its work."""

    async def at_random(running: Running) -> None:
        await asyncio.sleep(running.random.uniform(0.0, 2.0))
        running.kill()

    async def if_it_did_not(running: Running) -> None:
        await asyncio.sleep(10)
        running.kill()

    chosen = random.choice((None, *_POINTS))
    before = [] if chosen is None else [killing.kills_itself(*chosen, folder)]
    moment = at_random if chosen is None else if_it_did_not
    return await killing.killed_at(
        moment, folder / "run.db", upstream, round_=round_, random=random, options=options, before=before
    )


def check(one: Received, kept: Held, at: float, expected: list[Shape]) -> None:
    """What the files have of one stream is what its client received, up to 250 ms before the kill."""
    data = bytes(one.data)
    assert len(kept.data) >= one.until(at - DURABLE_AFTER), f"{one.name}: bytes older than 250 ms are lost"
    assert kept.data.startswith(data) or data.startswith(kept.data), one.name
    assert b"".join(raw or b"" for raw in kept.raws) == kept.data, one.name
    whole = [n for n, raw in enumerate(kept.raws) if raw == event(n)]
    assert whole == list(range(len(whole))), f"{one.name}: each event once, in order"
    assert len(kept.raws) - len(whole) <= 1, "only the last one may be cut"
    assert [shape_of(kept.frames[n]) for n in whole] == [expected[n % _CYCLE] for n in whole]


def is_finished(path: Path) -> bool:
    """Whether all events of a cassette are rows, each once, and the journal is empty."""
    with closing(sqlite3.connect(path)) as connection:
        (waiting,) = connection.execute("SELECT count(*) FROM journal").fetchone()
        (stored,) = connection.execute("SELECT coalesce(sum(frames), 0) FROM frame_blocks").fetchone()
    with omnirecord.open_cassette(path) as cassette:
        frames = sum(len(list(stream.frames())) for stream in cassette.streams())
    return bool(waiting == 0 and stored == frames)


@pytest.mark.slow
@pytest.mark.timed
async def test_kills_lose_nothing_and_double_nothing_with_two_hops_rotation_and_shipping(
    tmp_path: Path, long: bool, figure: Figure
) -> None:
    rounds = 100 if long else 2
    random, pace = Random(11), Pace(burst=40)
    folder, lake = tmp_path / "recordings", tmp_path / "lake"
    folder.mkdir()
    (tmp_path / "undisturbed").mkdir()
    assert forked.run(["lake", "init", lake]).code == 0
    options = ["--rotate", "1MB", "--ship", str(lake)]
    before: dict[str, Held] = {}
    oldest = 0.0
    holdings = Holdings(folder)
    async with Upstream(killing.sends(pace, random)) as upstream:
        expected = await undisturbed(tmp_path / "undisturbed", upstream.url)
        for round_ in range(1, rounds + 1):
            kill = await killed(folder, upstream.url, options, round_, random)
            found = holdings.held()
            for one in kill.received:
                kept = found.get(one.name, Held())
                check(one, kept, kill.at, expected[one.hop])
                oldest = max(oldest, one.oldest_lost(len(kept.data), kill.at))
            assert before.items() <= found.items(), "earlier recordings stay as they are"
            before = found
    RecorderThread(folder / "run.db", None, rotation=Rotation(1 << 30, None)).stop()
    assert held(folder) == before
    assert all(map(is_finished, cassettes(folder)))
    paths = cassettes(folder)
    for first in range(0, len(paths), 40):  # each command has five minutes
        assert forked.Running(["ship", *paths[first : first + 40], "--lake", lake]).join() == 0
    events = sum(len(one.frames) for one in before.values())
    with LakeQuery(Lake(str(lake))) as query:
        rows = query.run("SELECT recording_id, exchange, seq, count(*) FROM events GROUP BY ALL").rows
        counts = Counter(row[3] for row in rows)
    assert counts == {1: events}, f"{counts} for {events} events"
    figure(
        f"kill -9, {rounds} times, 20 streams of two hops",
        f"the oldest lost byte was {oldest * 1e3:.0f} ms old, of {events:,} events",
    )
