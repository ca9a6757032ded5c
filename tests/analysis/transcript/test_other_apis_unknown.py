"""`show`, `doctor` and `sessions` on streams of APIs that no contract knows."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord.analysis.sessions import summaries
from omnirecord.analysis.transcript import lines_of, rows_of
from omnirecord.analysis.transcript.follow import Following
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Store
from omnirecord.model import Ending
from tests.support.cassettes import Made, delta, event, heartbeat

SHIPPED = Path(__file__).parent.parent.parent.parent / "cassettes" / "generic"


def frame(data: str, *lines: str) -> bytes:
    return "".join(f"{line}\n" for line in (*lines, f"data: {data}", "")).encode()


def a_stream(ending: Ending = "eof", *, target: str = "/prices", frames: tuple[bytes, ...] = ()) -> Made:
    """A stream of plain text, with ids and a comment, as Omnigent's contract judged it."""
    made = Made()
    sent = frames or (frame("up 3", "event: tick", "id: 7"), b": still here\n\n", frame("down\\u001b[31m", "id: 8"))
    reads = [(1.0 + number, one) for number, one in enumerate(sent)]
    made.stream(target, 1.0, *reads, ending=ending, end=5.0)
    return made


def shown(store: Store) -> list[str]:
    return [str(line) for line in lines_of(store, None)]


def test_events_are_listed_with_their_name_id_and_text() -> None:
    lines = shown(a_stream().store())
    assert lines[0] == "Requests of an unknown API · recording 1 · 1 request · 1 stream · 2 events · 4.00 s"
    assert [line.split() for line in lines[1:]] == [
        ["1.00", "s", "GET", "/prices", "->", "200,", "stream", "1"],
        ["1.00", "s", "1:1", "tick", "up", "3", "[id", "7]"],
        ["2.00", "s", "1:2", "comment", ":", "still", "here"],
        ["3.00", "s", "1:3", "message", "down\\u001b[31m", "[id", "8]"],
    ]


def test_the_end_marker_is_no_message() -> None:
    made = Made()
    made._contracts[0] = "none"
    made.stream("/chat", 1.0, (1.1, frame('{"x": 1}')), (1.2, frame("[DONE]")), ending="eof")
    assert [line.split()[3:] for line in shown(made.store())[2:]] == [["message", "x=1"], ["sentinel", "[DONE]"]]


def test_a_broken_stream_is_named_and_is_the_only_error() -> None:
    store = a_stream("upstream_lost").store()
    assert shown(store)[-1].split(maxsplit=2)[-1] == "!! stream 1: connection broke"
    assert summaries(store)[0].conclusion.verdict.startswith("Failed: the connection to the server broke")
    assert [one.code for one in summaries(store)[0].findings] == ["upstream-lost", "other-api"]


@pytest.mark.parametrize("ending", ["eof", "client_left", "recorder_stopped"])
def test_no_other_ending_is_a_finding(ending: Ending) -> None:
    assert [one.code for one in summaries(a_stream(ending).store())[0].findings] == ["other-api"]


def test_one_note_says_that_no_event_is_omnigents(tmp_path: Path) -> None:
    made = a_stream()
    for number in range(5):
        made.stream("/chat", 10.0 + number, (11.0 + number, frame('{"type": "x"}')), end=12.0 + number)
    (note,) = omnirecord.doctor(made.save(tmp_path / "made.db"))
    assert (note.code, note.severity) == ("other-api", "note")
    assert note.message == "none of 8 events is Omnigent's, in 6 streams, the first of them GET /prices"


def judged_by_a_file(made: Made, folder: Path, hop: str | None = None) -> Store:
    """The cassette, as a recorder with the contract of a file has written it."""
    path = made.save(folder / "made.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE recordings SET contract = 'openapi.json', hop = ?", (hop,))
    return Store.open(path)


@pytest.mark.parametrize("hop", [None, "agent"])
def test_a_stream_that_a_schema_judged_has_no_rules_of_omnigent(hop: str | None, tmp_path: Path) -> None:
    made = Made()
    made._contracts[0] = "none"
    made.stream("/runs/1/events", 1.0, (1.1, frame("up 3")), ending="eof", end=5.0)
    with closing(judged_by_a_file(made, tmp_path, hop)) as store:
        assert summaries(store)[0].findings == ()
        assert shown(store)[0].startswith("Requests of an unknown API")


def test_a_session_that_an_openapi_json_judged_keeps_the_rules_of_omnigent(tmp_path: Path) -> None:
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), (2.0, event("session.sparkle")), end=3.0)
    with closing(judged_by_a_file(made, tmp_path)) as store:
        (one,) = summaries(store)
    assert one.session_id == "s"
    assert [finding.code for finding in one.findings] == ["contract-unknown"]


def test_a_stream_of_omnigent_keeps_its_finding_of_a_new_type() -> None:
    made = Made()
    made.stream("s", 1.0, (1.0, heartbeat()), (2.0, event("session.sparkle")), end=3.0)
    made.stream("t", 4.0, (4.0, event("session.sparkle")), end=5.0)
    made.stream("/elsewhere", 6.0, (6.0, delta("Hi")), (7.0, event("sparkle")), end=8.0)
    found = [finding for one in summaries(made.store()) for finding in one.findings]
    assert sum(one.code == "contract-unknown" for one in found) == 3
    assert not any(one.code == "other-api" for one in found)


