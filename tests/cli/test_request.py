"""`request` and `events`: one exchange in full, and some of many events."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.support import forked
from tests.support.cassettes import HEALTHY, Made, completed, delta
from tests.support.command import invoke, rows
from tests.support.examples import each

APPROVAL = HEALTHY["approval"]
SESSION = "04cc962c53894fceb438253de1a3c240"
PACKED = (("content-type", "application/json"), ("content-encoding", "gzip"))


def lines(*words: str | Path | int) -> list[str]:
    result = invoke(*words, code=0)
    return result.stdout.splitlines()


def test_a_request_is_shown_with_its_answer_fields_bodies_and_times() -> None:
    found = lines("request", APPROVAL, 5)
    assert found[0] == f"exchange 5 · session {SESSION} · recording 1 · Python client"
    at = "2026-11-25 03:39:52.105043 UTC (0.67 s into the session)"
    assert found[1] == f"at {at}, first byte after 0.08 s, ended after 0.09 s"
    assert found[2] == "ending: eof (the answer was complete)"
    assert f"POST /v1/sessions/{SESSION}/events" in found
    assert "Content-Type: application/json" in found
    assert "202 Accepted" in found
    assert found[-1].startswith('{"queued":true')
    assert any(line.startswith('{"type":"message"') for line in found)


def test_on_a_terminal_json_has_indents() -> None:
    said, _ = forked.on_a_terminal("request", APPROVAL, "5")
    assert '\r\n  "type": "message",\r\n' in said


def test_a_failed_answer_is_red_on_a_terminal(tmp_path: Path) -> None:
    tape = Made()
    tape.get("/v1/sessions/s", 0.0, {"error": "no"}, status=404)
    said, _ = forked.on_a_terminal("request", tape.save(tmp_path / "x.db"), "1")
    assert "\x1b[31m\x1b[1m404 OK" in said


def test_a_stream_is_summed_up_and_says_how_to_see_its_events() -> None:
    found = lines("request", APPROVAL, "x4")
    assert "first event after 0.01 s" in found[1]
    assert found[-2] == "stream 1: 30 frames (30 valid), 7,238 bytes"
    assert found[-1] == f"see them with: omnirecord events {APPROVAL} --stream 1"


def test_a_websocket_is_shown_message_by_message(tmp_path: Path) -> None:
    tape = Made()
    tape.websocket("/v1/sessions/updates", 1.0, (1.5, "up", b"hello\x1b[2J"), (2.0, "down", b"\xff\0" * 5))
    found = lines("request", tape.save(tmp_path / "x.db"), 1)
    assert found[-3:] == [
        "2 messages", "    +0.500 s  to server  text    hello\\x1b[2J",
        "    +1.000 s  to client  text    (10 binary bytes)",
    ]  # fmt: skip
    (row,) = rows("request", tmp_path / "x.db", 1)
    assert [(one["dir"], one["at_ns"]) for one in row["messages"]] == [("up", 1_500_000_000), ("down", 2_000_000_000)]


def test_a_compressed_body_is_shown_and_written_without_its_coding(tmp_path: Path) -> None:
    tape, body = Made(), json.dumps({"text": "hello"}).encode()
    packed = gzip.compress(body)
    tape.post("/v1/sessions/s/events", 0.0, body=packed, answer=packed, sent=PACKED, headers=PACKED)
    path = tape.save(tmp_path / "x.db")
    assert lines("request", path, 1).count(body.decode()) == 2
    assert rows("request", path, 1)[0]["request"]["data"] == {"text": "hello"}
    for side in ("request", "response"):
        assert invoke("request", path, 1, "--body", side).stdout_bytes == body
    invoke("request", path, 1, "--body", "request", "-o", tmp_path / "body", code=0)
    assert (tmp_path / "body").read_bytes() == body
    (row,) = rows("request", path, 1, "--body", "response", "-o", tmp_path / "body")
    assert row == {"output": str(tmp_path / "body"), "bytes": len(body), "body": "response"}


def test_a_binary_body_is_a_size_and_the_command_that_writes_it(tmp_path: Path) -> None:
    tape = Made()
    tape.get("/v1/files/f", 0.0, bytes(range(256)))
    path = tape.save(tmp_path / "x.db")
    said = lines("request", path, 1)[-1]
    assert said == f"(256 binary bytes; omnirecord request {path} 1 --body response -o FILE writes them)"
    assert invoke("request", path, 1, "--body", "response").stdout_bytes == bytes(range(256))


def test_a_body_is_one_json_object_on_stdout_with_json(tmp_path: Path) -> None:
    tape = Made()
    tape.post("/v1/sessions/s/events", 0.0, body=b'{"a": 1}', answer=b"\xff")
    path = tape.save(tmp_path / "x.db")
    (row,) = rows("request", path, 1, "--body", "request")
    assert row == {"output": None, "bytes": 8, "body": "request", "data": {"a": 1}, "raw": '{"a": 1}'}
    result = invoke("request", path, 1, "--body", "response", "-o", "-", "--json")
    assert json.loads(result.stdout) == {
        "output": None, "bytes": 1, "body": "response", "data": None, "raw": {"base64": "/w=="}
    }  # fmt: skip
    assert result.stderr == ""
    (row,) = rows("request", APPROVAL, 4, "--body", "response")
    assert (row["data"], row["raw"][:24]) == (None, "event: session.heartbeat")


def test_a_binary_body_is_refused_on_a_terminal(tmp_path: Path) -> None:
    tape = Made()
    tape.get("/v1/files/f", 0.0, bytes(range(256)))
    said, code = forked.on_a_terminal("request", tape.save(tmp_path / "x.db"), "1", "--body", "response")
    assert (code, "write it to a file with -o FILE" in said) == (2, True)


def test_a_request_without_an_answer_says_so(tmp_path: Path) -> None:
    tape = Made()
    tape.get("/v1/sessions/s", 0.0, answered=False, ending="client_left")
    found = lines("request", tape.save(tmp_path / "x.db"), 1)
    assert found[-1] == "no answer"
    assert "ending: client_left (the client closed the connection)" in found
    assert rows("request", tmp_path / "x.db", 1)[0]["response"] is None
    assert "has no answer" in invoke("request", tmp_path / "x.db", 1, "--body", "response").stderr


def test_a_raw_body_has_no_times(tmp_path: Path) -> None:
    (tmp_path / "x.sse").write_bytes(delta("a"))
    invoke("import", tmp_path / "x.sse", "--db", tmp_path / "x.db", code=0)
    assert lines("request", tmp_path / "x.db", 1)[1:3] == [
        "no times were recorded", "ending: unknown (the recording does not say how)"
    ]  # fmt: skip
    (row,) = rows("request", tmp_path / "x.db", 1)
    assert {row[name] for name in ("started_at", "started_ns", "first_byte_s", "first_event_s", "duration_s")} == {None}
    assert rows("events", tmp_path / "x.db", "--since", "1") == []


def test_the_row_of_a_request_begins_with_that_of_ls() -> None:
    for before in rows("ls", APPROVAL, "--exchanges"):
        (row,) = rows("request", APPROVAL, before["exchange"])
        assert {name: row[name] for name in before} == before
        assert list(row)[: len(before)] == list(before)


@each(
    ("words", "said"),
    [
        ([99], "holds no exchange 99: it has 1, 2"),
        (["nine"], "'nine' names no exchange: give its number"),
        (["stream", 7], "holds no stream 7: there are 1"),
        ([1, "--curl", "--body", "request"], "exclude each other"),
        ([1, "--base-url", "http://a"], "--base-url needs --curl"),
        ([1, "-o", "x"], "--output needs --body"),
        ([1, "--curl", "--base-url", "a.example"], "does not begin with http://"),
    ],
)
def test_a_wrong_call_gets_a_sentence(words: list[str | int], said: str) -> None:
    result = invoke("request", APPROVAL, *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_an_exchange_of_another_session_is_not_of_the_named_one() -> None:
    result = invoke("request", f"{HEALTHY['subagent']}#c6", 1)
    assert "the session c6dde6498cf3476ebdda786dfb6f4cfa holds no exchange 1: it has 6" in result.stderr


def test_a_curl_command_in_json_has_its_variables() -> None:
    (row,) = rows("request", APPROVAL, 5, "--curl")
    assert row["curl"].startswith("curl http://127.0.0.1:")
    assert (row["variables"], row["remarks"]) == ({}, [])


@pytest.fixture
def late(tmp_path: Path) -> Path:
    """A session that begins 100 s after the recording, at 03:05:45."""
    tape = Made()
    tape.stream("s", 100.0, *((100.0 + n, delta(str(n))) for n in range(5)), (105.0, completed()))
    return tape.save(tmp_path / "late.db")


@each(
    ("words", "seqs"),
    [
        (["--since", "3"], [4, 5, 6]), (["--until", "1"], [1, 2]), (["--since", "1", "--until", "2.5"], [2, 3]),
        (["--since", "03:05:48"], [4, 5, 6]), (["--until", "2026-01-02T03:05:45.5Z"], [1]), (["--limit", "2"], [1, 2]),
        (["--since", "3", "--limit", "1"], [4]), (["--limit", "100"], [1, 2, 3, 4, 5, 6]),
    ],
)  # fmt: skip
def test_events_are_narrowed_by_time_and_number(words: list[str], seqs: list[int], late: Path) -> None:
    assert [row["seq"] for row in rows("events", late, *words)] == seqs


def test_times_of_events_count_from_the_start_of_the_session(late: Path) -> None:
    assert "    1.000s   +1.000" in lines("events", late)[2]
    assert "  101.000s   +1.000" in lines("events", late, "--absolute")[2]


def test_a_limit_says_that_there_is_more(late: Path) -> None:
    said = lines("events", late, "--limit", 5)[-1]
    assert said == "… and more: raise --limit 5, or narrow it down with --since and --type"
    assert "more" not in lines("events", late, "--limit", 6)[-1]


def test_a_type_that_no_event_has_names_the_nearest_and_exits_1() -> None:
    result = invoke("events", APPROVAL, "--type", "respons.*")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "no event has a type like 'respons.*': the nearest are response.output_text.delta (16)" in result.stdout
    result = invoke("events", APPROVAL, "--type", "respons.*", "--json")
    assert (result.exit_code, result.stdout, json.loads(result.stderr)["exit_code"]) == (1, "", 1)
    result = invoke("events", APPROVAL, "--type", "zzz")
    assert "there are response.output_text.delta (16)" in result.stdout


def test_a_type_that_other_options_leave_out_is_no_misspelling() -> None:
    result = invoke("events", APPROVAL, "--type", "response.*", "--since", "1000")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "matches the other options" in result.stdout


@each("words", [(4,), ("x4",), ("exchange", 4), ("exchange 4",), ("stream", 1), ("1:7",)])
def test_an_exchange_is_named_as_other_commands_print_it(words: tuple[str | int, ...]) -> None:
    assert invoke("request", APPROVAL, *words).stdout.startswith("exchange 4 · ")
