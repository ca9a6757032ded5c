"""A hard link to a cassette is the same file: it has one recorder, and a look at it drops no lock of SQLite's."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from omnirecord.cassette.sqlite import Store, Writer, lock
from omnirecord.cassette.sqlite.lock import lock_path, recorder_is_alive
from omnirecord.errors import CassetteInUse, NotACassette

ROOT = Path(__file__).parent.parent.parent.parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locks of an open file description are Linux's")


@pytest.fixture
def names(tmp_path: Path) -> tuple[Path, Path]:
    """Two names of a closed cassette, in two folders."""
    one, other = tmp_path / "one" / "a.db", tmp_path / "other" / "b.db"
    for path in (one, other):
        path.parent.mkdir()
    Writer(one).close()
    os.link(one, other)
    return one, other


RECORD = """
import sys
from pathlib import Path
from omnirecord.errors import CassetteInUse
from omnirecord.cassette.sqlite import Writer
try:
    writer = Writer(Path(sys.argv[1]))
except CassetteInUse:
    print("refused", flush=True)
else:
    print("records", flush=True)
    sys.stdin.read()
    writer.close()
"""


def attempt(path: Path, *before: str) -> str:
    """What a recorder in another process says that is stopped at once; `before`: the command that runs it."""
    command = [*before, sys.executable, "-c", RECORD, str(path)]
    return subprocess.run(command, input="", stdout=subprocess.PIPE, check=True, text=True, cwd=ROOT).stdout.strip()


@contextmanager
def another_recorder(path: Path) -> Iterator[None]:
    """A recorder in another process, which is killed."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", RECORD, path], stdin=pipe, stdout=pipe, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"records\n"
        try:
            yield
        finally:
            process.kill()


def test_a_second_recorder_is_refused_through_a_hard_link_until_the_first_is_done(names: tuple[Path, Path]) -> None:
    one, other = names
    with closing(Writer(one)):
        assert recorder_is_alive(other)
        with pytest.raises(CassetteInUse, match="under another name of the same file"):
            Writer(other)
        assert attempt(other) == "refused"
        assert [path.name for path in other.parent.iterdir()] == ["b.db"], "nothing is left beside the other name"
    assert not recorder_is_alive(other)
    assert attempt(other) == "records"
    Writer(other).close()


def test_a_recorder_in_another_process_holds_every_name_of_its_file_till_it_is_killed(
    tmp_path: Path, names: tuple[Path, Path]
) -> None:
    one, other = names
    link = tmp_path / "link.db"
    link.symlink_to(other)
    new = tmp_path / "new.db"
    with another_recorder(new):
        os.link(new, tmp_path / "same.db")  # of a file that was made while it was opened
        lock_path(new).unlink()
        for path in (new, tmp_path / "same.db"):
            assert recorder_is_alive(path), "though its lock file is gone"
            with pytest.raises(CassetteInUse):
                Writer(path)
    assert not recorder_is_alive(new)
    with closing(Writer(one)):
        assert recorder_is_alive(link)
        with pytest.raises(CassetteInUse):
            Writer(link)


def test_a_file_that_is_mounted_elsewhere_is_the_same_file(names: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "mounted.db"
    target.touch()
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount --bind '{names[0]}' '{target}'"
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, mount], capture_output=True, check=False).returncode
    ):
        pytest.skip("no file can be mounted here")
    with closing(Writer(names[0])):
        assert attempt(target, *unshare, f'{mount} && exec "$@"', "sh") == "refused"


def test_a_reader_of_another_name_is_told_to_use_that_of_the_recorder(names: tuple[Path, Path]) -> None:
    one, other = names
    with closing(Writer(one)):
        with pytest.raises(CassetteInUse, match="Read it under the recorder's name"):
            Store.open(other)
        with closing(Store.open(one)) as store:
            assert store.is_being_recorded
    with closing(Store.open(other)) as store:
        assert not store.is_being_recorded


def test_what_a_killed_recorder_left_is_appended_to_only_beside_its_log(tmp_path: Path) -> None:
    path, other = tmp_path / "a.db", tmp_path / "b.db"
    with another_recorder(path):
        pass
    os.link(path, other)
    with pytest.raises(NotACassette, match="was left by a killed recorder and has another name"):
        Writer(other)
    Writer(path).close()
    Writer(other).close()


def held_by_sqlite(path: Path) -> bool:
    """Whether another process finds SQLite's shared lock on a file."""
    script = (
        "import fcntl, os, sys\n"
        "file = os.open(sys.argv[1], os.O_RDWR)\n"
        "try: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)\n"
        "except BlockingIOError: print('held')"
    )
    return subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=True).stdout == b"held\n"


def test_a_readers_lock_outlives_a_recorder_of_the_same_process_and_every_look_at_the_file(
    names: tuple[Path, Path],
) -> None:
    one, other = names
    writer = Writer(one)
    with closing(Store.open(one)) as store:
        assert store.is_being_recorded
        writer.close()
        for path in names:
            assert not recorder_is_alive(path)
            Store.open(path).close()
        assert held_by_sqlite(one)
        with another_recorder(one):
            assert recorder_is_alive(other)
            with pytest.raises(CassetteInUse):
                Writer(other)
            assert held_by_sqlite(one)
    assert not held_by_sqlite(one)


def test_a_reader_that_is_never_closed_is_not_counted_once_it_is_gone(names: tuple[Path, Path]) -> None:
    """The number of its file may be given to another one, which need not be a database."""
    reader = lock.connect(names[0], "ro")
    assert lock.in_use(lock.identity(names[1]))
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        del reader
        gc.collect()
    assert not lock.in_use(lock.identity(names[1]))


def test_no_descriptor_of_a_lock_stays_open(names: tuple[Path, Path]) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(3):
        with closing(Writer(names[0])), closing(Store.open(names[0])):
            for path in names:
                assert recorder_is_alive(path)
                with pytest.raises(CassetteInUse):
                    Writer(path)
    assert len([*Path("/proc/self/fd").iterdir()]) == before
