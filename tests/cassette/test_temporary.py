"""Temporary folders of killed processes are removed at the next start; all else stays, what links lead to as well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from omnirecord.cassette.files import AGE, TemporaryFolder, sweep, whole_or_not
from omnirecord.cassette.scrub import scrub
from omnirecord.cli import main
from tests.support.cassettes import HEALTHY

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of this test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def other() -> Iterator[Path]:
    """The folder of another process, which still runs."""
    script = "import sys; from omnirecord.cassette.files import *;"
    script += " f = TemporaryFolder('copy'); print(f.name, flush=True)"
    command = [sys.executable, "-c", f"{script}; sys.stdin.read()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        (path / "secret.db").touch()
        path.with_name("pid").write_text(str(process.pid))
        yield path
        process.kill()


def later() -> float:
    return time.time() + AGE + 1


def left_behind(place: Path, name: str = "omnirecord.ui.abcd_123") -> Path:
    """A folder of a killed process that is old enough."""
    folder = place / name
    (folder / "sub" / "folder").mkdir(parents=True)
    (folder / "sub" / "both.db").touch()
    folder.chmod(0o700)
    os.utime(folder, (1, 1))
    return folder


def test_the_folder_of_a_killed_process_is_removed_once_it_is_a_minute_old(other: Path) -> None:
    sweep(now=later)
    assert other.exists(), "its process runs"
    pid = int(other.with_name("pid").read_text())
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    sweep()
    assert other.exists(), "it is too young"
    sweep(now=later)
    assert not other.exists()


def test_a_folder_of_our_own_stays_while_it_is_used_and_leaves_nothing(place: Path) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    with TemporaryFolder("copy") as name:
        sweep(now=later)
        assert Path(name).stat().st_mode & 0o777 == 0o700
    assert [*place.iterdir()] == []
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_every_command_removes_what_killed_ones_left(place: Path) -> None:
    folder = left_behind(place)
    with pytest.raises(SystemExit):
        main(["ls", str(HEALTHY["text"])])
    assert not folder.exists()


def test_what_a_killed_scrub_left_beside_its_output_is_removed_by_the_next(tmp_path: Path) -> None:
    folder = left_behind(tmp_path, ".omnirecord.scrub.abcd_123")
    scrub(HEALTHY["text"], tmp_path / "safe.db")
    assert not folder.exists()


def test_what_a_killed_export_left_beside_its_output_is_removed_by_the_next(tmp_path: Path) -> None:
    """It was a file that no later command knew."""
    script = "import os, sys; from omnirecord.cassette.files import *; from pathlib import Path\n"
    script += "with whole_or_not(Path(sys.argv[1])) as file: file.write(b'some'); file.flush(); os.kill(os.getpid(), 9)"
    folder = tmp_path / "of outputs"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", script, folder / "a"], cwd=ROOT, check=False)
    (left,) = folder.iterdir()
    os.utime(left, (1, 1))
    with whole_or_not(folder / "other") as file:
        file.write(b"new")
    assert [one.name for one in folder.iterdir()] == ["other"]


def test_what_was_killed_in_a_setgid_folder_is_removed(place: Path) -> None:
    folder = left_behind(place)
    folder.chmod(0o2700)
    os.utime(folder, (1, 1))
    sweep()
    assert not folder.exists()


def test_links_are_removed_and_never_followed(place: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (place / "omnirecord.ui.aaaaaaaa").symlink_to(left_behind(outside))
    folder = left_behind(place)
    (folder / "link").symlink_to(outside)
    (folder / "sub" / "file").symlink_to(outside / "kept")
    os.utime(folder, (1, 1))
    sweep()
    assert not folder.exists()
    assert (place / "omnirecord.ui.aaaaaaaa").is_symlink()
    assert (outside / "kept").exists()
    assert (outside / "omnirecord.ui.abcd_123" / "sub" / "both.db").exists()


def test_what_is_not_ours_stays(place: Path) -> None:
    names = "omnirecord-abcd_123", "omnirecord.ui", "omnirecord.ui.abcd_1234", "xomnirecord.ui.abcd_123", "omnirecord"
    kept = [left_behind(place, name) for name in names]
    kept.append(left_behind(place, "omnirecord.ui.open_123"))
    kept[-1].chmod(0o755)
    (place / "omnirecord.ui.file_123").touch(0o700)
    os.utime(place / "omnirecord.ui.file_123", (1, 1))
    if os.geteuid() == 0:
        kept.append(left_behind(place, "omnirecord.ui.user_123"))
        os.chown(kept[-1], 12345, 12345)
    sweep()
    assert all(folder.exists() for folder in [*kept, place / "omnirecord.ui.file_123"])


def test_a_temporary_directory_that_cannot_be_read_stops_nothing(place: Path) -> None:
    place.rmdir()
    sweep(place)
    with pytest.raises(OSError, match="No such file"):
        TemporaryFolder("copy", place)
