"""A database that a stranger made runs nothing when it is read or appended to, and deletes nothing."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, nullcontext, suppress
from pathlib import Path

import pytest

from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Writer, rows
from omnirecord.errors import BrokenCassette, CassetteError, NotACassette
from omnirecord.recorder.thread import RecorderThread
from omnirecord.replayer.server import Replay
from tests.cassette.test_hostile_cassettes import read_all
from tests.support import forked
from tests.support.cassettes import conversation
from tests.support.examples import each

ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT"
HUGE = "zeroblob(1000000000)"
READ = {
    "an endless view": f"DROP TABLE frame_blocks; CREATE VIEW frame_blocks AS {ENDLESS} 1 AS stream, n AS seq, 1"
    " AS frames, 0 AS start, 1 AS length, 0 AS read, 0 AS offset_ns, '[1]' AS ends, '[0]' AS reads, '[0]' AS times,"
    " '[\"x\"]' AS types, NULL AS kinds, NULL AS verdicts, NULL AS more FROM r;",
    "an endless view for recordings": f"DROP TABLE recordings; CREATE VIEW recordings AS {ENDLESS} n AS recording,"
    " '2026-01-01' AS started_at, '1' AS version, 'omnigent' AS contract, NULL AS upstream FROM r;",
    "an endless view for meta": f"DROP TABLE meta; CREATE VIEW meta AS {ENDLESS} n AS key, n AS value FROM r;",
    "a view of a view": "ALTER TABLE read_blocks RENAME TO other; CREATE VIEW read_blocks AS SELECT * FROM other;",
    "a virtual table": "DROP TABLE frame_blocks; CREATE VIRTUAL TABLE frame_blocks USING fts5(stream, seq, frames,"
    " start, length, read, offset_ns, ends, reads, times, types, kinds, verdicts, more);",
    "a virtual table for landmarks": "DROP TABLE landmarks; CREATE VIRTUAL TABLE landmarks USING rtree(a, b, c);",
    "computed columns": "DROP TABLE messages; CREATE TABLE messages (exchange, message, at_ns, sent_ns, dir, opcode,"
    f" data AS ({HUGE}));",
    "stored computed columns": "DROP TABLE messages; CREATE TABLE messages (exchange, message, at_ns, sent_ns, dir,"
    " opcode, data AS (zeroblob(10)) STORED);",
}


def crafted(folder: Path, script: str) -> Path:
    path = conversation().save(folder / "a.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


@each("name", READ)
def test_what_is_no_plain_table_is_not_read(name: str, tmp_path: Path) -> None:
    path = crafted(tmp_path, READ[name])
    began = time.monotonic()
    with pytest.raises(BrokenCassette, match=r"a\.db is damaged \(\w+ (is a|has columns that)"):
        open_store(path)
    with pytest.raises(CassetteError):
        asyncio.run(served(path))
    with pytest.raises(CassetteError):
        append(path)
    assert time.monotonic() - began < 5


async def served(path: Path) -> None:
    async with Replay(path, timing="instant"):
        pass


def test_views_and_tables_of_other_names_are_let_alone(tmp_path: Path) -> None:
    """As the tools that people use with SQLite make them."""
    more = "CREATE TABLE notes (note); CREATE VIEW mine AS SELECT * FROM frame_blocks;"
    more += " CREATE INDEX by_note ON notes(note);"
    endless = f"CREATE VIEW endless AS {ENDLESS} n FROM r; DROP VIEW events; CREATE VIEW events AS {ENDLESS} n FROM r;"
    path = crafted(tmp_path, more + endless)
    with closing(open_store(path)) as store:
        read_all(store)


WRITE = {
    "a trigger that drops": "CREATE TRIGGER t BEFORE INSERT ON incidents BEGIN SELECT raise(IGNORE); END;",
    "a trigger that changes": "CREATE TRIGGER t AFTER INSERT ON incidents BEGIN DELETE FROM frame_blocks; END;",
    "a trigger that grows": "CREATE TRIGGER t AFTER UPDATE ON exchanges BEGIN INSERT INTO incidents VALUES (1, 1, hex("
    f"{HUGE})); END;",
    "an index that refuses": "CREATE UNIQUE INDEX i ON incidents(recording);",
    "an index that computes": f"CREATE INDEX i ON incidents(length(message || {HUGE}));",
    "a table that swallows": "DROP TABLE incidents; CREATE TABLE incidents (recording INTEGER NOT NULL UNIQUE ON"
    " CONFLICT IGNORE, at_ns INTEGER NOT NULL, message TEXT NOT NULL);",
    "a table that computes": "DROP TABLE incidents; CREATE TABLE incidents (recording INTEGER NOT NULL, at_ns INTEGER"
    f" NOT NULL, message TEXT NOT NULL CHECK (length({HUGE}) > 0));",
    "one index less": "DROP INDEX chunks_by_place;",
}


@each("name", WRITE)
def test_what_would_run_when_it_is_written_to_is_not_appended_to(name: str, tmp_path: Path) -> None:
    path = crafted(tmp_path, WRITE[name])
    before = path.read_bytes()
    with pytest.raises(NotACassette, match=r"a\.db cannot be appended to: .*Export it as \.jsonl"):
        Writer(path)
    assert path.read_bytes() == before
    with closing(open_store(path)) as store:
        read_all(store)


def test_a_reader_cannot_write_or_attach(tmp_path: Path) -> None:
    with closing(open_store(conversation().save(tmp_path / "a.db"))) as store:
        for statement in ("DELETE FROM frame_blocks", f"ATTACH '{tmp_path / 'b.db'}' AS b", "CREATE TABLE x (y)"):
            with pytest.raises(sqlite3.OperationalError):
                store._connection.execute(statement)
        for pragma, value in (("trusted_schema", 0), ("query_only", 1), ("cell_size_check", 1)):
            assert store._connection.execute(f"PRAGMA {pragma}").fetchone() == (value,)
    assert not (tmp_path / "b.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "says"),
    [
        pytest.param("UPDATE chunks SET data = zeroblob(300000000);", "too big", marks=pytest.mark.long),
        ("UPDATE read_blocks SET data = zeroblob(300000000);", "too big"),
    ],
)
def test_a_value_that_is_too_large_is_not_read(script: str, says: str, tmp_path: Path) -> None:
    path = crafted(tmp_path, script)
    code = (
        "import re, resource, omnirecord.cassette.export, omnirecord.cassette.open\nfrom omnirecord.cli import main\n"
        "room = int(re.search(r'VmSize:\\s*(\\d+)', open('/proc/self/status').read())[1]) * 1024 + 250_000_000\n"
        "resource.setrlimit(resource.RLIMIT_AS, (room, room))\n"
        f"main(['export', {str(path)!r}, '--format', 'jsonl', '-o', {str(tmp_path / 'a.jsonl')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr


def hot_journal(path: Path, victim: Path) -> None:
    """Leave a journal beside it as a program that was killed would, which names `victim` as the one of a transaction
    over several files: SQLite deletes that when it rolls back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("PRAGMA cache_size = 1; BEGIN; UPDATE frame_blocks SET ends = ends || ' ';")
        connection.execute("INSERT INTO chunks SELECT 1, 'request', 0, zeroblob(100000) FROM frame_blocks")
        journal = path.with_name(path.name + "-journal").read_bytes()
        connection.execute("ROLLBACK")
    name, page = os.fsencode(victim), (0x40000000 // 4096 + 1).to_bytes(4, "big")
    ending = len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + bytes.fromhex("d9d505f920a163d7")
    path.with_name(path.name + "-journal").write_bytes(journal + page + name + ending)


def test_a_journal_that_names_another_file_deletes_nothing(tmp_path: Path) -> None:
    path, victim = conversation().save(tmp_path / "a.db"), tmp_path / "victim"
    victim.write_text("precious")
    hot_journal(path, victim)
    with pytest.raises(NotACassette, match=r"a\.db-journal names another file"):
        Writer(path)
    with closing(open_store(path)) as store:
        store.exchanges()
    assert victim.read_text() == "precious"
    with closing(sqlite3.connect(path)) as connection:  # the attack is one
        connection.execute("SELECT count(*) FROM frame_blocks").fetchone()
    assert not victim.exists()


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal", "-lock"])
def test_a_link_beside_it_is_not_followed(ending: str, tmp_path: Path) -> None:
    path, victim = conversation().save(tmp_path / "a.db"), tmp_path / "victim"
    victim.write_text("precious" * 1000)
    (tmp_path / f"a.db{ending}").symlink_to(victim)
    for use in (open_and_read, append):
        with pytest.raises(CassetteError) if ending != "-lock" or use is append else nullcontext():
            use(path)
    assert victim.read_text() == "precious" * 1000


@pytest.mark.parametrize("ending", ["-lock", "-journal", "-wal"])
def test_a_pipe_beside_it_is_not_waited_for(ending: str, tmp_path: Path) -> None:
    path = conversation().save(tmp_path / "a.db")
    os.mkfifo(tmp_path / f"a.db{ending}")
    done = forked.run(["ls", path])
    assert done.code in (0, 2), done.errors
    assert b"Traceback" not in done.errors


def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.db")
    done = forked.run(["ls", tmp_path / "a.db"])
    assert (done.code, b"is a pipe or a device: name a file" in done.errors) == (2, True)


@each("seed", range(40))
def test_damaged_pages_are_damage_and_no_traceback(seed: int, tmp_path: Path) -> None:
    """Behind the first 100 bytes, which say what the file is, anything may stand."""
    dice = random.Random(seed)
    path = conversation().save(tmp_path / "a.db")
    data = bytearray(path.read_bytes())
    for _ in range(dice.choice((1, 5, 50))):
        at = dice.randrange(100, len(data))
        length = dice.choice((1, 2, 64, 4096))
        data[at : at + length] = dice.choice((b"\0", b"\xff", dice.randbytes(1))) * min(length, len(data) - at)
    path.write_bytes(data[: dice.choice((len(data), len(data), len(data) * 3 // 4))])
    for use in (open_and_read, append):
        with suppress(CassetteError):
            use(path)


def open_and_read(path: Path) -> None:
    with closing(open_store(path)) as store:
        read_all(store)


def append(path: Path) -> None:
    RecorderThread(path, None).stop()


def test_a_long_body_is_stored_in_pieces() -> None:
    body = os.urandom(1 << 20) * 40
    stored = list(rows.chunks(1, "request", 5, body))
    assert len(stored) == 3
    assert b"".join(values[3] for _, values in stored) == body
    assert [values[2] for _, values in stored] == [5, 5 + (16 << 20), 5 + (32 << 20)]
