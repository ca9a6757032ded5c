"""A disk that fills while the recorder records: what is missing is in the cassette, and readers say it first."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.hostile.disks import fill, small_disk
from tests.support import wire
from tests.support.command import invoke
from tests.support.forked import Running
from tests.support.process import ForkedProcess
from tests.support.wire import STREAM, Upstream, Wire, chunk, event, get

EVENTS = 20
SIZE = 20_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "6m") as folder:
        yield folder


async def serve(connection: Wire) -> None:
    await connection.request()
    await connection.send(STREAM)
    for number in range(EVENTS):
        await connection.send(chunk(event(number, SIZE)))
    await connection.send(wire.END)


async def streams(url: str, first: int, last: int) -> None:
    for number in range(first, last + 1):
        answer = await wire.ask(url, get(f"/v1/sessions/s{number}/stream"))
        assert answer.whole


async def until(proxy: ForkedProcess, said: str) -> None:
    """Wait until stderr has this text."""
    process = proxy.process
    assert isinstance(process, Running)
    await wire.eventually(lambda: said in process.errors())


def told(db: Path, *words: str) -> tuple[str, str]:
    result = invoke(words[0], db, *words[1:])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.stdout, result.stderr


def test_a_disk_that_stays_full_leaves_every_request_and_the_number_of_lost_bytes(disk: Path) -> None:
    async def record() -> tuple[int | None, str]:
        async with Upstream(serve) as upstream, ForkedProcess(upstream.url, disk / "run.db") as proxy:
            await streams(proxy.url, 1, 2)
            await asyncio.sleep(1)
            fill(disk)
            await streams(proxy.url, 3, 12)
            await until(proxy, "the disk is full")
            return await proxy.end(signal.SIGINT)

    code, errors = asyncio.run(record())
    assert code == 1
    assert "recording degraded: the disk is full. Streams go on, and the recorder tries again. Meanwhile" in errors
    assert "above 268 MB, further bytes are dropped" in errors
    assert "recording incomplete: the disk is full:" in errors
    for falsehood in ("too slow", "was killed", "MB may"):
        assert falsehood not in errors
    db = disk / "run.db"
    rows = [json.loads(line) for line in told(db, "ls", "--exchanges", "--json")[0].splitlines()]
    assert [row["ending"] for row in rows] == ["eof"] * 12
    first, *_ = told(db, "doctor")[0].splitlines()
    assert first.startswith("Error: Recording 1 is incomplete: the disk is full:")
    (finding, *_) = [json.loads(line) for line in told(db, "doctor", "--json")[0].splitlines()]
    assert (finding["code"], finding["severity"]) == ("recording-degraded", "error")
    for command in ("sessions", "show"):
        assert told(db, command)[1].startswith("Recording 1 is incomplete: the disk is full:")
    assert "-reserve" not in " ".join(path.name for path in disk.iterdir())


def test_a_recorder_that_is_killed_on_a_full_disk_has_noted_it(disk: Path) -> None:
    async def record() -> None:
        async with Upstream(serve) as upstream, ForkedProcess(upstream.url, disk / "run.db") as proxy:
            await streams(proxy.url, 1, 2)
            await asyncio.sleep(1)
            fill(disk)
            await streams(proxy.url, 3, 6)
            await until(proxy, "the disk is full")
            await asyncio.sleep(1)
            await proxy.end(signal.SIGKILL)

    asyncio.run(record())
    said = "Recording 1 is incomplete: the file cannot be written from here on (the disk is full)"
    assert told(disk / "run.db", "sessions")[1].startswith(said)
    assert said in told(disk / "run.db", "doctor")[0]


def test_nothing_is_missing_after_a_disk_that_was_full_for_a_while(disk: Path) -> None:
    async def record() -> tuple[int | None, str]:
        async with Upstream(serve) as upstream, ForkedProcess(upstream.url, disk / "run.db") as proxy:
            filler = fill(disk, 65536)
            await streams(proxy.url, 1, 4)
            await until(proxy, "the disk is full")
            filler.unlink()
            await until(proxy, "recording recovered")
            return await proxy.end(signal.SIGINT)

    code, _ = asyncio.run(record())
    assert code == 0
    db = disk / "run.db"
    rows = [json.loads(line) for line in told(db, "ls", "--streams", "--json")[0].splitlines()]
    assert [row["verdicts"] for row in rows] == [{"valid": EVENTS}] * 4
    assert told(db, "sessions")[1] == ""
    degraded = [
        one for one in map(json.loads, told(db, "doctor", "--json")[0].splitlines()) if "degraded" in one["code"]
    ]
    assert {one["severity"] for one in degraded} == {"note"}
    assert all(one["message"].startswith("nothing is missing here") for one in degraded)
