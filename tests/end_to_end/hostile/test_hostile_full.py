"""A full disk while a file is written: one sentence that names it, exit code 2, and no half file."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from omnirecord.cassette.open import import_file, open_store
from tests.end_to_end.hostile.disks import fill, small_disk
from tests.support.cassettes import HEALTHY
from tests.support.forked import Done, patched, run

WRITERS: dict[str, tuple[str, ...]] = {
    "s.db": ("scrub",), "s.db.zst": ("scrub",), "s.jsonl": ("scrub",), "s.jsonl.zst": ("scrub",),
    "x.db.zst": ("export",), "x.jsonl": ("export",), "x.jsonl.zst": ("export",),
    "x.html": ("export", "--redact", "none"), "x.sse": ("export",), "x.json": ("export", "--format", "datasette"),
}  # fmt: skip
LEFT = (0, 8192, 90112)
"""Bytes that are free: where it fails differs."""


@pytest.fixture(scope="module")
def cassette(tmp_path_factory: pytest.TempPathFactory) -> Path:
    db = tmp_path_factory.mktemp("cassette") / "a.db"
    import_file(HEALTHY["text"], db)
    return db


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("here") / "disk", "1m") as folder:
        yield folder


def is_one_sentence(done: Done, *names: Path) -> bool:
    said = done.errors.decode()
    return (
        done.code == 2 and said.startswith("Error: ") and said.count("\n") == 1 and "damaged" not in said
        and all(str(name) in said for name in names)
    )  # fmt: skip


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_and_nothing_is_left_on_it(name: str, left: int, cassette: Path, disk: Path) -> None:
    output = disk / name
    filler = fill(disk, left)
    try:
        done = run([*WRITERS[name], cassette, "-o", output])
        if done.code == 0:
            assert left > 0
            output.unlink()
        else:
            assert is_one_sentence(done, output, disk), done.errors
            assert f"the file system at {disk} is full" in done.errors.decode()
        assert [path.name for path in disk.iterdir()] == ["filler"]
    finally:
        filler.unlink()


def test_a_file_that_is_there_stays_as_it_was(cassette: Path, disk: Path) -> None:
    (disk / "x.jsonl").write_bytes(b"old")
    filler = fill(disk)
    try:
        assert run(["export", cassette, "-o", disk / "x.jsonl"]).code == 2
        assert (disk / "x.jsonl").read_bytes() == b"old"
    finally:
        filler.unlink()
        (disk / "x.jsonl").unlink()


PROXY = ("proxy", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0")


@pytest.mark.parametrize(("words", "left"), [*((("import", HEALTHY["text"]), left) for left in LEFT), (PROXY, 4096)])
def test_a_new_cassette_is_there_as_a_whole_or_not_at_all(words: tuple[str, ...], left: int, disk: Path) -> None:
    filler = fill(disk, left)
    try:
        done = run([*words, "--db", disk / "i.db"])
        assert is_one_sentence(done, disk / "i.db", disk), done.errors
        assert [path.name for path in disk.iterdir()] == ["filler"]
    finally:
        filler.unlink()


def test_import_leaves_a_cassette_that_is_there_as_it_was(disk: Path) -> None:
    db = disk / "i.db"
    import_file(HEALTHY["text"], db)
    size = db.stat().st_size
    filler = fill(disk, 16384)
    try:
        done = run(["import", HEALTHY["approval"], "--db", db])
        assert is_one_sentence(done, db, disk), done.errors
        with closing(open_store(db)) as store:
            assert len(store.recordings()) == 1
        assert db.stat().st_size == size
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "i.db"]
    finally:
        filler.unlink()
        db.unlink()


@pytest.mark.parametrize("words", [("serve",), ("ls",), ("import",)])
def test_a_full_temporary_folder_is_named_where_a_cassette_is_unpacked(
    words: tuple[str, ...], disk: Path, tmp_path: Path
) -> None:
    """One that is unpacked into memory up to a limit, and into a file beyond it; the limit is lowered."""
    packed = tmp_path / "a.db.zst"
    db = tmp_path / "a.db"
    import_file(HEALTHY["text"], db)
    assert run(["export", db, "-o", packed]).code == 0
    command = [*words, packed, *(["--db", tmp_path / "b.db"] if words == ("import",) else [])]
    lowered, environment = patched("omnirecord.cassette.sqlite.opening.IN_MEMORY", 4096), {"TMPDIR": str(disk)}
    filler = fill(disk, 8192)
    try:
        done = run(command, environment=os.environ | environment, before=[lowered])
        assert is_one_sentence(done, packed, disk), done.errors
        assert b"set TMPDIR" in done.errors
        assert [path.name for path in disk.iterdir()] == ["filler"]
        assert not (tmp_path / "b.db").exists()
    finally:
        filler.unlink()


@pytest.mark.parametrize("name", [*WRITERS, "import"])
def test_a_limit_on_the_size_of_files_is_a_sentence_too(name: str, cassette: Path, tmp_path: Path) -> None:
    """EFBIG, which SQLite calls an I/O error; a quota comes about in the same way. It needs no root. The limit is for
    stderr too, which is a file here."""
    output = tmp_path / name
    words = ["import", HEALTHY["text"], "--db"] if name == "import" else [*WRITERS[name], cassette, "-o"]
    done = run([*words, output], before=[partial(resource.setrlimit, resource.RLIMIT_FSIZE, (1000, 1000))])
    assert is_one_sentence(done, output), done.errors
    assert b"ulimit -f" in done.errors
    assert list(tmp_path.iterdir()) == []


def started(words: tuple[str, ...], folder: Path, stdout: Path) -> Done:
    """`run`, but with a new Python."""
    with stdout.open("ab") as file:
        command = [sys.executable, "-m", "omnirecord", *words]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, cwd=folder, check=False)
    return Done(done.returncode, b"", done.stderr)


@pytest.mark.parametrize(
    ("words", "is_forked"),
    [
        (("--help",), False), (("events", "a.db", "--json"), False), (("ls", "--help"), True), (("--version",), True),
        (("ls", "a.db"), True), (("export", "a.db", "--format", "jsonl"), True), (("scrub", "--check", "a.db"), True),
    ],
)  # fmt: skip
def test_a_full_stdout_is_a_sentence(words: tuple[str, ...], is_forked: bool, cassette: Path) -> None:
    """`/dev/full` refuses every write as a full disk does. It is opened for writing only. Two commands flush at their
    end, as a process does that Python has started; a forked one flushes each line."""
    folder, full = cassette.parent, Path("/dev/full")
    done = run(words, folder, stdout=full) if is_forked else started(words, folder, full)
    assert done.code == 2
    said = "cannot write the output: No space left on device"
    if "--json" in words:
        assert json.loads(done.errors) == {"error": said, "exit_code": 2}
    else:
        assert done.errors.decode() == f"Error: {said}\n"
