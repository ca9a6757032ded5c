"""Searching whole cassettes: what is found and told once, the index beside them, and what it must never do."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.analysis import search as finding
from omnirecord.analysis.search import Found, search
from omnirecord.errors import UsageError
from tests.support.cassettes import Made, completed, created, delta, event, heartbeat, status
from tests.support.cost import cost
from tests.support.examples import each, examples
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


def test_hits_without_a_session_have_one_clock(tmp_path: Path) -> None:
    tape = Made("auto")
    body = json.dumps({"text": "lighthouse"}).encode()
    tape.post("/notes", 2.0, until=2.1, body=body)
    tape.stream("/chat", 3.0, (4.0, b'data: {"text": "lighthouse keeper"}\n\n'), method="POST", body=body, ending="eof")
    path = tape.save(tmp_path / "a.db")
    found = sorted(hit.row["offset_ns"] - hit.begun_ns for hit in search(path, "lighthouse").hits)
    assert found == [2_000_000_000, 3_000_000_000, 4_000_000_000]
    assert [search(path, "lighthouse", since=at).total for at in (1.5, 2.5, 4.5)] == [3, 2, 0]


def talk(*said: bytes, at: float = 1.0) -> Made:
    tape = Made()
    tape.stream("s", at, *((at + n, frame) for n, frame in enumerate(said)), end=at + len(said))
    return tape


def places(found: Found) -> list[tuple[Any, Any]]:
    return [(hit.row["stream"], hit.row["seq"]) for hit in found.hits]


def snippets(found: Found) -> list[str]:
    return [hit.snippet.marked() for hit in found.hits]


@pytest.fixture
def always_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the cassette is, its index is a file."""
    monkeypatch.setattr(finding, "WORTH_A_FILE", 0)


def test_a_word_that_came_in_pieces_is_found_where_it_begins(tmp_path: Path) -> None:
    path = talk(heartbeat(), delta("a fli"), delta("ght rec"), delta("order")).save(tmp_path / "a.db")
    found = search(path, "flight")
    assert (found.total, places(found), snippets(found)) == (1, [(1, 2)], ["a [flight] recorder"])
    assert places(search(path, "recorder")) == [(1, 3)]
    assert found.hits[0].row["data"]["delta"] == "a fli"


def test_a_message_its_stored_item_and_a_second_listener_are_one_hit(tmp_path: Path) -> None:
    tape = Made()
    said = [(3.0, created()), (3.1, delta("Hel")), (3.2, delta("lo")), (3.3, stored("Hello")), (3.4, completed())]
    tape.stream("s", 1.0, (1.0, heartbeat()), *said, end=5.0)
    tape.stream("s", 2.0, (2.0, heartbeat()), *said, end=5.0)
    path = tape.save(tmp_path / "a.db")
    assert places(search(path, "hello")) == [(1, 3)]
    assert places(search(path, "m1")) == [(1, 5)], "what only the item says is told of the item"
    assert search(path, "completed").total == 1


def test_a_client_that_heard_less_of_a_message_heard_the_same(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, created()), (2.1, delta("A flight recor")), end=3.0)
    rest = [(40.0, heartbeat()), (40.0, created()), (40.0, delta("A flight recor", None)), (41.0, delta("der."))]
    tape.stream("s", 40.0, *rest, end=50.0)
    path = tape.save(tmp_path / "a.db")
    assert places(search(path, "flight")) == [(1, 3)]
    assert places(search(path, "recorder")) == [(2, 3)]


def test_what_is_said_twice_is_two_hits(tmp_path: Path) -> None:
    frames = [consumed("again"), created("a"), delta("yes"), stored("yes"), completed("a")]
    frames += [consumed("again"), created("b"), delta("yes"), stored("yes"), completed("b")]
    path = talk(*frames).save(tmp_path / "a.db")
    assert places(search(path, "yes")) == [(1, 3), (1, 8)]
    assert search(path, "again").total == 2


