"""Promise 2, measured: whatever happens to the disk, streams are not delayed, and what waited is in the file."""

from __future__ import annotations

import asyncio
import resource
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.conftest import Figure
from tests.end_to_end.hostile.delays import Delays, percentile, told
from tests.end_to_end.hostile.disks import fill, small_disk
from tests.end_to_end.hostile.flood import flooding
from tests.support import wire
from tests.support.process import ForkedProcess, Process
from tests.support.wire import connected, get

Fault = Callable[[Process, Path], AbstractContextManager[None]]


@contextmanager
def locked(_proxy: Process, db: Path) -> Iterator[None]:
    other = sqlite3.connect(db, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.close()


@contextmanager
def at_its_limit(proxy: Process, db: Path) -> Iterator[None]:
    unlimited = resource.RLIM_INFINITY
    largest = max(path.stat().st_size for path in db.parent.iterdir())
    resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (largest + 4096, unlimited))
    yield
    resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))


@contextmanager
def full(_proxy: Process, db: Path) -> Iterator[None]:
    filler = fill(db.parent)
    yield
    filler.unlink()


@contextmanager
def gone(_proxy: Process, db: Path) -> Iterator[None]:
    shutil.rmtree(db.parent)
    yield
    db.parent.mkdir()


FAULTS: dict[str, Fault] = {
    "the database is locked by another process": locked,
    "a limit on the size of files": at_its_limit,
    "the file system is full": full,
    "the folder is removed": gone,
}

IN_SHORT = ("the file system is full", "the folder is removed")


@pytest.fixture
def folder(tmp_path: Path, fault: str) -> Iterator[Path]:
    """Where the cassette is: on a file system of its own, of 4 MB, where that is to be full."""
    folder = tmp_path / "folder"
    if FAULTS[fault] is full:
        with small_disk(folder, "4m"):
            yield folder
        return
    folder.mkdir()
    yield folder


@pytest.mark.timed
@pytest.mark.slow
@pytest.mark.parametrize("fault", [  # the others: `test_thread.py`, in the process of the test
    one if one in IN_SHORT else pytest.param(one, marks=pytest.mark.long) for one in FAULTS
])  # fmt: skip
async def test_no_stream_is_delayed_and_what_came_meanwhile_is_in_the_file(
    fault: str, folder: Path, long: bool, figure: Figure
) -> None:
    """For a minute; in short for longer than SQLite itself waits for a lock."""
    db, seconds = folder / "run.db", 60.0 if long else 1.6
    async with (
        flooding() as upstream, ForkedProcess(upstream, db) as proxy,
        connected(proxy.url, get("/tick")) as client, connected(upstream, get("/tick")) as direct,
    ):  # fmt: skip
        await client.head()
        await direct.head()
        delays, others = Delays(client), Delays(direct)
        await asyncio.gather(delays.listen(0.3), others.listen(0.3))
        await wire.eventually(lambda: len(wire.content(db)) > 0)
        with FAULTS[fault](proxy, db):
            already = len(delays.data)
            during, without = await asyncio.gather(delays.listen(seconds), others.listen(seconds))
        got = delays.data
        await wire.eventually(lambda: got[-100:] in kept(db))
        code, said = await proxy.end(signal.SIGTERM)
    figure(fault, f"for {seconds:.0f} s; delay: {told(during)} (without the proxy: {told(without)})")
    assert code == 0
    assert percentile(during, 99 if long else 90) < 50, "in a second, 99 % would be all but one"
    assert "recording degraded" in said
    assert "recording recovered" in said
    assert any("could not be written" in one for one in wire.incidents(db))
    if FAULTS[fault] is gone:  # with all that came before; and what passed before that was noticed
        assert sum(frame.length for frame in wire.frames(db)) >= len(got)
        assert len(wire.content(db)) > (len(got) - already) / 4
    else:
        assert wire.content(db).startswith(got)


def kept(db: Path) -> bytes:
    try:
        return wire.content(db)
    except Exception:
        return b""
