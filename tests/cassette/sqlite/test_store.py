"""The SQLite cassette: made, refused, locked, killed, read while it grows, and closed as one clean file."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.cassette.framing import Framed, Framer
from omnirecord.cassette.sqlite import Store, Writer, is_sqlite, rows, stream_rows
from omnirecord.cassette.sqlite.lock import lock_path, recorder_is_alive
from omnirecord.cassette.sqlite.rows import Row
from omnirecord.errors import (
    BrokenCassette,
    CassetteError,
    CassetteInUse,
    NewerCassette,
    NotACassette,
    UsageError,
)
from omnirecord.model import Recording, TimedFrame
from omnirecord.omnigent.contract import load
from tests.support.cassettes import conversation, delta, heartbeat
from tests.support.examples import each, examples

OMNIGENT = load("omnigent")
BODY = heartbeat() + delta("Hello") + b": hi\r\r" + delta("world") + b"data: cut o"


def begun() -> list[Row]:
    """A stream that has only just been answered."""
    return [
        rows.recording(Recording(1, "2026-01-02T03:04:05+00:00", "0", "omnigent", None)),
        rows.request(1, 1, "sse", "s", "client", 5, "GET", "/v1/sessions/s/stream", ()),
        rows.response(1, "sse", 1, 6, 200, "OK", (("content-type", "text/event-stream"),)),
    ]


def received(reads: list[bytes], lost: list[int] | None = None) -> list[Row]:
    """What the recorder writes at once: reads and their bytes, in no frame yet."""
    pieces = stream_rows.ReadBlocks(1)
    made = []
    for n, data in enumerate(reads):
        is_lost = n in (lost or ())
        pieces.add(10 + n, None, len(data), None if is_lost else data, made)
    return made + list(pieces.close())


def framed(reads: list[bytes], lost: list[int] | None = None) -> list[Framed]:
    framer = Framer(None, OMNIGENT)
    made = [
        f for n, d in enumerate(reads) for f in (framer.skip(n, len(d)) if n in (lost or ()) else framer.feed(n, d))
    ]
    return made + framer.close()


def told(frames: list[Framed]) -> list[tuple[int, int, bytes | None, int, str]]:
    return [
        (seq, 10 + one.read, one.frame.raw, one.frame.length, one.judgement.verdict)
        for seq, one in enumerate(frames, 1)
    ]


def stored(frames: Iterator[TimedFrame]) -> list[tuple[int, int, bytes | None, int, str]]:
    return [(one.seq, one.offset_ns, one.raw, one.length, one.verdict) for one in frames]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith("-shm")}


def cut(data: bytes, every: int) -> list[bytes]:
    return [data[start:end] for start, end in pairwise([*range(0, len(data), every), len(data)])]


@contextmanager
def another_recorder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A recorder in a process of its own, which has written `BODY` in reads of 20 bytes, and two frames of it."""
    script = """
        import sys
        from pathlib import Path
        from omnirecord.cassette.sqlite import Writer, stream_rows
        from tests.cassette.sqlite.test_store import BODY, begun, cut, framed, received
        writer = Writer(Path(sys.argv[1]))
        reads = cut(BODY, 20)
        writer.write([*begun(), *received(reads)])
        first = framed(reads)[:2]
        writer.write(stream_rows.frame_blocks(1, first, lambda n: 10 + n))
        print("ready", flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    root = Path(__file__).parent.parent.parent.parent
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_cassettes_in_memory_share_nothing() -> None:
    one, other = Writer(None), Writer(None)
    one.write(begun())
    with closing(Store(one.connection)) as full, closing(Store(other.connection)) as empty:
        assert (len(full.recordings()), empty.recordings()) == (1, [])


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The file of a recorder that was killed with -9."""
    path = tmp_path / "killed" / "a.db"
    path.parent.mkdir()
    with another_recorder(path):
        pass
    return path