def test_what_was_asked_is_found_though_no_event_says_it_and_once_where_one_does(tmp_path: Path) -> None:
    def asks(text: str) -> dict[str, Any]:
        return {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": text}]}}

    tape = talk(heartbeat(), consumed("heard by everybody"))
    tape.post("/v1/sessions/s/events", 1.5, body=asks("heard by everybody"))
    tape.post("/v1/sessions/s/events", 9.0, body=asks("heard by nobody"), status=503)
    tape.post("/v1/sessions/s/events", 9.5, body=asks("said by a runner"), party="runner")
    path = tape.save(tmp_path / "a.db")
    assert search(path, "everybody").total == 1
    (hit,) = search(path, "nobody").hits
    assert (hit.exchange, hit.row["stream"], hit.row["type"], hit.row["offset_ns"]) == (3, None, None, 9_000_000_000)
    assert hit.row["data"] == asks("heard by nobody")
    assert search(path, "runner").total == 0


def test_tool_payloads_are_searched_inside_of_their_json(tmp_path: Path) -> None:
    output = {"type": "function_call_output", "call_id": "c", "output": '{"stdout": "first\\nsecond", "exit_code": 7}'}
    frames = [tool("c", command="echo caf\u00e9"), tool("c", command="echo caf\u00e9")]
    path = talk(*frames, event("response.output_item.done", item=output)).save(tmp_path / "a.db")
    assert places(search(path, "cafe")) == [(1, 1)], "in progress and completed, it is one call"
    assert places(search(path, "second")) == places(search(path, "7")) == [(1, 3)]


@each(
    ("query", "found"),
    [
        ("CAFE", True), ("café", True), ("naive", True), ("世界", True), ("界", True), ("你界", False),
        ("서울", True), ("foo-bar", True), ("it's", True), (r"C:\x", True), ("a AND", False), ('"', True), ("->", True),
        ("=>", False), ("🎉", True), ("Straße", True), ("привет", True), ("foo NOT 世界", False), ("foo NOT =>", True),
        ("zzz OR ->", True), ("fo*", True), ("oo*", False), ('"bar it"', True), ('"it bar"', False),
        ("-> NOT foo", False), ("-> NOT ->", False),
    ],
)  # fmt: skip
def test_words_of_any_script_and_odd_signs_are_found(tmp_path: Path, query: str, found: bool) -> None:
    text = 'naïve Café 你好世界 서울에서 foo-bar it\'s "C:\\x" -> 🎉 Straße ПРИВЕТ'
    path = talk(delta(text)).save(tmp_path / "a.db")
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


@each("query", ["a OR " * 49 + "a", "-> OR " * 49 + "a", "a NOT b OR " * 25, "z " * 99, "a " + "NOT b " * 49])
def test_a_long_query_is_answered(tmp_path: Path, query: str) -> None:
    path = talk(delta("a ->")).save(tmp_path / "a.db")
    assert search(path, query).total == ("z" not in query)


def test_a_sign_inside_of_a_phrase_is_marked_with_it(tmp_path: Path) -> None:
    path = talk(delta("from a -> b on")).save(tmp_path / "a.db")
    assert snippets(search(path, '"a -> b" -> >')) == ["from [a -> b] on"]


def test_all_hits_may_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than SQLite takes as values of one query."""
    connect = sqlite3.connect

    def limited(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 100)
        return connection

    path = talk(*[status(f"word {n}") for n in range(200)]).save(tmp_path / "a.db")
    monkeypatch.setattr(sqlite3, "connect", limited)
    assert len(search(path, "word", limit=1_000).hits) == 200


def test_thousands_of_recordings_are_narrowed_by_time(tmp_path: Path) -> None:
    tape = talk(status("word"))
    for _ in range(3000):
        tape.another_recording()
    path = tape.save(tmp_path / "a.db")
    assert (search(path, "word", since=0).total, search(path, "word", since=2).total) == (1, 0)


def test_hits_are_narrowed_by_type_session_and_time(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("one", 1.0, (1.0, delta("word")), (2.0, status("word")), end=3.0)
    tape.stream("two", 11.0, (11.0, delta("word")), (12.0, status("word")), end=13.0)
    path = tape.save(tmp_path / "a.db")
    assert places(search(path, "word", type="session.*")) == [(1, 2), (2, 2)]
    assert places(search(path, "word", session="tw")) == [(2, 1), (2, 2)]
    assert places(search(path, "word", since=0.5, until=1)) == [(1, 2), (2, 2)], "from the start of each session"
    assert places(search(path, "word", since="2026-01-02T03:04:16")) == [(2, 1), (2, 2)]
    assert places(search(path, "word", until=datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC))) == [(1, 1)]
    assert search(path, "word", type="nothing.*").total == 0
    with pytest.raises(UsageError, match="no session begins"):
        search(path, "word", session="three")


def test_the_first_hits_come_by_session_and_time_and_all_are_counted(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("late", 5.0, *((5.0 + n, status("word")) for n in range(5)), end=20.0)
    tape.stream("early", 1.0, *((1.0 + n, status("word")) for n in range(5)), end=20.0)
    found = search(tape.save(tmp_path / "a.db"), "word", limit=7)
    assert found.total == 10
    assert [hit.row["session_id"] for hit in found.hits] == ["early"] * 5 + ["late"] * 2
    assert [hit.row["seq"] for hit in found.hits] == [1, 2, 3, 4, 5, 1, 2]


def test_what_is_asked_twice_in_the_same_words_is_found_twice(tmp_path: Path) -> None:
    made = Made()
    for n in range(3):
        made.request(
            "POST", f"/v1/sessions/s/elicitations/e{n}/resolve", 1.0 + n, body={"action": "accept", "n": "yes"}
        )
    assert search(made.save(tmp_path / "a.db"), "accept").total == 3


@pytest.mark.usefixtures("always_a_file")
def test_short_streams_and_requests_share_a_step(tmp_path: Path) -> None:
    made = Made()
    for n in range(200):
        made.stream(f"s{n}", 1.0, (1.0, status("running")), (2.0, delta(f"word{n}")), end=3.0)
        made.request("POST", f"/v1/sessions/s{n}/events", 1.0, body={"type": "message", "data": {"content": "word"}})
    taken: list[int] = []

    def watch(steps: Any) -> Any:
        for step in steps:
            taken.append(step)
            yield step

    assert search(made.save(tmp_path / "a.db"), "word*", watch=watch).total == 400
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
def test_a_hundred_thousand_events_are_searched_in_a_tenth_of_a_second(tmp_path: Path, kind: str, long: bool) -> None:
    """Without `--long`, 10,000 events in a share of the time and of the memory."""
    count = 100_000 if long else 10_000
    share = count / 100_000

    def turn(n: int) -> bytes:
        return status("running") if n % 100 == 0 else delta(f" word{n}" if n % 7 else " wire")

    say = {"turns": turn, "one message": lambda n: delta(f" word{n} "), "items": lambda n: tool(f"c{n}", word=f"w{n}")}
    path = large(tmp_path / "a.db", say[kind], count)
    script = f"""
        import json, time
        from omnirecord.analysis.search import search
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


def test_an_event_that_two_streams_number_in_their_own_way_is_one_hit(tmp_path: Path) -> None:
    tape = Made()
    for stream in (1, 2):
        said = b"id: %d\n" % (7 * stream) + event("session.title", title="The lighthouse")
        tape.stream("s", 1.0, (1.0, heartbeat()), (2.0 + stream, said), end=9.0)
    assert search(tape.save(tmp_path / "a.db"), "lighthouse").total == 1
