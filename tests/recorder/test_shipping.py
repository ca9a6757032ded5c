"""The process that ships for a recorder: it ends with it, is started again, and `--keep` spares what is unshipped."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

import omnirecord
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.rotation import RotatedCassettes, Unshipped
from omnirecord.cassette.sqlite.lock import RecorderLock
from omnirecord.cassette.sqlite.writer import mark_shipped, shipped_to
from omnirecord.errors import UsageError
from omnirecord.lake.location import Lake
from omnirecord.lake.ship import Shipper
from omnirecord.lake.watch import Files, Watcher, run
from omnirecord.recorder import shipping as module
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.recorder.shipping import Shipping
from omnirecord.recorder.thread import RecorderThread
from omnirecord.wire.limits import Retention, Rotation
from tests.support.cassettes import SHIPPED

TEXT = SHIPPED / "text.jsonl"


def eventually(is_so: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def rotated(link: Path, count: int, unshipped: Unshipped | None = None) -> tuple[RotatedCassettes, list[Path]]:
    """A rotation with so many full cassettes."""
    cassettes = RotatedCassettes(link, Retention(files=1), unshipped=unshipped)
    made = []
    for _ in range(count):
        writer = cassettes.begin()
        assert writer.path is not None
        writer.close()
        cassettes.point(writer.path)
        made.append(writer.path)
    return cassettes, made


def test_keep_spares_what_the_lake_lacks_up_to_a_size_and_tells_what_it_removes(tmp_path: Path) -> None:
    removed: list[Path] = []
    many = Unshipped("s3://b/lake", 10**9, lambda path, _: removed.append(path))
    cassettes, paths = rotated(tmp_path / "run.db", 5, many)
    mark_shipped(paths[1], "s3://b/lake#id")
    mark_shipped(paths[2], "s3://b/other#id")
    cassettes.prune(set())
    assert [path.exists() for path in paths] == [True, False, True, True, True]
    assert not removed
    few = Unshipped("s3://b/lake", paths[0].stat().st_size, lambda path, _: removed.append(path))
    RotatedCassettes(tmp_path / "run.db", Retention(files=1), unshipped=few).prune(set(), spares_unshipped=True)
    assert not removed
    RotatedCassettes(tmp_path / "run.db", Retention(files=1), unshipped=few).prune(set())
    assert removed == [paths[0]]
    assert [path.exists() for path in paths] == [False, False, True, True, True]


def test_a_removal_of_an_unshipped_cassette_is_an_incident_of_the_recording(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, paths = rotated(tmp_path / "run.db", 3)
    recorder = RecorderThread(
        tmp_path / "run.db",
        None,
        rotation=Rotation(seconds=3600),
        keep=Retention(files=1),
        keep_unshipped=("s3://b/lake", 0),
    )
    path = recorder.file.path

    def incidents() -> list[str]:
        with closing(open_store(path)) as store:
            return [one.message for one in store.incidents()]

    eventually(incidents)
    recorder.stop()
    assert incidents()[0].startswith(f"{paths[0].name} (")
    assert "was removed and not shipped" in incidents()[0]
    assert "its recordings are lost" in caplog.text


def test_a_lake_that_cannot_be_one_is_refused_before_the_proxy_starts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no address of a lake"):
        Proxy("http://127.0.0.1:1", tmp_path / "run.db", ship="ftp://x")
    with pytest.raises(UsageError, match="--keep-unshipped"):
        Proxy("http://127.0.0.1:1", tmp_path / "run.db", ship="lake", keep_unshipped="many")


@pytest.mark.slow
@pytest.mark.parametrize("rotate", [(), pytest.param("1h", marks=pytest.mark.long)], ids=["one file", "rotation"])
def test_a_program_that_leaves_its_proxy_has_shipped_its_recording(tmp_path: Path, rotate: str | tuple[()]) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.init()
    with (
        omnirecord.replay(TEXT, timing="instant", no_gate=True) as server,
        omnirecord.record(server.url, tmp_path / "run.db", rotate=rotate, ship=lake.url) as proxy,
    ):
        httpx.get(f"{proxy.url}/v1/sessions")
    assert lake.table("recordings").to_pyarrow_table().num_rows == 1


def test_the_files_of_a_rotation_are_found_and_no_link(tmp_path: Path) -> None:
    _, paths = rotated(tmp_path / "run.db", 2)
    assert Files(tmp_path / "run.db", rotates=True).all() == paths
    assert Files(tmp_path / "none.db", rotates=False).all() == []


def started(folder: Path) -> tuple[Shipping, Path]:
    """A process that ships a closed cassette to a new lake, and the cassette."""
    lake = Lake(str(folder / "lake"))
    lake.init()
    path = folder / "run.db"
    import_file(TEXT, path)
    shipping = Shipping(lake.url, path, rotates=False)
    shipping.start()
    return shipping, path


@pytest.mark.slow
def test_the_process_ships_what_is_closed_when_the_recorder_ends(tmp_path: Path) -> None:
    shipping, path = started(tmp_path)
    eventually(lambda: shipped_to(path))
    shipping.end()
    assert shipping.wait(60)
    assert shipping.left == 0


def policies(pid: int) -> set[int]:
    """The scheduling policies of the threads of a process."""
    found = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended: `exec` ends all threads but one
            found.add(os.sched_getscheduler(int(thread.name)))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="a policy of Linux")
def test_the_last_files_are_shipped_with_the_cpu_time_of_any_process(tmp_path: Path) -> None:
    path, lake = tmp_path / "run.db", Lake(str(tmp_path / "lake"))
    import_file(TEXT, path)
    shipping = Shipping(lake.url, path, rotates=False)
    shipping.start()
    eventually(lambda: shipping.left == 1)
    process = shipping._process
    assert process is not None
    assert os.SCHED_IDLE in policies(process.pid)
    shipping.end()
    eventually(lambda: policies(process.pid) == {os.SCHED_OTHER})
    lake.init()
    assert shipping.wait(60)
    assert (shipping.left, process.returncode) == (0, 0)
    assert shipped_to(path)


@pytest.mark.slow
def test_the_next_recorder_of_the_same_files_takes_over_what_is_left(tmp_path: Path) -> None:
    _, paths = rotated(tmp_path / "run.db", 2)
    shipping = Shipping(str(tmp_path / "none"), tmp_path / "run.db", rotates=True)
    shipping.start()
    eventually(lambda: shipping.left == 2)
    shipping.end()
    lock = RecorderLock(paths[-1])
    assert shipping.wait(60)
    lock.release()
    assert shipping.left


def test_a_process_that_was_killed_before_it_saw_the_last_file_leaves_it_for_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.init()
    shipping = Shipping(lake.url, tmp_path / "run.db", rotates=False)
    shipping.start()
    eventually(lambda: shipping.left == 0)
    assert shipping._process is not None
    shipping._process.send_signal(signal.SIGSTOP)
    last = tmp_path / "last.db"
    import_file(TEXT, last)
    shipping.finish(last, within=0.0)
    assert not shipped_to(last)
    assert "may not be in" in caplog.text


@pytest.mark.slow
def test_the_process_ships_what_is_closed_after_its_recorder_was_killed(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.init()
    path = tmp_path / "run.db"
    import_file(TEXT, path)
    child = os.fork()
    if not child:
        shipping = Shipping(lake.url, path, rotates=False)
        threading.Thread(target=shipping._once, daemon=True).start()
        eventually(lambda: shipping._process)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    eventually(lambda: shipped_to(path))


def test_the_process_waits_for_a_cassette_that_a_dying_recorder_still_locks(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.init()
    path, over = tmp_path / "run.db", threading.Event()
    import_file(TEXT, path)
    lock = RecorderLock(path)
    over.set()
    released = threading.Timer(0.3, lock.release)
    released.start()
    run(Watcher(lambda: Shipper(lake), lambda: [path], lambda _: None, lambda _: None), over)
    released.join()
    assert shipped_to(path)


@pytest.mark.slow
def test_a_process_that_dies_is_told_and_another_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RESTART_AFTER", 0.05)
    shipping = Shipping(str(tmp_path / "none"), tmp_path / "run.db", rotates=False)
    shipping.start()
    eventually(lambda: shipping.left is not None)
    first = shipping._process
    assert first is not None
    first.kill()
    eventually(lambda: shipping._process is not first and shipping._process is not None)
    shipping.end()
    assert shipping.wait(60)
    said = [one.getMessage() for one in caplog.records]
    assert any("the process that ships ended (signal 9)" in one and "another one begins" in one for one in said)


def test_an_end_without_a_process_does_not_wait(tmp_path: Path) -> None:
    shipping = Shipping("lake", tmp_path / "run.db", rotates=False)
    shipping.end()
    shipping.start()
    assert shipping.wait(10)
    assert "may not be in" in shipping.remains
    assert json.loads(json.dumps(shipping.left)) is None