def test_a_cassette_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        with closing(Writer(tmp_path / "a.db")):
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(mask)

    assert modes == dict.fromkeys(["a.db", "a.db-lock", "a.db-wal", "a.db-shm"], 0o600)


def test_a_file_that_is_also_read_in_this_process_keeps_its_log(tmp_path: Path) -> None:
    """Another program that opens and closes it must not take itself for the last one."""
    path = tmp_path / "a.db"
    with closing(Writer(path)) as writer:
        writer.write(begun())
        assert is_sqlite(path)
        script = f"import sqlite3; sqlite3.connect({str(path)!r}).execute('SELECT count(*) FROM exchanges').fetchone()"
        subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)
        writer.write([rows.recording(Recording(2, "2026-01-02T03:04:06+00:00", "0", "omnigent", None))])
        with closing(Store.open(path)) as store:
            assert len(store.recordings()) == 2
        assert path.with_name("a.db-wal").exists()
    with closing(Store.open(path)) as store:
        assert len(store.recordings()) == 2


def test_opening_again_appends_and_never_overwrites(tmp_path: Path) -> None:
    path = conversation().save(tmp_path / "a.db")
    with closing(Store.open(path)) as store:
        before = store.exchanges()

    with closing(Writer(path)) as writer:
        assert [writer.last_number(what) for what in ("recording", "exchange", "stream")] == [1, len(before), 1]
        writer.write([rows.recording(Recording(2, "2026-01-02T03:04:06+00:00", "0", "omnigent", None))])
    with closing(Store.open(path)) as store:
        assert store.exchanges() == before
        assert [one.recording for one in store.recordings()] == [1, 2]


def test_a_write_is_done_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    with closing(Writer(tmp_path / "a.db")) as writer:
        with pytest.raises(sqlite3.IntegrityError):
            writer.write([*begun(), begun()[0]])
        assert writer.last_number("recording") == 0
        writer.write(begun())
        assert writer.last_number("recording") == 1


def test_a_cassette_has_one_salt_as_long_as_it_lives_and_each_has_another(tmp_path: Path) -> None:
    with closing(Writer(tmp_path / "a.db")) as writer:
        salt = writer.salt()
    with closing(Writer(tmp_path / "a.db")) as writer, closing(Writer(tmp_path / "b.db")) as other:
        assert writer.salt() == salt
        assert other.salt() != salt


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")
        connection.commit()