def test_failed_requests_stand_among_the_events() -> None:
    made = a_stream()
    made.request("POST", "/prices", 1.5, status=500, answer={"error": "no"})
    lines = [line.split() for line in shown(made.store())]
    assert lines[3] == ["1.50", "s", "POST", "/prices", "->", "500"]
    assert lines[4] == ["1.50", "s", "#2", "answer", "error=no"]
    assert len(lines) == 7


def anthropic(made: Made, target: str, at: float, **more: Any) -> None:
    headers = (("Host", "api.anthropic.com"), ("anthropic-version", "2023-06-01"))
    made.post(target, at, until=at + 0.1, sent=headers, **more)


def test_the_other_requests_of_a_recording_with_model_calls_are_listed() -> None:
    made = Made("auto")
    made.get("/v1/models", 0.5, {"data": [{"id": "claude"}]}, until=0.6)
    anthropic(made, "/v1/messages/count_tokens", 1.0, answer={"input_tokens": 12})
    anthropic(made, "/v1/messages", 2.0, body={"model": "claude", "messages": []}, answer={"type": "message"})
    made.post("/v1/conversations", 3.0, until=3.1, body={}, answer={"id": "conv_1"})
    made.post("/v1/conversations/conv_1/items", 4.0, until=4.1, body={"items": []}, status=500)
    store = made.store()
    lines = shown(store)
    begin = lines.index("Other requests · recording 1 · 4 requests · 3.60 s")
    assert [line.split()[2:] for line in lines[begin + 1 :]] == [
        ["GET", "/v1/models", "->", "200"],
        ["#1", "answer", 'data=[{"id":', '"claude"}]'],
        ["POST", "/v1/messages/count_tokens", "->", "200"],
        ["#2", "answer", "input_tokens=12"],
        ["POST", "/v1/conversations", "->", "200"],
        ["#4", "answer", "id=conv_1"],
        ["POST", "/v1/conversations/conv_1/items", "->", "500"],
    ]
    assert sum("conversations/conv_1/items" in line for line in lines) == 1
    following = Following(None)
    following.look(store)
    followed = [str(line) for line in following.news(last=True)]
    assert [line.split() for line in followed[:7]] == [line.split() for line in lines[begin + 1 :]]


def test_a_service_without_streams_has_its_requests_listed() -> None:
    made = Made("auto")
    made.post("/login", 1.0, until=1.1, body={"user": "a"}, answer={"ok": True})
    assert shown(made.store())[0] == "Requests of an unknown API · recording 1 · 1 request · 0.10 s"


def test_the_pages_and_files_of_omnigents_web_ui_are_not_listed() -> None:
    made = Made("auto")
    made.get("/assets/index.js", 1.0, "x", until=1.1)
    made.get("/v1/sessions", 2.0, {"sessions": []}, until=2.1)
    assert shown(made.store()) == ["no sessions"]


def test_an_answer_of_json_rpc_has_the_same_name_with_and_without_a_stream() -> None:
    made = Made("auto")
    answer = {"jsonrpc": "2.0", "id": 1, "result": {"ok": True}}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "f"}}
    made.post("/mcp", 1.0, until=1.1, body=call, answer=answer)
    made.stream("/mcp", 2.0, (2.1, frame(json.dumps(answer))), method="POST", body=json.dumps(call).encode())
    made.post("/mcp", 3.0, until=3.1, status=202, body=answer)
    rows = [line.split()[2:] for line in shown(made.store())[1:]]
    assert [row[1:] for row in rows if row[0] in ("#1", "1:1")] == [["result", "id=1", "ok=true"]] * 2
    assert rows[-1] == ["POST", "/mcp", "result", "id=1", "->", "202"]


def test_sessions_and_streams_of_another_api_stand_beside_each_other() -> None:
    made = a_stream()
    made.stream("s", 6.0, (6.0, heartbeat()), end=8.0)
    lines = shown(made.store())
    assert any(line.startswith("Session s ") for line in lines)
    assert sum(line.startswith("Requests of an unknown API") for line in lines) == 1
    assert not any("stream without a session" in line for line in lines)
    assert list(rows_of(made.store(), None)) == []


@pytest.mark.parametrize("name", ["mcp", "ag_ui"])
def test_following_a_complete_cassette_prints_the_same_entries(name: str) -> None:
    store = open_store(SHIPPED / f"{name}.jsonl")
    following = Following(None)
    following.look(store)
    followed = [str(line) for line in following.news(last=True)]
    assert [line.split() for line in followed] == [line.split() for line in shown(store)[1:]]
    store.close()


def test_a_session_has_the_request_as_its_question() -> None:
    store = open_store(SHIPPED / "mcp.jsonl")
    asked = [one.conclusion.asked for one in summaries(store)]
    assert asked[4:6] == ["POST /mcp tools/call forecast", "POST /mcp tools/call convert"]
    store.close()
