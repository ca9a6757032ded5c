"""Output paths that name no regular file: each is written to, and none is replaced. No test touches a real device."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from omnirecord.cassette.open import import_file, open_store
from tests.support.cassettes import HEALTHY
from tests.support.forked import Done, on_a_terminal, run
from tests.support.nobody import NOBODY, is_readable_as_nobody

COMMANDS: dict[str, tuple[str, ...]] = {
    "jsonl": ("export", "--format", "jsonl"), "sse": ("export", "--format", "sse", "--stream", "1"),
    "html": ("export", "--format", "html", "--redact", "none"), "datasette": ("export", "--format", "datasette"),
    "a database, scrubbed": ("scrub",),
}  # fmt: skip


@pytest.fixture(scope="module")
def cassette(tmp_path_factory: pytest.TempPathFactory) -> Path:
    db = tmp_path_factory.mktemp("cassette") / "a.db"
    import_file(HEALTHY["text"], db)
    return db


def written(command: str, cassette: Path, output: Path) -> Done:
    return run([*COMMANDS[command], cassette, "-o", output])


@contextmanager
def read_from(fifo: Path) -> Iterator[Callable[[], bytes]]:
    """What comes out of a FIFO."""
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()), daemon=True)
    reader.start()

    def all_of_it() -> bytes:
        reader.join(10)
        return got[0]

    yield all_of_it


@pytest.mark.parametrize("command", COMMANDS)
def test_a_fifo_gets_the_bytes_and_stays_a_fifo(command: str, cassette: Path, tmp_path: Path) -> None:
    fifo, file = tmp_path / "fifo", tmp_path / "file"
    os.mkfifo(fifo)
    with read_from(fifo) as came:
        done = written(command, cassette, fifo)
        assert (done.code, done.errors) == (0, b"")
        assert stat.S_ISFIFO(fifo.lstat().st_mode), "it was replaced by a file"
        data = came()
    if command == "a database, scrubbed":
        file.write_bytes(data)
        with closing(open_store(file)) as store:
            assert len(store.streams()) == 1
    else:
        assert written(command, cassette, file).code == 0
        assert data == file.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} <= {"fifo", "file"}


def test_a_compressed_cassette_goes_into_a_fifo_too(cassette: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.db.zst"
    os.mkfifo(fifo)
    with read_from(fifo) as came:
        assert run(["export", cassette, "-o", fifo]).code == 0
        (tmp_path / "a.db.zst").write_bytes(came())
    with closing(open_store(tmp_path / "a.db.zst")) as store:
        assert len(store.streams()) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_device_stays_a_device_and_a_link_to_it_a_link(command: str, cassette: Path, tmp_path: Path) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        null.open("wb").close()
    except OSError as error:
        pytest.skip(f"no device can be made here: {error.strerror}")
    (tmp_path / "link").symlink_to(null)
    for output in (null, tmp_path / "link"):
        assert written(command, cassette, output).code == 0
    assert stat.S_ISCHR(null.lstat().st_mode)
    assert (tmp_path / "link").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"null", "link"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_of_stdout_is_written_to_and_what_is_told_goes_to_stderr(
    command: str, cassette: Path, tmp_path: Path
) -> None:
    """As `-o /dev/stdout >> FILE`, by a link of the test's own: what the file had stays, and the bytes follow it."""
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    (tmp_path / "file").write_bytes(b"before\n")
    done = run([*COMMANDS[command], cassette, "-o", tmp_path / "stdout"], stdout=tmp_path / "file")
    assert done.code == 0
    assert b"wrote" in done.errors
    data = (tmp_path / "file").read_bytes()
    assert data.startswith(b"before\n")
    assert b"wrote" not in data[-100:]
    assert len(data) > 1000 or command == "datasette"
    assert (tmp_path / "stdout").is_symlink()


def test_process_substitution_of_a_shell_gets_the_bytes(cassette: Path, tmp_path: Path) -> None:
    script = f'"{sys.executable}" -m omnirecord export "$1" --format jsonl -o >(cat > "$2"); wait $!'
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(cassette), str(tmp_path / "copy")], capture_output=True, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "copy").read_bytes().startswith(b'{"omnirecord": 1')


def test_a_reader_that_goes_away_ends_it_as_it_ends_other_tools(tmp_path: Path) -> None:
    fifo, large = tmp_path / "fifo", tmp_path / "large.db"
    os.mkfifo(fifo)
    for _ in range(4):
        import_file(HEALTHY["text"], large)
    threading.Thread(target=lambda: fifo.open("rb").close(), daemon=True).start()
    done = written("jsonl", large, fifo)
    assert (done.code, done.errors) == (141, b"")


