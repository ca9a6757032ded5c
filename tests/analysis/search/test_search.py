"""Searching whole cassettes: what is found and told once, the index beside them, and what it must never do."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import omnirecord
from omnirecord.analysis.search import search as finding
from omnirecord.analysis.search.search import Found, moment, search
from omnirecord.cassette.open import import_file
from omnirecord.cassette.sqlite import Writer, rows
from omnirecord.cassette.sqlite.search_index import VERSION, path_beside
from omnirecord.errors import UsageError
from omnirecord.model import Recording
from tests.cassette.sqlite.test_store import another_recorder
from tests.support.cassettes import Made, completed, created, delta, event, heartbeat, status
from tests.support.cost import cost
from tests.support.examples import examples
from tests.support.watchdog import slowness

SHIPPED = Path(__file__).parent.parent.parent.parent / "cassettes"
ROOT = Path(__file__).parent.parent.parent.parent


def consumed(text: str) -> bytes:
    return event("session.input.consumed", data={"data": {"role": "user", "content": [{"text": text}]}})


def stored(text: str) -> bytes:
    item = {"type": "message", "id": "m1", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    return event("response.output_item.done", item=item)


def tool(call: str, **arguments: Any) -> bytes:
    item = {"type": "function_call", "call_id": call, "name": "shell", "arguments": json.dumps(arguments)}
    return event("response.output_item.done", item=item)


def test_ids_that_are_no_text_are_searched_too(tmp_path: Path) -> None:
    odd = event("response.output_text.delta", delta="lighthouse", message_id="\ud83d", index=0)
    path = talk(created(), odd, stored("lighthouse"), completed()).save(tmp_path / "a.db")
    assert search(path, "lighthouse").total == 1


def talk(*said: bytes, at: float = 1.0) -> Made:
    tape = Made()
    tape.stream("s", at, *((at + n, frame) for n, frame in enumerate(said)), end=at + len(said))
    return tape


def places(found: Found) -> list[tuple[Any, Any]]:
    return [(hit.row["stream"], hit.row["seq"]) for hit in found.hits]


def snippets(found: Found) -> list[str]:
    return [hit.snippet.marked() for hit in found.hits]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def always_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the cassette is, its index is a file."""
    monkeypatch.setattr(finding, "WORTH_A_FILE", 0)


def test_a_word_that_came_in_pieces_is_found_where_it_begins(folder: Path) -> None:
    path = talk(heartbeat(), delta("a fli"), delta("ght rec"), delta("order")).save(folder / "a.db")
    found = search(path, "flight")
    assert (found.total, places(found), snippets(found)) == (1, [(1, 2)], ["a [flight] recorder"])
    assert places(search(path, "recorder")) == [(1, 3)]
    assert found.hits[0].row["data"]["delta"] == "a fli"


def test_a_message_its_stored_item_and_a_second_listener_are_one_hit(folder: Path) -> None:
    tape = Made()
    said = [(3.0, created()), (3.1, delta("Hel")), (3.2, delta("lo")), (3.3, stored("Hello")), (3.4, completed())]
    tape.stream("s", 1.0, (1.0, heartbeat()), *said, end=5.0)
    tape.stream("s", 2.0, (2.0, heartbeat()), *said, end=5.0)
    path = tape.save(folder / "a.db")
    assert places(search(path, "hello")) == [(1, 3)]
    assert places(search(path, "m1")) == [(1, 5)], "what only the item says is told of the item"
    assert search(path, "completed").total == 1


def test_a_client_that_heard_less_of_a_message_heard_the_same(folder: Path) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, created()), (2.1, delta("A flight recor")), end=3.0)
    rest = [(40.0, heartbeat()), (40.0, created()), (40.0, delta("A flight recor", None)), (41.0, delta("der."))]
    tape.stream("s", 40.0, *rest, end=50.0)
    path = tape.save(folder / "a.db")
    assert places(search(path, "flight")) == [(1, 3)]
    assert places(search(path, "recorder")) == [(2, 3)]


