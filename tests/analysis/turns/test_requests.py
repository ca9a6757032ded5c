"""Failed requests: which count, how bad they are, where they are told; sessions that the server does not know."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from omnirecord.analysis.doctor.examine import examine
from omnirecord.analysis.listing import session_rows
from omnirecord.analysis.search import _request as index_request
from omnirecord.analysis.search import search
from omnirecord.analysis.stats import measured
from omnirecord.analysis.transcript import lines_of
from omnirecord.analysis.transcript.follow import Following
from omnirecord.analysis.transcript.sentences import Page
from omnirecord.analysis.turns.requests import error_in
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite.search_index import Index
from omnirecord.replayer.player import GateRule
from omnirecord.replayer.player.plan import ReplayPlan
from omnirecord.ui.data import overview
from tests.support.cassettes import Made, conversation, heartbeat
from tests.support.command import invoke
from tests.support.examples import each

BUSY = {"error": {"code": "runner_unavailable", "message": "the runner boots"}}
UNKNOWN = {"error": {"code": "not_found", "message": "Session not found"}}
WRONG = {"error": {"code": "invalid_input", "message": "runner 'x' is not registered"}}
TERMINALS = "/v1/sessions/s/resources/terminals?order=asc"


def bound(status: int = 400, **more: Any) -> Made:
    """A session that was read once, and whose `PATCH` was answered with that status."""
    tape = Made()
    tape.get("/v1/sessions/s", 0.5, {"id": "s", "status": "idle"})
    tape.request("PATCH", "/v1/sessions/s", 1.0, status=status, body={"runner_id": "x"}, answer=WRONG, **more)
    return tape


def found(tape: Made) -> list[tuple[str, str, str | None]]:
    return [(one.code, one.severity, one.session_id) for one in examine(tape.store())]


def shown(tape: Made) -> str:
    return "\n".join(lines_of(tape.store(), None, Page(200)))


def ask(tape: Made, *asked: tuple[str, str, int]) -> Made:
    """Requests one after another: method, target, status."""
    for number, (method, target, status) in enumerate(asked):
        tape.request(method, target, 10.0 + number, status=status, answer={} if status < 400 else BUSY)
    return tape


@each("status", [400, 403, 409, 422, 500, 503])
def test_a_write_that_is_refused_is_an_error_told_with_the_servers_words(status: int) -> None:
    tape = bound(status)
    assert found(tape) == [("request-failed", "error", "s")]
    told = shown(tape)
    assert "!! PATCH /v1/sessions/s " in told
    assert f"{status} invalid_input: runner 'x' is not registered" in told
    assert "Nothing was asked, and nothing happened" not in told


def test_a_write_that_succeeds_when_it_is_tried_again_is_a_warning() -> None:
    tape = bound(503)
    tape.request("PATCH", "/v1/sessions/s", 2.0, status=200, answer={"id": "s"})
    assert found(tape) == [("request-failed", "warning", "s")]


@each(
    ("asked", "severity"),
    [
        (("GET", "/v1/sessions/s/items", 500), "warning"),
        (("GET", "/v1/sessions/s", 404), "warning"),
        (("GET", "/v1/sessions/s/agent", 502), "warning"),
        (("GET", "/v1/sessions/s/resources/github", 404), None),
        (("GET", "/v1/sessions/s/todos", 404), None),
        (("GET", TERMINALS, 503), "note"),
        (("GET", TERMINALS, 500), "warning"),
        (("PUT", "/v1/sessions/s/read-state", 503), "warning"),
        (("DELETE", "/v1/sessions/s", 404), "note"),
        (("DELETE", "/v1/sessions/s", 403), "error"),
        (("GET", "/v1/hosts/h/worktrees", 400), None),
        (("POST", "/v1/runners/r/token", 401), None),
    ],
)
def test_how_bad_a_failed_request_is(asked: tuple[str, str, int], severity: str | None) -> None:
    assert [one[1] for one in found(ask(bound(200), asked))] == ([severity] if severity else [])


def test_a_terminal_that_answers_once_the_runner_has_booted_is_no_failure() -> None:
    assert found(ask(bound(200), ("GET", TERMINALS, 503), ("GET", TERMINALS, 503), ("GET", TERMINALS, 200))) == []


def test_a_terminal_that_is_asked_for_while_the_runner_boots_is_a_note() -> None:
    assert found(ask(bound(200), ("POST", "/v1/sessions/s/resources/terminals", 503))) == [
        ("request-failed", "note", "s")
    ]


def test_failures_before_the_first_turn_have_the_sessions_clock() -> None:
    tape = Made()
    tape.get("/v1/sessions/s", 10.0, {"id": "s"})
    tape.request("PATCH", "/v1/sessions/s", 12.5, status=400, answer=WRONG)
    (line,) = [line for line in shown(tape).split("\n") if "!! PATCH" in line]
    assert line.startswith("     2.50 s ")


def test_a_404_after_the_session_was_deleted_is_a_note() -> None:
    asked = [("GET", "/v1/sessions/s", 200), ("DELETE", "/v1/sessions/s", 200), ("GET", "/v1/sessions/s", 404)]
    assert found(ask(bound(200), *asked)) == [("request-failed", "note", "s")]


def test_a_runners_requests_are_none_of_it() -> None:
    assert found(bound(200)) == []
    tape = bound(200)
    tape.request("PATCH", "/v1/sessions/s", 3.0, status=400, answer=WRONG, party="runner")
    assert found(tape) == []


def test_a_refused_message_is_one_finding_and_not_two() -> None:
    body = {"type": "message", "data": {"role": "user", "content": "Hi"}}
    tape = bound(200)
    tape.post("/v1/sessions/s/events", 2.0, status=503, body=body, answer=BUSY)
    assert found(tape) == [("message-refused", "error", "s")]


def test_an_event_that_is_no_message_and_is_refused_is_a_failed_request() -> None:
    tape = bound(200)
    tape.post("/v1/sessions/s/events", 2.0, status=422, body=b"{broken", answer={"detail": "no JSON"})
    assert found(tape) == [("request-failed", "error", "s")]


def test_failures_with_different_errors_are_told_apart() -> None:
    tape = bound(200)
    for number, words in enumerate(["no disk", "no memory"]):
        tape.get("/v1/sessions/s/items", 10.0 + number, {"detail": words}, status=500)
    assert [one.message[-9:].strip("0: ") for one in examine(tape.store())] == ["no disk", "no memory"]


def test_failures_of_one_kind_are_told_together() -> None:
    (one,) = examine(ask(bound(200), *[("GET", "/v1/sessions/s/items", 500)] * 3).store())
    assert one.message.startswith(
        "3 requests failed alike, the first: GET /v1/sessions/s/items failed (exchange 3): 500"
    )


def test_a_failure_in_a_turn_is_told_there_and_one_before_it_above() -> None:
    tape = conversation()
    tape.request("PATCH", "/v1/sessions/s", 0.7, status=409, answer=WRONG)
    tape.request("PATCH", "/v1/sessions/s", 3.5, status=400, answer=WRONG)
    lines = shown(tape).split("\n")
    first, second = [number for number, line in enumerate(lines) if "!! PATCH" in line]
    turn = next(number for number, line in enumerate(lines) if line.startswith("  1 "))
    assert first < turn < second
    assert "0.70 s" in lines[first]


def test_the_command_says_what_failed_where_no_stream_was_recorded(tmp_path: Path) -> None:
    path = bound().save(tmp_path / "made.db")
    result = invoke("doctor", path)
    assert result.exit_code == 1
    assert "nothing to examine" not in result.stdout
    assert "PATCH /v1/sessions/s was refused" in result.stdout


def test_a_session_that_could_not_be_made_is_told_as_a_request_of_no_session(tmp_path: Path) -> None:
    tape = Made()
    tape.post(
        "/v1/sessions", 0.0, status=422, answer={"detail": [{"loc": ["body", "metadata"], "msg": "Field required"}]}
    )
    assert found(tape) == [("request-failed", "error", None)]
    assert shown(tape).split("\n")[-2:] == [
        "Requests without a session",
        "     0.00 s    !! POST /v1/sessions was refused: 422 body.metadata: Field required",
    ]
    with closing(open_store(tape.save(tmp_path / "made.db"))) as store:
        following = Following(None, Page(200))
        following.look(store)
        assert [str(line) for line in following.news(last=True)] == [shown(tape).split("\n")[-1]]


def test_the_answer_of_a_failed_request_is_found_by_its_words(tmp_path: Path) -> None:
    (hit,) = search(bound().save(tmp_path / "made.db"), "registered").hits
    assert (hit.exchange, hit.status, hit.row["data"]) == (2, 400, WRONG)
    assert (hit.row["session_id"], hit.row["stream"]) == ("s", None)


def test_an_answer_that_comes_after_a_search_is_indexed_by_the_next_one() -> None:
    tape = bound(200)
    tape.post("/v1/sessions/s/events", 2.0, status=503, body={"type": "odd", "data": "Hello"}, answer=BUSY)
    store, index = tape.store(), Index.in_memory()
    (x,) = (one for one in store.exchanges() if one.request.method == "POST")
    body, answer = store.decoded_body(x, "request"), store.decoded_body(x, "response")
    goes_on, both = replace(x, response=None, end_ns=None), ["request", "answer"]
    for value, kinds in ((goes_on, both[:1]), (goes_on, both[:1]), (x, both), (x, both)):
        index_request(index, value, body, answer, None)
        assert [kind for (kind,) in index.connection.execute("SELECT kind FROM docs ORDER BY id")] == kinds
    index.close()


@each(
    ("answer", "told"),
    [
        (b'{"error": {"code": "a", "message": "b"}}', ("a", "b")),
        (b'{"detail": "no such thing"}', (None, "no such thing")),
        (b'{"detail": [{"loc": ["body", 3], "msg": "wrong"}, {"msg": "odd"}]}', (None, "body.3: wrong; odd")),
        (b'{"detail": [1, {"loc": 5}]}', (None, "")),
        (b"<html>", (None, "")),
        (b"[" * 100_000, (None, "[" * 399 + "…")),
        (b'{"error": "text"}', (None, "text")),
        (b'{"reason": "no space"}', (None, '{"reason": "no space"}')),
        (b"upstream connect error\n", (None, "upstream connect error")),
        (b"\x89PNG\0", (None, "")),
    ],
)
def test_what_an_error_says_in_its_answer(answer: bytes, told: tuple[str | None, str]) -> None:
    assert error_in(answer) == told


def strange() -> Made:
    """A conversation, and requests for a session that the server does not know."""
    tape = conversation()
    tape.get("/v1/sessions/old", 7.0, UNKNOWN, status=404)
    tape.get("/v1/sessions/old/items", 7.1, UNKNOWN, status=404)
    tape.get("/v1/sessions/old/stream", 7.2, UNKNOWN, status=404)
    return tape


def test_a_session_that_only_got_404s_is_none_anywhere(tmp_path: Path) -> None:
    path = strange().save(tmp_path / "made.db")
    with closing(open_store(path)) as store:
        assert [row["session_id"] for row in session_rows(store)] == ["s"]
        assert [row["session_id"] for row in overview(store, "made")["sessions"]] == ["s"]
        assert [one.session_id for one in measured(store)] == ["s"]
        assert list(ReplayPlan(store, GateRule()).sessions) == ["s"]
        assert not [line for line in lines_of(store, None) if line.startswith("Session old")]
        following = Following(None)
        following.look(store)
        assert not [line for line in following.news(last=True) if "Session old" in line]
    result = invoke("show", path, "old")
    assert (result.exit_code, "no session begins with 'old'" in result.output) == (2, True)


def test_its_requests_are_told_as_those_of_no_session_and_listed_on_the_page() -> None:
    tape = strange()
    assert [one for one in found(tape) if one[2] is None] == [("request-failed", "warning", None)]
    assert "Requests without a session" in shown(tape)
    others = overview(tape.store(), "made")["others"]
    assert [one["target"] for one in others if one["status"] == 404] == [
        "/v1/sessions/old",
        "/v1/sessions/old/items",
        "/v1/sessions/old/stream",
    ]


def test_a_session_with_one_other_answer_is_a_session() -> None:
    tape = Made()
    tape.get("/v1/sessions/s", 1.0, UNKNOWN, status=404)
    tape.stream("s", 2.0, (2.0, heartbeat()), end=3.0)
    assert [row["session_id"] for row in session_rows(tape.store())] == ["s"]
