"""The index beside a cassette: what is in it, and when it is not used."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from omnirecord.analysis.search import Found, search
from omnirecord.cassette.sqlite import Store, Writer, rows
from omnirecord.cassette.sqlite.search_index import VERSION, path_beside
from omnirecord.model import Recording
from tests.analysis.search.test_search import ROOT, always_a_file, places, talk
from tests.cassette.sqlite.test_store import another_recorder
from tests.support.cassettes import delta, status

__all__ = ["always_a_file"]


def indexed(path: Path, query: str = "word") -> Found:
    """Search, with an index beside the cassette."""
    found = search(path, query)
    assert path_beside(path).exists()
    return found


def contents(folder: Path) -> dict[str, str]:
    """Every file that is no index."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if not path.name.endswith(("-search", "-search-journal", "-shm"))
    }


def test_a_small_cassette_leaves_no_file_behind(tmp_path: Path) -> None:
    path = talk(delta("word")).save(tmp_path / "a.db")
    search(path, "word")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("always_a_file")
def test_a_search_changes_no_byte_of_a_cassette(tmp_path: Path) -> None:
    path = talk(delta("word")).save(tmp_path / "a.db")
    before = contents(tmp_path)
    assert indexed(path).total == 1
    assert contents(tmp_path) == before
    assert path_beside(path).stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("always_a_file")
def test_an_index_that_has_all_is_not_touched(tmp_path: Path) -> None:
    path = talk(delta("word")).save(tmp_path / "a.db")
    os.utime(path, (1, 1))
    indexed(path)
    before = path_beside(path).read_bytes()
    assert indexed(path).total == 1
    assert path_beside(path).read_bytes() == before


def more(path: Path, *said: bytes) -> None:
    """Another recording, as the proxy would append it."""
    with closing(Writer(path)) as writer:
        number, exchange, stream = (writer.last_number(what) + 1 for what in ("recording", "exchange", "stream"))
        tape = talk(*said)
        made = list(tape.rows())[1:]
        writer.write([rows.recording(Recording(number, "2026-01-03T00:00:00+00:00", "0", "omnigent", None))])
        for statement, values in made:
            writer.connection.execute(*_moved(statement, values, number, exchange, stream))


def _moved(statement: str, values: tuple[Any, ...], recording: int, exchange: int, stream: int) -> tuple[str, Any]:
    changed = list(values)
    if statement.startswith("INSERT INTO exchanges"):
        changed[:2] = exchange, recording
    elif "frames" in statement:
        changed[0] = stream
    elif statement.startswith("UPDATE exchanges SET kind"):
        changed[1], changed[-1] = stream, exchange
    elif statement.startswith("UPDATE"):
        changed[-1] = exchange
    else:
        changed[0] = exchange
    return statement, changed


@pytest.mark.usefixtures("always_a_file")
def test_only_what_was_appended_is_indexed(tmp_path: Path) -> None:
    path = talk(*[status("word")] * 30).save(tmp_path / "a.db")
    taken: list[int] = []

    def counted(query: str) -> Found:
        def watch(steps: Any) -> Any:
            for step in steps:
                taken.append(step)
                yield step

        return search(path, query, watch=watch)

    assert counted("word").total == 30
    more(path, delta("wo"), delta("rd"))
    found = counted("word")
    assert (found.total, found.hits[-1].row["recording"]) == (20 + 11, 1)
    assert counted("word").total == 31
    assert taken == [30, 2]


@pytest.mark.usefixtures("always_a_file")
@pytest.mark.parametrize("how", ["replaced", "written over", "edited"])
def test_a_cassette_that_became_another_is_indexed_anew(tmp_path: Path, how: str) -> None:
    path = talk(delta("needle")).save(tmp_path / "a.db")
    os.utime(path, (1, 1))
    indexed(path)
    other = talk(delta("else")).save(tmp_path / "b.db")
    if how == "replaced":
        other.replace(path)
    elif how == "written over":
        shutil.copyfile(other, path)
    else:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                "UPDATE read_blocks SET data = CAST(replace(CAST(data AS TEXT), 'needle', 'else  ') AS BLOB)"
            )
    assert (indexed(path, "needle").total, indexed(path, "else").total) == (0, 1)
    assert b"needle" not in path_beside(path).read_bytes(), "nor is what was there before left in free pages"


@pytest.mark.usefixtures("always_a_file")
@pytest.mark.parametrize("odd", [b"", b"junk" * 2000, "older", "newer", "torn"])
def test_an_index_that_is_none_or_of_another_version_is_no_hindrance(tmp_path: Path, odd: bytes | str) -> None:
    path = talk(delta("word")).save(tmp_path / "a.db")
    beside = path_beside(path)
    if isinstance(odd, bytes):
        beside.write_bytes(odd)
    else:
        indexed(path)
        with closing(sqlite3.connect(beside)) as connection, connection:
            if odd == "torn":
                connection.execute("UPDATE texts SET marks = x'00'")
            connection.execute(f"PRAGMA user_version = {VERSION + {'older': -1, 'newer': 1, 'torn': 0}[odd]}")
    assert search(path, "word").total == 1
    assert search(path, "word").total == 1


