"""Old files of a rotating recorder: which are kept, and which are removed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from freezegun import freeze_time

from omnirecord.cassette.rotation import RotatedCassettes
from omnirecord.cassette.sqlite import Writer
from omnirecord.cassette.sqlite.lock import RecorderLock, lock_path
from omnirecord.errors import NotACassette
from omnirecord.recorder.thread import RecorderThread
from omnirecord.wire.limits import Retention
from tests.cassette.test_rotation import Run, files, names, quick
from tests.support import wire

__all__ = ["quick"]


async def test_so_many_files_are_kept_and_the_current_one_and_their_search_indexes_go_with_them(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path / "run.db", Retention(files=2))
    for n in range(5):
        await run.rotates()
        for path in files(tmp_path):
            path.with_name(path.name + "-search").touch()
        await wire.eventually(lambda n=n: len(files(tmp_path)) == min(3, n + 2))  # type: ignore[misc]
    run.stop()
    kept = files(tmp_path)
    assert {path.name.removesuffix("-search") for path in tmp_path.iterdir()} == {"run.db", *(p.name for p in kept)}


def test_the_name_of_a_file_that_is_just_being_removed_is_not_taken(tmp_path: Path) -> None:
    rotated, now = RotatedCassettes(tmp_path / "run.db", Retention()), datetime.now(UTC)
    names = [rotated.named((now + timedelta(seconds=n)).strftime("%Y%m%dT%H%M%SZ")) for n in range(4)]
    removing = [RecorderLock(path) for path in names]
    writer = rotated.begin()
    writer.close()
    assert writer.path is not None
    assert writer.path > names[-1]
    for lock in removing:
        lock.release()


def test_a_link_that_a_killed_recorder_was_making_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".omnirecord.link.abcd_123"
    left.mkdir(0o700)
    (left / "run.db").symlink_to("run-20261127T100000Z.db")
    os.utime(left, (1, 1))
    path = begun(RotatedCassettes(tmp_path / "run.db", Retention()))
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, "run.db"]
    assert (tmp_path / "run.db").readlink() == Path(path.name)


def test_a_pipe_in_the_place_of_the_lock_file_is_a_sentence_and_stays(tmp_path: Path) -> None:
    """It was locked, and removed at the end."""
    path = tmp_path / "a.db"
    os.mkfifo(lock_path(path))
    with pytest.raises(NotACassette, match="is a pipe or a device"):
        Writer(path)
    assert [one.name for one in tmp_path.iterdir()] == ["a.db-lock"]


def begun(rotated: RotatedCassettes) -> Path:
    """The next cassette, closed at once, as the newest."""
    writer = rotated.begin()
    writer.close()
    assert writer.path is not None
    rotated.point(writer.path)
    return writer.path


def test_the_newest_in_order_of_recording_are_kept_though_the_clock_was_set_back(tmp_path: Path) -> None:
    rotated = RotatedCassettes(tmp_path / "run.db", Retention(files=2))
    with freeze_time("2026-11-27T10:00:00Z", tick=True):
        early = [begun(rotated) for _ in range(3)]
    with freeze_time("2026-11-26T10:00:00Z", tick=True):
        late = [begun(rotated) for _ in range(3)]
        rotated.prune({late[-1]})
        assert set(files(tmp_path)) == set(late)
        again = RotatedCassettes(
            tmp_path / "run.db", Retention(files=1)
        )  # another run, which knows the order from the files
        again.prune({late[-1]})
    assert set(files(tmp_path)) == set(late[1:])
    assert early[0].name > late[-1].name, "by names it would be the other way round"


def test_what_was_begun_between_two_files_is_told_in_order_of_recording(tmp_path: Path) -> None:
    """A reader that follows the link finds the file in between, whatever the clock did."""
    rotated = RotatedCassettes(tmp_path / "run.db", Retention())
    made = []
    for day in (27, 25, 26):
        with freeze_time(f"2026-11-{day}T10:00:00Z"):
            made.append(begun(rotated))
    assert RotatedCassettes(tmp_path / "run.db", Retention()).between(made[0], made[2]) == [made[1]]


def test_files_of_a_version_without_numbers_are_the_oldest(tmp_path: Path) -> None:
    rotated = RotatedCassettes(tmp_path / "run.db", Retention(files=1))
    with freeze_time("2026-11-27T10:00:00Z"):
        old = begun(rotated)
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("DELETE FROM meta WHERE key = 'made_number'")
    again = RotatedCassettes(tmp_path / "run.db", Retention(files=1))
    with freeze_time("2026-11-26T10:00:00Z"):
        new, newest = begun(again), begun(again)
        again.prune({newest})
    assert set(files(tmp_path)) == {new, newest}


def test_a_clock_that_is_set_ahead_does_not_age_what_was_just_recorded(tmp_path: Path) -> None:
    steady = 0.0
    rotated = RotatedCassettes(tmp_path / "run.db", Retention(seconds=3600), lambda: steady)
    with freeze_time("2026-11-26T10:00:00Z"):
        full, current = begun(rotated), begun(rotated)
        for path in (full, current):
            os.utime(path, (1, 1))  # it looks old from here on
        rotated.prune({full, current})
        steady = 3599.0
        rotated.prune({current})
        assert full.exists()
        steady = 3601.0
        rotated.prune({current})
    assert not full.exists()


async def test_files_are_kept_by_size_and_age(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    for _ in range(3):
        await run.rotates()
    run.stop()
    sizes = [path.stat().st_size for path in files(tmp_path)]
    os.utime(files(tmp_path)[0], (1, 1))
    RotatedCassettes(tmp_path / "run.db", Retention(seconds=3600)).prune(set())
    assert len(files(tmp_path)) == 3
    RotatedCassettes(tmp_path / "run.db", Retention(size=sum(sizes[-2:]))).prune({files(tmp_path)[-1]})
    assert len(files(tmp_path)) == 2


async def test_only_what_a_rotation_made_is_removed(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db", Retention(files=1))
    await run.rotates()
    run.stop()
    mine = files(tmp_path)[0]
    others = {
        "run-20200101T000000Z.db": lambda path: shutil.copy(mine, path),  # a copy has another's name in it
        "run-20200102T000000Z.db": lambda path: path.write_bytes(b"no cassette"),
        "run-20200103T000000Z.db": lambda path: RecorderThread(path, None).stop(),
        "run-20200104T000000Z.db": lambda path: path.symlink_to(mine.name),
        "run-2020.db": lambda path: path.touch(),
        "other-20200101T000000Z.db": lambda path: shutil.copy(mine, path),
    }
    for name, make in others.items():
        make(tmp_path / name)
    RotatedCassettes(tmp_path / "run.db", Retention(files=1)).prune(set())
    assert names(tmp_path) >= others.keys()
    assert mine.exists()


async def test_what_somebody_records_into_is_not_removed(tmp_path: Path) -> None:
    run = Run(tmp_path / "run.db")
    await run.rotates()
    await run.rotates()
    run.stop()
    first, second, _ = files(tmp_path)
    other = RecorderThread(first, None)
    RotatedCassettes(tmp_path / "run.db", Retention(files=1)).prune(set())
    assert first.exists()
    assert second.exists()
    other.stop()
    RotatedCassettes(tmp_path / "run.db", Retention(files=1)).prune(set())
    assert not first.exists()
