"""How a session ended, in one line: the outcome, the reason, and the time since which it holds."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from omnirecord.analysis.gather import Known, conclusions
from omnirecord.analysis.transcript import rows_of
from omnirecord.analysis.turns.conclusion import Conclusion
from omnirecord.cassette.open import open_store
from tests.support.cassettes import (
    HEALTHY,
    TROUBLED,
    Made,
    completed,
    created,
    delta,
    event,
    heartbeat,
    status,
)
from tests.support.examples import each

VERDICTS = {
    "approval_timed_out": "Failed: no answer to the approval asked at 19:51:04 UTC",
    "approval_unanswered": "Unfinished: waiting for approval since 19:52:56 UTC",
    "child_unfinished": "Unfinished: waiting for the sub-agent reviewer:plan review since 20:13:57 UTC",
    "missed_end": "Unfinished: no client heard the end of the turn, last event at 19:49:18 UTC",
    "runner_killed": "Failed: the runner was lost, no sign of it since 19:51:17 UTC",
    "server_killed": "Unfinished: the server stopped in the middle of the turn at 20:03:10 UTC",
    "slow_reader": "Unfinished: the server dropped the client, which read too slowly at 20:42:02 UTC",
    "tool_hangs": "Unfinished: waiting for the tool sys_os_shell since 20:03:26 UTC",
}


def of(path: Path) -> list[Conclusion]:
    with closing(open_store(path)) as store:
        return [one.conclusion for one in conclusions(store)]


def made(tape: Made) -> Conclusion:
    (found,) = conclusions(tape.store())
    return found.conclusion


@each("name", VERDICTS)
def test_the_verdict_has_the_reason_and_the_time(name: str) -> None:
    assert of(TROUBLED[name])[0].verdict == VERDICTS[name]


@each("path", [*HEALTHY.values(), *TROUBLED.values()])
def test_an_outline_concludes_what_the_whole_story_does(path: Path) -> None:
    with closing(open_store(path)) as store:
        told = [row["conclusion"] for row in rows_of(store, None) if row["conclusion"] is not None]
        assert [one.conclusion.row() for one in conclusions(store) if one.session.turns] == told


def test_an_outline_has_of_a_run_of_deltas_the_first_and_the_last() -> None:
    tape = Made()
    words = [(3.0 + n / 10, delta(f"{n}", n)) for n in range(40)]
    pause = [(20.0, delta("late", 50)), (20.1, delta("later", 51)), (20.2, delta("last", 52))]
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, created()), *words, *pause, (21.0, completed()))
    store = tape.store()
    (x,) = store.streams()
    outline = [(frame.seq, frame.raw is not None) for frame in store.outline(x)]
    assert outline == [(1, True), (2, True), (3, True), (42, False), (43, False), (45, False), (46, True)]


def test_a_session_that_is_still_open_says_what_it_does() -> None:
    tape = Made()
    asked = event("response.elicitation_request", elicitation_id="e", params={"message": "May I?"})
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, created()), (3.0, asked), ending="open")
    store = tape.store()
    store.is_being_recorded = True
    (found,) = conclusions(store)
    assert found.conclusion.outcome == "recording"
    assert found.conclusion.verdict == "Recording: waiting for approval since 03:04:08 UTC"


def test_a_recording_without_times_names_none() -> None:
    tape = Made()
    tape.stream("s", 0.0, (0.0, created()), (0.0, delta("Hi", 1)), (0.0, completed()), (0.0, status("idle")))
    found = made(tape)
    assert (found.verdict, found.since, found.duration_s) == ("Finished", None, None)


def test_the_parties_that_listened_are_connected_each_once() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), party="client-2")
    tape.stream("s", 2.0, (2.0, heartbeat()))
    tape.stream("s", 3.0, (3.0, heartbeat()), party="client-2")
    tape.get("/v1/sessions/s", 4.0, {"status": "idle"}, party="client-3")
    assert made(tape).connected == ("client 2", "client")


def test_a_session_without_a_stream_is_unknown() -> None:
    tape = Made()
    tape.get("/v1/sessions/s", 1.0, {"status": "idle"}, until=2.0)
    found = made(tape)
    assert (found.outcome, found.connected, found.asked) == ("unknown", (), None)


def test_a_session_that_is_over_is_outlined_once() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, created()), (3.0, completed()), ending="client_left")
    tape.stream("t", 1.0, (1.0, heartbeat()), (2.0, created()), ending="open")
    store, known = tape.store(), Known()
    first, again = (list(conclusions(store, known=known)) for _ in range(2))
    assert [a.session is b.session for a, b in zip(first, again, strict=True)] == [True, False]
    assert [a.conclusion == b.conclusion for a, b in zip(first, again, strict=True)] == [True, True]