@pytest.mark.usefixtures("always_a_file")
@pytest.mark.parametrize(
    "script",
    [
        "CREATE TRIGGER t AFTER INSERT ON docs BEGIN DELETE FROM done; END",
        "CREATE VIEW mine AS SELECT * FROM docs",
        "DROP TABLE docs; CREATE VIEW docs AS SELECT 1",
        "DROP TABLE texts; CREATE VIRTUAL TABLE texts USING fts5(id, text, marks)",
        "CREATE TABLE more (n)",
    ],
)
def test_an_index_that_is_not_as_we_make_it_is_not_used_and_left_as_it_is(tmp_path: Path, script: str) -> None:
    path = talk(delta("word")).save(tmp_path / "a.db")
    indexed(path)
    with closing(sqlite3.connect(path_beside(path))) as connection:
        connection.executescript(script)
    before = path_beside(path).read_bytes()
    assert search(path, "word").total == 1
    assert path_beside(path).read_bytes() == before


@pytest.mark.usefixtures("always_a_file")
def test_a_link_or_a_foreign_journal_in_place_of_an_index_leads_nowhere(tmp_path: Path) -> None:
    path, victim = talk(delta("word")).save(tmp_path / "a.db"), tmp_path / "victim"
    beside = path_beside(path)
    beside.symlink_to(victim)
    assert search(path, "word").total == 1
    assert not victim.exists()
    beside.unlink()
    journal = beside.with_name(f"{beside.name}-journal")
    journal.write_bytes(b"x" * 600 + bytes.fromhex("d9d505f920a163d7"))
    assert search(path, "word").total == 1
    assert journal.exists()


@pytest.mark.usefixtures("always_a_file")
def test_a_database_of_somebody_elses_is_left_as_it_is(tmp_path: Path) -> None:
    path = talk(delta("word")).save(tmp_path / "a.db")
    with closing(sqlite3.connect(path_beside(path))) as connection, connection:
        connection.execute("CREATE TABLE precious (a)")
    before = path_beside(path).read_bytes()
    assert search(path, "word").total == 1
    assert path_beside(path).read_bytes() == before


@pytest.mark.usefixtures("always_a_file")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_folder_that_may_not_be_written_is_searched(tmp_path: Path) -> None:
    path = talk(delta("word")).save(tmp_path / "a.db")
    tmp_path.chmod(0o500)
    try:
        assert search(path, "word").total == 1
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.usefixtures("always_a_file")
def test_a_cassette_that_is_being_recorded_is_searched_and_its_recorder_not_held_up(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with another_recorder(path):
        before = contents(tmp_path)
        assert places(search(path, "helloworld")) == [(1, 2)], "the recorder has made no frames of the second word"
        assert contents(tmp_path) == before
    assert search(path, "helloworld").total == 1
    with closing(Writer(path)):
        assert search(path, "helloworld").total == 1


@pytest.mark.usefixtures("always_a_file")
def test_a_recorder_starts_and_writes_while_somebody_indexes(tmp_path: Path) -> None:
    path = talk(*[status("word")] * 9000).save(tmp_path / "a.db")

    def watch(steps: Any) -> Any:
        for step in steps:
            begun = time.monotonic()
            more(path, status("word"))
            waits.append(time.monotonic() - begun)
            yield step

    waits: list[float] = []
    assert search(path, "word", watch=watch).total == 9000
    assert len(waits) == 3
    assert max(waits) < 0.5
    assert search(path, "word").total == 9003


SEARCHING = """
import sys, time
from pathlib import Path
from omnirecord.analysis import search
search.WORTH_A_FILE = 0
def watch(steps):
    for step in steps:
        print("step", flush=True)
        yield step
print(search.search(Path(sys.argv[1]), "word", watch=watch).total, flush=True)
"""


def searching(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(SEARCHING), str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.usefixtures("always_a_file")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_search_that_was_stopped_in_the_middle_is_gone_on_with(tmp_path: Path, how: signal.Signals) -> None:
    path = talk(*[status("word")] * 6_000).save(tmp_path / "a.db")
    os.utime(path, (1, 1))
    with searching(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(how)
    taken: list[int] = []
    found = search(path, "word", watch=lambda steps: (taken.append(step) or step for step in steps))  # type: ignore[func-returns-value]
    assert found.total == 6_000
    assert sum(taken) < 6_000, "what was indexed is not indexed again"


@pytest.mark.slow
@pytest.mark.usefixtures("always_a_file")
def test_two_searches_at_once_find_the_same(tmp_path: Path) -> None:
    path = talk(*[status("word")] * 6_000).save(tmp_path / "a.db")
    with searching(path) as one, searching(path) as other:
        assert {process.communicate()[0].split()[-1] for process in (one, other)} == {"6000"}
    assert indexed(path).total == 6_000


@pytest.mark.usefixtures("always_a_file")
def test_frames_that_the_recorder_did_not_make_are_made_once_however_many_steps_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = talk(*[status(f"word {number}") for number in range(60)]).save(tmp_path / "a.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript("DELETE FROM frame_blocks; DELETE FROM landmarks; DELETE FROM tallies")
    made: list[int] = []

    def counted(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is Store._framer.__code__:
            made[-1] += 1

    for step, limit in ((1000, 1), (7, 1), (7, 60)):
        monkeypatch.setattr("omnirecord.analysis.search._STEP", step)
        made.append(0)
        sys.setprofile(counted)
        try:
            found = search(path, "word", limit=limit)
        finally:
            sys.setprofile(None)
        assert found.total == 60
        assert len({hit.row["seq"] for hit in found.hits}) == limit
        path_beside(path).unlink()
    assert made[0] == made[1] == made[2] > 0