def test_what_is_said_twice_is_two_hits(folder: Path) -> None:
    frames = [consumed("again"), created("a"), delta("yes"), stored("yes"), completed("a")]
    frames += [consumed("again"), created("b"), delta("yes"), stored("yes"), completed("b")]
    path = talk(*frames).save(folder / "a.db")
    assert places(search(path, "yes")) == [(1, 3), (1, 8)]
    assert search(path, "again").total == 2


def test_what_was_asked_is_found_though_no_event_says_it_and_once_where_one_does(folder: Path) -> None:
    def asks(text: str) -> dict[str, Any]:
        return {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": text}]}}

    tape = talk(heartbeat(), consumed("heard by everybody"))
    tape.post("/v1/sessions/s/events", 1.5, body=asks("heard by everybody"))
    tape.post("/v1/sessions/s/events", 9.0, body=asks("heard by nobody"), status=503)
    tape.post("/v1/sessions/s/events", 9.5, body=asks("said by a runner"), party="runner")
    path = tape.save(folder / "a.db")
    assert search(path, "everybody").total == 1
    (hit,) = search(path, "nobody").hits
    assert (hit.exchange, hit.row["stream"], hit.row["type"], hit.row["offset_ns"]) == (3, None, None, 9_000_000_000)
    assert hit.row["data"] == asks("heard by nobody")
    assert search(path, "runner").total == 0


def test_tool_payloads_are_searched_inside_of_their_json(folder: Path) -> None:
    output = {"type": "function_call_output", "call_id": "c", "output": '{"stdout": "first\\nsecond", "exit_code": 7}'}
    frames = [tool("c", command="echo caf\u00e9"), tool("c", command="echo caf\u00e9")]
    path = talk(*frames, event("response.output_item.done", item=output)).save(folder / "a.db")
    assert places(search(path, "cafe")) == [(1, 1)], "in progress and completed, it is one call"
    assert places(search(path, "second")) == places(search(path, "7")) == [(1, 3)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("CAFE", True), ("café", True), ("naive", True), ("世界", True), ("界", True), ("你界", False),
        ("서울", True), ("foo-bar", True), ("it's", True), (r"C:\x", True), ("a AND", False), ('"', True), ("->", True),
        ("=>", False), ("🎉", True), ("Straße", True), ("привет", True), ("foo NOT 世界", False), ("foo NOT =>", True),
        ("zzz OR ->", True), ("fo*", True), ("oo*", False), ('"bar it"', True), ('"it bar"', False),
        ("-> NOT foo", False), ("-> NOT ->", False),
    ],
)  # fmt: skip
def test_words_of_any_script_and_odd_signs_are_found(folder: Path, query: str, found: bool) -> None:
    text = 'naïve Café 你好世界 서울에서 foo-bar it\'s "C:\\x" -> 🎉 Straße ПРИВЕТ'
    path = talk(delta(text)).save(folder / "a.db")
    assert search(path, query).total == found


@settings(max_examples=examples(60), deadline=None)
@given(
    st.text(max_size=30) | st.lists(st.sampled_from(["Hello", "AND", "OR", "NOT", '"', "*", "(", "NEAR"])).map(" ".join)
)
def test_no_query_is_answered_by_a_traceback(query: str) -> None:
    with suppress(UsageError):
        search(SHIPPED / "text.jsonl", query)


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12), st.integers(1, 4))
def test_every_word_of_a_message_is_found_however_it_was_cut(word: str, size: int) -> None:
    text = f"before {word} behind"
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    with tempfile.TemporaryDirectory() as folder:
        path = talk(*map(delta, pieces)).save(Path(folder) / "a.db")
        assert search(path, word).total == 1


@pytest.mark.parametrize(
    "query", ["a OR " * 49 + "a", "-> OR " * 49 + "a", "a NOT b OR " * 25, "z " * 99, "a " + "NOT b " * 49]
)
def test_a_long_query_is_answered(folder: Path, query: str) -> None:
    path = talk(delta("a ->")).save(folder / "a.db")
    assert search(path, query).total == ("z" not in query)