def test_a_terminal_is_not_given_what_it_may_act_upon(cassette: Path, tmp_path: Path) -> None:
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    shown, code = on_a_terminal("export", cassette, "--format", "jsonl", "-o", tmp_path / "stdout")
    assert code == 2
    assert "is a terminal" in shown
    assert "recordings" not in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_a_link_is_followed_and_stays(command: str, cassette: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link, dangling = tmp_path / "there/target", tmp_path / "link", tmp_path / "dangling"
    target.write_bytes(b"old")
    link.symlink_to("there/target")
    dangling.symlink_to("there/new")
    for output in (link, dangling):
        assert written(command, cassette, output).code == 0
        assert output.is_symlink()
        assert output.stat().st_size > 100
    assert {path.name for path in (tmp_path / "there").iterdir()} == {"target", "new"}
    assert {path.name for path in tmp_path.iterdir()} == {"there", "link", "dangling"}


def test_an_existing_file_keeps_its_mode_and_owner(cassette: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 1234, 4321)
    before = file.stat()
    assert written("jsonl", cassette, file).code == 0
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert written("jsonl", cassette, tmp_path / "new").code == 0
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "Is a directory"), ("missing/file", "No such file"), ("a.db/file", "Not a directory"),
        ("circle", "in a circle"), ("socket", "socket"), ("stray", "No such file"), ("x" * 300, "name too long"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["jsonl", "a database, scrubbed"])
def test_what_cannot_be_written_is_a_sentence(
    command: str, name: str, said: str, cassette: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.db").write_bytes(b"file")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "stray").symlink_to("nowhere/file")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        here = os.open(".", os.O_RDONLY)
        try:
            os.chdir(tmp_path)  # the path of a socket is short
            listener.bind("socket")
        finally:
            os.fchdir(here)
            os.close(here)
        before = {path.name for path in tmp_path.iterdir()}
        done = written(command, cassette, tmp_path / name)
    assert done.code == 2
    assert done.errors.startswith(b"Error: cannot write ")
    assert done.errors.count(b"\n") == 1
    assert said in done.errors.decode()
    assert {path.name for path in tmp_path.iterdir()} == before


@is_readable_as_nobody
@pytest.mark.skipif(os.geteuid() != 0, reason="another user can only be taken on by root")
@pytest.mark.parametrize("command", ["jsonl", "a database, scrubbed"])
def test_a_file_without_write_permission_is_not_replaced(command: str) -> None:
    """The folder may be written to, so that a rename would do it."""
    with tempfile.TemporaryDirectory() as name:  # which every user can reach
        folder = Path(name)
        folder.chmod(0o777)
        copy, file = folder / "a.jsonl", folder / "file"
        copy.write_bytes(HEALTHY["text"].read_bytes())
        copy.chmod(0o644)
        file.write_bytes(b"old")
        file.chmod(0o444)
        nobody = [partial(os.setgid, NOBODY), partial(os.setuid, NOBODY)]
        done = run([*COMMANDS[command], copy, "-o", file], before=nobody)
        assert done.code == 2, done.errors
        assert b"cannot write" in done.errors
        assert b"Permission denied" in done.errors
        assert file.read_bytes() == b"old"


@pytest.mark.parametrize("how", [os.link, os.symlink])
def test_another_name_of_the_cassette_is_the_cassette(how: Callable[[Path, Path], None], tmp_path: Path) -> None:
    text = tmp_path / "a.jsonl"
    text.write_bytes(HEALTHY["text"].read_bytes())
    how(text, tmp_path / "other.jsonl")
    for words in (["export", "--format", "jsonl"], ["scrub"]):
        done = run([*words, text, "-o", tmp_path / "other.jsonl"])
        assert done.code == 2
        assert b"is the cassette itself" in done.errors
    assert text.read_bytes() == HEALTHY["text"].read_bytes()


@pytest.mark.parametrize("words", [("import", HEALTHY["text"]), ("proxy", "--upstream", "http://127.0.0.1:1")])
def test_a_database_needs_a_file(words: tuple[str | Path, ...], tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.db"
    os.mkfifo(fifo)
    (tmp_path / "circle.db").symlink_to("circle.db")
    listen = ["--listen", "127.0.0.1:0"] if words[0] == "proxy" else []
    for name, said in (("fifo.db", b"is a pipe or a device: name a file"), ("circle.db", b"leads in a circle")):
        done = run([*words, *listen, "--db", tmp_path / name])
        assert (done.code, done.errors.count(b"\n")) == (2, 1)
        assert said in done.errors
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    assert {path.name for path in tmp_path.iterdir()} == {"fifo.db", "circle.db"}


@pytest.mark.parametrize("ending", ["-wal", "-journal", "-shm"])
def test_a_pipe_that_sqlite_would_remove_beside_a_new_cassette_is_refused(ending: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"a.db{ending}")
    done = run(["import", HEALTHY["text"], "--db", tmp_path / "a.db"])
    assert done.code == 2
    assert b"is a link, a pipe or a folder" in done.errors
    assert [path.name for path in tmp_path.iterdir()] == [f"a.db{ending}"]


def test_a_dangling_link_is_where_the_cassette_is_made(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("made.db")
    assert run(["import", HEALTHY["text"], "--db", tmp_path / "link.db"]).code == 0
    with closing(open_store(tmp_path / "made.db")) as store:
        assert len(store.streams()) == 1
    assert (tmp_path / "link.db").is_symlink()


def test_scrub_removes_no_pipe_or_folder_in_the_place_of_an_index(cassette: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.db-search")
    (tmp_path / "b.db-search").mkdir()
    (tmp_path / "c.db-search").symlink_to("a.db-search")
    for name in ("a.db", "b.db", "c.db"):
        assert run(["scrub", cassette, "-o", tmp_path / name]).code == 0
        assert os.path.lexists(tmp_path / f"{name}-search")