def newer(path: Path) -> None:
    conversation().save(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.commit()


def in_wal(make: str, path: Path) -> None:
    """The same, left behind with a log by a program that was killed."""
    whole = path.with_name("whole.db")
    globals()[make](whole)
    with closing(sqlite3.connect(whole)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("CREATE TABLE more (text)")
        connection.commit()
        for part in ("", "-wal"):
            shutil.copyfile(f"{whole}{part}", f"{path}{part}")
    whole.unlink()


MAGIC = b"SQLite format 3\0"
REFUSED = {
    "a foreign database": (foreign, NotACassette, "is an SQLite database, but no cassette"),
    "a foreign database with a log": (lambda p: in_wal("foreign", p), NotACassette, "SQLite database, but no cassette"),
    "a newer cassette": (newer, NewerCassette, "upgrade omnirecord"),
    "a newer cassette with a log": (lambda p: in_wal("newer", p), NewerCassette, "upgrade omnirecord"),
    "a text": (lambda path: path.write_text("event: a\n\n"), CassetteError, "no SQLite cassette|is damaged"),
    "SQLite's magic and garbage": (lambda path: path.write_bytes(MAGIC + b"\xaa" * 9000), BrokenCassette, "is damaged"),
    "SQLite's magic alone": (lambda path: path.write_bytes(MAGIC), CassetteError, "is damaged|no cassette"),
}


@each("opens", [Writer, Store.open])
@each("name", REFUSED)
def test_what_is_no_cassette_is_refused_and_left_as_it_was(tmp_path: Path, name: str, opens: type[Writer]) -> None:
    make, error, says = REFUSED[name]
    path = tmp_path / "a.db"
    make(path)
    before = contents(tmp_path)

    with pytest.raises(error, match=says):
        opens(path)
    assert contents(tmp_path) == before


def test_a_directory_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory"):
        Writer(tmp_path)
    with pytest.raises(NotACassette, match="No such file"):
        Writer(tmp_path / "none" / "a.db")
    with pytest.raises(CassetteError):
        Store.open(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_becomes_a_cassette(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.touch()
    with closing(Writer(path)) as writer:
        writer.write(begun())

    assert is_sqlite(path)


def test_a_second_recorder_is_refused_until_the_first_has_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(Writer(path)):
        with pytest.raises(CassetteInUse, match="is being recorded by another omnirecord"):
            Writer(path)
        assert recorder_is_alive(path)
    assert not recorder_is_alive(path)
    assert not lock_path(path).exists()
    Writer(path).close()


def test_what_a_killed_recorder_left_is_read_as_if_it_had_finished(killed: Path) -> None:
    before = contents(killed.parent)
    with closing(Store.open(killed)) as store:
        (stream,) = store.streams()
        assert stored(store.frames(stream)) == told(framed(cut(BODY, 20)))
        assert b"".join(store.content(stream)) == BODY
        assert (stream.ending, stream.end_ns, stream.response_bytes) == ("recorder_killed", None, len(BODY))
        assert not store.is_being_recorded

    assert any(name.endswith("-wal") for name in before)
    assert contents(killed.parent) == before


def test_what_is_being_recorded_is_open_and_its_last_frame_may_yet_grow(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with another_recorder(path):
        before = contents(tmp_path)
        with closing(Store.open(path)) as store:
            (stream,) = store.streams()
            whole = told(framed(cut(BODY, 20)))
            assert stream.ending == "open"
            assert store.is_being_recorded
            assert stored(store.frames(stream)) == whole[:-1]
            assert stored(store.frames(stream, unfinished=True)) == whole
        assert contents(tmp_path) == before


def test_single_frames_of_a_page_are_read_from_the_file_once(tmp_path: Path) -> None:
    with closing(Store.open(conversation().save(tmp_path / "a.db"))) as store:
        stream, *_ = store.streams()
        frames, said = list(store.frames(stream)), list[str]()
        store._connection.set_trace_callback(said.append)
        assert [store.frame(stream, frame.seq) for frame in frames] == frames
        assert len([query for query in said if "ends" in query]) == 1
        store.refresh()
        assert store.frame(stream, 1) == frames[0]
        assert len([query for query in said if "ends" in query]) == 2, "there may be more by now"
        assert store.frame(stream, len(frames) + 1) is None


def test_a_reader_sees_one_moment_and_the_next_one_more(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(Writer(path)) as writer:
        writer.write([*begun(), *received(cut(BODY, 50))])
        with closing(Store.open(path)) as store:
            before = list(store.frames(store.streams()[0]))
            writer.write([rows.end(1, 99, "eof", 0, len(BODY))])
            assert list(store.frames(store.streams()[0])) == before
            assert store.streams()[0].ending == "open"
        with closing(Store.open(path)) as store:
            assert store.streams()[0].ending == "eof"


@settings(deadline=None, max_examples=examples(60))
@given(
    cuts=st.lists(st.integers(1, len(BODY) - 1), max_size=8, unique=True).map(sorted),
    lost=st.lists(st.integers(0, 8), max_size=3),
    done=st.integers(0, 12),
)
def test_frames_that_are_derived_are_those_that_would_have_been_stored(
    cuts: list[int], lost: list[int], done: int
) -> None:
    reads = [BODY[start:end] for start, end in pairwise([0, *cuts, len(BODY)])]
    frames = framed(reads, lost)
    writer = Writer(None)
    writer.write([*begun(), *received(reads, lost)])
    safe = [n for n in range(len(frames) + 1) if n == len(frames) or all(f.frame.complete for f in frames[n - 1 : n])]
    first = frames[: max(n for n in safe if n <= done or n == 0)]
    writer.write(stream_rows.frame_blocks(1, first, lambda n: 10 + n))

    with closing(Store(writer.connection)) as store:
        assert stored(store.frames(store.streams()[0])) == told(frames)


def test_a_killed_cassette_in_a_folder_that_may_not_be_written_is_read(killed: Path) -> None:
    script = """
        import os, sys
        from pathlib import Path
        from omnirecord.omnigent.contract import load
        from omnirecord.wire.sse import Parser
        from omnirecord.cassette.sqlite import Store
        load("omnigent").judge(Parser().feed(b'data: {"type": "session.heartbeat"}\\n\\n')[0])  # all is loaded now
        path = Path(sys.argv[1])
        if os.geteuid() == 0:
            os.chdir(path.parent)  # the folders above may be closed to others
            path = Path(path.name)
            os.setuid(65534)  # root may write everywhere
        assert not os.access(path.parent, os.W_OK)
        store = Store.open(path)
        sys.stdout.buffer.write(b"".join(store.content(store.streams()[0])))
        store.close()
    """
    for path in killed.parent.iterdir():
        path.unlink() if path.name.endswith("-shm") else path.chmod(0o444)
    killed.parent.chmod(0o555)
    before = contents(killed.parent)
    try:
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script), str(killed)]
        found = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parents[3])
    finally:
        killed.parent.chmod(0o755)

    assert found.stdout == BODY
    assert contents(killed.parent) == before


def test_no_copy_stays_behind_of_what_could_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(copies))
    with pytest.raises(CassetteError):
        Store.open(tmp_path / "none.db")

    assert list(copies.iterdir()) == []


def test_a_closed_cassette_is_one_clean_file(tmp_path: Path) -> None:
    path = conversation().save(tmp_path / "a.db")

    assert [one.name for one in tmp_path.iterdir()] == ["a.db"]
    assert path.read_bytes()[18:20] == b"\x01\x01"  # SQLite's mark for "no log"
    before = contents(tmp_path)
    with closing(Store.open(path)) as store:
        assert store.exchanges()
        assert list(tmp_path.iterdir()) == [path]
    assert contents(tmp_path) == before


def test_the_next_recorder_cleans_up_behind_a_killed_one(killed: Path) -> None:
    with closing(Writer(killed)) as writer:
        assert [(one.exchange, one.stream, one.response_bytes) for one in writer.unfinished()] == [(1, 1, len(BODY))]
        first = framed(cut(BODY, 20))[:2]
        assert writer.framed(1) == (2, sum(one.frame.length for one in first), first[-1].read)

    assert [one.name for one in killed.parent.iterdir()] == ["a.db"]


def test_a_closed_cassette_that_somebody_reads_is_in_use_and_not_damaged(tmp_path: Path) -> None:
    path = conversation().save(tmp_path / "a.db")
    before = contents(tmp_path)
    with closing(Store.open(path)) as store:
        assert store.exchanges()
        with pytest.raises(CassetteInUse, match="in use by another program"):
            Writer(path)

    assert contents(tmp_path) == before
    Writer(path).close()


def test_a_cassette_can_be_closed_while_somebody_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    writer = Writer(path)
    writer.write([*begun(), *received([BODY])])
    with closing(Store.open(path)) as store:
        writer.close()
        assert b"".join(store.content(store.streams()[0])) == BODY
    with closing(Store.open(path)) as store:
        assert b"".join(store.content(store.streams()[0])) == BODY


def test_no_folder_of_a_cassette_that_is_reached_by_a_link_is_taken_for_a_copy(tmp_path: Path) -> None:
    """It was removed with all that was in it, where its name began as those of our copies do."""
    folder = tmp_path / "omnirecord-tapes"
    folder.mkdir()
    conversation().save(folder / "a.db")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "a.db").symlink_to(folder / "a.db")
    for path in (tmp_path / "link" / "a.db", tmp_path / "a.db"):
        Store.open(path).close()
        assert (folder / "a.db").exists()