def test_a_sign_inside_of_a_phrase_is_marked_with_it(folder: Path) -> None:
    path = talk(delta("from a -> b on")).save(folder / "a.db")
    assert snippets(search(path, '"a -> b" -> >')) == ["from [a -> b] on"]


def test_all_hits_may_be_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than SQLite takes as values of one query."""
    connect = sqlite3.connect

    def limited(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 100)
        return connection

    path = talk(*[status(f"word {n}") for n in range(200)]).save(folder / "a.db")
    monkeypatch.setattr(sqlite3, "connect", limited)
    assert len(search(path, "word", limit=1_000).hits) == 200


def test_thousands_of_recordings_are_narrowed_by_time(folder: Path) -> None:
    tape = talk(status("word"))
    for _ in range(3000):
        tape.another_recording()
    path = tape.save(folder / "a.db")
    assert (search(path, "word", since=0).total, search(path, "word", since=2).total) == (1, 0)


def test_hits_are_narrowed_by_type_session_and_time(folder: Path) -> None:
    tape = Made()
    tape.stream("one", 1.0, (1.0, delta("word")), (2.0, status("word")), end=3.0)
    tape.stream("two", 11.0, (11.0, delta("word")), (12.0, status("word")), end=13.0)
    path = tape.save(folder / "a.db")
    assert places(search(path, "word", type="session.*")) == [(1, 2), (2, 2)]
    assert places(search(path, "word", session="tw")) == [(2, 1), (2, 2)]
    assert places(search(path, "word", since=0.5, until=1)) == [(1, 2), (2, 2)], "from the start of each session"
    assert places(search(path, "word", since="2026-01-02T03:04:16")) == [(2, 1), (2, 2)]
    assert places(search(path, "word", until=datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC))) == [(1, 1)]
    assert search(path, "word", type="nothing.*").total == 0
    with pytest.raises(UsageError, match="no session begins"):
        search(path, "word", session="three")


@pytest.mark.parametrize("time", ["yesterday", "nan", "inf", "25:00"])
def test_a_time_that_is_none_is_a_mistake(time: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        moment("since", time)


def test_the_first_hits_come_by_session_and_time_and_all_are_counted(folder: Path) -> None:
    tape = Made()
    tape.stream("late", 5.0, *((5.0 + n, status("word")) for n in range(5)), end=20.0)
    tape.stream("early", 1.0, *((1.0 + n, status("word")) for n in range(5)), end=20.0)
    found = search(tape.save(folder / "a.db"), "word", limit=7)
    assert found.total == 10
    assert [hit.row["session_id"] for hit in found.hits] == ["early"] * 5 + ["late"] * 2
    assert [hit.row["seq"] for hit in found.hits] == [1, 2, 3, 4, 5, 1, 2]


@pytest.mark.parametrize("name", sorted(path.name for path in SHIPPED.glob("*.jsonl")))
def test_every_word_of_a_real_session_is_found(name: str, folder: Path) -> None:
    path = folder / "a.db"
    import_file(SHIPPED / name, path)
    with omnirecord.open_cassette(path) as cassette:
        for stream in cassette.streams():
            for frame in list(stream.frames())[::7]:
                data = frame.raw.decode() if frame.raw else ""
                word = data.partition('"conversation_id": "')[2].partition('"')[0]
                if word:
                    assert search(path, word, type=frame.type).total


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


def test_a_small_cassette_leaves_no_file_behind(folder: Path) -> None:
    path = talk(delta("word")).save(folder / "a.db")
    search(path, "word")
    assert list(folder.iterdir()) == [path]


@pytest.mark.usefixtures("always_a_file")
def test_a_search_changes_no_byte_of_a_cassette(folder: Path) -> None:
    path = talk(delta("word")).save(folder / "a.db")
    before = contents(folder)
    assert indexed(path).total == 1
    assert contents(folder) == before
    assert path_beside(path).stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("always_a_file")
def test_an_index_that_has_all_is_not_touched(folder: Path) -> None:
    path = talk(delta("word")).save(folder / "a.db")
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
def test_only_what_was_appended_is_indexed(folder: Path) -> None:
    path = talk(*[status("word")] * 30).save(folder / "a.db")
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
def test_a_cassette_that_became_another_is_indexed_anew(folder: Path, how: str) -> None:
    path = talk(delta("needle")).save(folder / "a.db")
    os.utime(path, (1, 1))
    indexed(path)
    other = talk(delta("else")).save(folder / "b.db")
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
def test_an_index_that_is_none_or_of_another_version_is_no_hindrance(folder: Path, odd: bytes | str) -> None:
    path = talk(delta("word")).save(folder / "a.db")
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
@pytest.mark.parametrize("script", [
    "CREATE TRIGGER t AFTER INSERT ON docs BEGIN DELETE FROM done; END",
    "CREATE VIEW mine AS SELECT * FROM docs",
    "DROP TABLE docs; CREATE VIEW docs AS SELECT 1",
    "DROP TABLE texts; CREATE VIRTUAL TABLE texts USING fts5(id, text, marks)",
    "CREATE TABLE more (n)",
])  # fmt: skip
def test_an_index_that_is_not_as_we_make_it_is_not_used_and_left_as_it_is(folder: Path, script: str) -> None:
    path = talk(delta("word")).save(folder / "a.db")
    indexed(path)
    with closing(sqlite3.connect(path_beside(path))) as connection:
        connection.executescript(script)
    before = path_beside(path).read_bytes()
    assert search(path, "word").total == 1
    assert path_beside(path).read_bytes() == before


@pytest.mark.usefixtures("always_a_file")
def test_a_link_or_a_foreign_journal_in_place_of_an_index_leads_nowhere(folder: Path) -> None:
    path, victim = talk(delta("word")).save(folder / "a.db"), folder / "victim"
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
def test_a_database_of_somebody_elses_is_left_as_it_is(folder: Path) -> None:
    path = talk(delta("word")).save(folder / "a.db")
    with closing(sqlite3.connect(path_beside(path))) as connection, connection:
        connection.execute("CREATE TABLE precious (a)")
    before = path_beside(path).read_bytes()
    assert search(path, "word").total == 1
    assert path_beside(path).read_bytes() == before


@pytest.mark.usefixtures("always_a_file")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_folder_that_may_not_be_written_is_searched(folder: Path) -> None:
    path = talk(delta("word")).save(folder / "a.db")
    folder.chmod(0o500)
    try:
        assert search(path, "word").total == 1
    finally:
        folder.chmod(0o700)


@pytest.mark.usefixtures("always_a_file")
def test_a_cassette_that_is_being_recorded_is_searched_and_its_recorder_not_held_up(folder: Path) -> None:
    path = folder / "a.db"
    with another_recorder(path):
        before = contents(folder)
        assert search(path, "hello").total == 1
        assert contents(folder) == before
    assert places(search(path, "helloworld")) == [(1, 2)], "what the killed recorder had made no frames of is heard"
    with closing(Writer(path)):
        assert search(path, "helloworld").total == 1


@pytest.mark.usefixtures("always_a_file")
def test_a_recorder_starts_and_writes_while_somebody_indexes(folder: Path) -> None:
    path = talk(*[status("word")] * 9000).save(folder / "a.db")

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
from omnirecord.analysis.search import search
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
def test_a_search_that_was_stopped_in_the_middle_is_gone_on_with(folder: Path, how: signal.Signals) -> None:
    path = talk(*[status("word")] * 12_000).save(folder / "a.db")
    os.utime(path, (1, 1))
    with searching(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(how)
    taken: list[int] = []
    found = search(path, "word", watch=lambda steps: (taken.append(step) or step for step in steps))  # type: ignore[func-returns-value]
    assert found.total == 12_000
    assert sum(taken) < 12_000, "what was indexed is not indexed again"


@pytest.mark.slow
@pytest.mark.usefixtures("always_a_file")
def test_two_searches_at_once_find_the_same(folder: Path) -> None:
    path = talk(*[status("word")] * 12_000).save(folder / "a.db")
    with searching(path) as one, searching(path) as other, searching(path) as third:
        assert {process.communicate()[0].split()[-1] for process in (one, other, third)} == {"12000"}
    assert indexed(path).total == 12_000


def test_what_is_asked_twice_in_the_same_words_is_found_twice(tmp_path: Path) -> None:
    made = Made()
    for n in range(3):
        made.request(
            "POST", f"/v1/sessions/s/elicitations/e{n}/resolve", 1.0 + n, body={"action": "accept", "n": "yes"}
        )
    assert search(made.save(tmp_path / "a.db"), "accept").total == 3


@pytest.mark.usefixtures("always_a_file")
def test_short_streams_and_requests_share_a_step(folder: Path) -> None:
    made = Made()
    for n in range(200):
        made.stream(f"s{n}", 1.0, (1.0, status("running")), (2.0, delta(f"word{n}")), end=3.0)
        made.request("POST", f"/v1/sessions/s{n}/events", 1.0, body={"type": "message", "data": {"content": "word"}})
    taken: list[int] = []

    def watch(steps: Any) -> Any:
        for step in steps:
            taken.append(step)
            yield step

    assert search(made.save(folder / "a.db"), "word*", watch=watch).total == 400
    assert taken == [400, 0]


@pytest.mark.slow
def test_what_is_said_a_thousand_times_is_not_held_against_all_of_it(tmp_path: Path) -> None:
    """Each time, only what is near is looked at."""

    def took(times: int) -> float:
        made = Made()
        made.stream("s", 0.0, *((n / 10, consumed("go on")) for n in range(times)), end=times / 10)
        for n in range(times):
            body = {"type": "message", "data": {"role": "user", "content": "go on"}}
            made.request("POST", "/v1/sessions/s/events", n / 10, body=body)
        path = made.save(tmp_path / f"{times}.db")
        begun = time.process_time()
        assert search(path, "go").total == times
        return time.process_time() - begun

    took(100)
    assert took(2_000) < 10 * took(500)


def large(path: Path, say: Callable[[int], bytes], count: int) -> Path:
    tape = Made()
    tape.stream("s", 0.0, *((n / 1000, say(n)) for n in range(count)), end=count / 1000)
    return tape.save(path)


@pytest.mark.parametrize("kind", ["turns", "one message", "items"])
def test_a_hundred_thousand_events_are_searched_in_a_tenth_of_a_second(folder: Path, kind: str, long: bool) -> None:
    """Without `--long`, 10,000 events in a share of the time and of the memory."""
    count = 100_000 if long else 10_000
    share = count / 100_000

    def turn(n: int) -> bytes:
        return status("running") if n % 100 == 0 else delta(f" word{n}" if n % 7 else " wire")

    say = {"turns": turn, "one message": lambda n: delta(f" word{n} "), "items": lambda n: tool(f"c{n}", word=f"w{n}")}
    path = large(folder / "a.db", say[kind], count)
    script = f"""
        import json, time
        from omnirecord.analysis.search.search import search
        begun = time.process_time()
        search({str(path)!r}, "word777*")
        built, taken = time.process_time() - begun, []
        for query in ["word777", "wire", "w777", "shell", "running", "nothing"]:
            begun = time.process_time()
            search({str(path)!r}, query)
            taken.append(time.process_time() - begun)
        print(json.dumps([built, max(taken)]))
    """
    spent = cost(script)
    built, slowest = json.loads(spent.stdout)
    assert built < 10 * share * slowness()
    assert slowest < (0.02 + 0.18 * share) * slowness(), "0.1 s for all of them on a machine that is not busy"
    assert spent.megabytes < 80 + 220 * share
