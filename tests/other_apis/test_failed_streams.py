"""A stream that failed is not "Finished": an error status, an error as the last event, bytes that cannot be decoded.
`sessions` and the page say so, and `doctor` names it."""

from __future__ import annotations

from pathlib import Path

from omnirecord.ui.data import overview
from tests.support.answers import rows
from tests.support.cassettes import SSE, Made, heartbeat
from tests.support.examples import each

BROKEN = (*SSE, ("content-encoding", "gzip"))


def plain(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def concluded(tape: Made, path: Path) -> tuple[str, str, set[str]]:
    """Outcome and verdict, without the time, and the codes that doctor has for that stream or session."""
    (row,) = rows(tape.save(path), "sessions")
    with_place = [one for one in rows(path, "doctor") if one["stream"] == 1 or one["session_id"] is not None]
    verdict = row["conclusion"]["verdict"].rpartition(" at ")[0] or row["conclusion"]["verdict"]
    return row["conclusion"]["outcome"], verdict, {one["code"] for one in with_place if one["severity"] != "note"}


@each(
    ("last", "said"),
    [
        ('{"type": "RUN_ERROR", "message": "no model", "code": "e"}', "Failed: e: no model"),
        ('{"error": {"message": "no model"}}', "Failed: no model"),
        ('{"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "no tool"}}', "Failed: no tool"),
    ],
)
def test_a_stream_whose_last_event_is_an_error_has_failed(last: str, said: str, tmp_path: Path) -> None:
    tape = Made("none")
    tape.stream("/run", 1.0, (1.1, plain('{"type": "RUN_STARTED"}')), (1.2, plain(last)), ending="eof", method="POST")
    assert concluded(tape, tmp_path / "made.db") == ("failed", said, {"request-failed"})


def test_an_error_that_another_event_follows_is_not_the_end(tmp_path: Path) -> None:
    tape = Made("none")
    tape.stream("/run", 1.0, (1.1, plain('{"error": "again"}')), (1.2, plain('{"text": "Hi"}')), ending="eof")
    assert concluded(tape, tmp_path / "made.db") == ("finished", "Finished: the server ended the stream", set())


def test_a_stream_with_an_error_status_has_failed(tmp_path: Path) -> None:
    tape = Made("none")
    tape.stream("/run", 1.0, (1.1, plain('{"detail": "no disk"}')), ending="eof", method="POST", status=500)
    outcome, verdict, _ = concluded(tape, tmp_path / "made.db")
    assert (outcome, verdict.startswith("Failed: 500")) == ("failed", True)
    assert [one["code"] for one in rows(tmp_path / "made.db", "doctor")] == ["request-failed"]


@each("target", ["s", "/run"])
def test_a_stream_that_cannot_be_decoded_is_not_finished(target: str, tmp_path: Path) -> None:
    tape = Made("omnigent" if target == "s" else "none")
    tape.stream(target, 1.0, (1.0, heartbeat()), headers=BROKEN, ending="eof", end=2.0)
    tape.incident(1.0, "stream 1: the body is not what its Content-Encoding says: not gzip")
    outcome, verdict, codes = concluded(tape, tmp_path / "made.db")
    assert (outcome, verdict) == ("unknown", "Unknown: the stream cannot be decoded")
    assert "stream-not-decoded" in codes


def test_a_stream_that_the_server_encoded_badly_is_no_problem_of_the_recorder() -> None:
    tape = Made("none")
    tape.stream("/run", 1.0, (1.0, heartbeat()), headers=BROKEN, ending="eof", end=2.0)
    tape.incident(1.0, "stream 1: the body is not what its Content-Encoding says: not gzip")
    tape.incident(1.5, "the disk is slow")
    assert [one["message"] for one in overview(tape.store(), "made")["incidents"]] == ["the disk is slow"]
