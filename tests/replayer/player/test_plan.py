"""A cassette laid out for playing: sessions, trees, gates, parts, one clock."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import is_coded
from omnirecord.errors import UsageError
from omnirecord.omnigent.line import connect_snapshot_length
from omnirecord.replayer.player.gates import GateRule
from omnirecord.replayer.player.plan import ReplayPlan
from omnirecord.replayer.stream_parts import Part, StreamParts, parts_of
from tests.support.cassettes import (
    HEALTHY,
    TROUBLED,
    Made,
    child,
    conversation,
    delta,
    heartbeat,
    ns,
    presence,
    status,
    zipped,
)
from tests.support.examples import each
from tests.support.stage import EVENTS, SESSION


def plan(tape: Made, *specs: str, off: bool = False, opens: bool = False) -> ReplayPlan:
    return ReplayPlan(tape.store(), GateRule(specs, off=off, opens=opens))


def parts(*reads: tuple[float, bytes], **more: object) -> Sequence[Part]:
    tape = Made()
    tape.stream("s", reads[0][0], *reads, **more)  # type: ignore[arg-type]
    made = plan(tape)
    return made.parts(made.exchanges[0])


def greeting(*reads: tuple[float, bytes]) -> int:
    tape = Made()
    tape.stream("s", reads[0][0], *reads)
    store = tape.store()
    return connect_snapshot_length(list(store.frames(store.streams()[0])))


def test_a_sub_agent_belongs_to_its_parents_tree_however_deep() -> None:
    tape = Made()
    tape.stream("a", 1.0, (1.0, child("b", of="a")))
    tape.stream("b", 2.0, (2.0, child("c", of="b")))
    tape.stream("c", 3.0, (3.0, heartbeat()))
    tape.stream("other", 3.0, (3.0, heartbeat()))
    made = plan(tape)
    assert {name: session.root for name, session in made.sessions.items()} == {
        "a": "a",
        "b": "a",
        "c": "a",
        "other": "other",
    }
    assert [session.session_id for session in made.trees["a"].sessions] == ["a", "b", "c"]


def test_sessions_that_claim_to_be_each_others_parents_do_not_hang_it() -> None:
    tape = Made()
    tape.stream("a", 1.0, (1.0, child("b", of="a")))
    tape.stream("b", 2.0, (2.0, child("a", of="b")))
    assert set(plan(tape).sessions) == {"a", "b"}


def test_the_gates_of_a_tree_are_what_clients_posted_to_any_of_its_sessions() -> None:
    tape = Made()
    tape.stream("a", 1.0, (1.0, child("b", of="a")))
    tape.post("/v1/sessions/a/events", 2.0, status=202)
    tape.post("/v1/sessions/b/events", 3.0, status=202)
    tape.post("/v1/sessions/b/events", 4.0, status=202, party="runner")
    tape.post("/v1/sessions/a/events", 5.0, answered=False)
    assert [gate.request.at_ns for gate in plan(tape).trees["a"].gates] == [ns(2.0), ns(3.0)]


def test_a_runners_open_is_none_of_a_clients() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), party="runner")
    tape.stream("s", 2.0, (2.0, heartbeat()))
    assert [x.request.at_ns for x in plan(tape).sessions["s"].opens] == [ns(2.0)]


def test_the_opens_of_a_tree_after_its_first_can_be_gates_as_well() -> None:
    tape = Made()
    tape.stream("a", 1.0, (1.0, child("b", of="a")))
    tape.stream("b", 2.0, (2.0, heartbeat()))
    tape.stream("a", 3.0, (3.0, heartbeat()))
    gates = plan(tape, opens=True).trees["a"].gates
    assert [gate.request.target for gate in gates] == ["/v1/sessions/b/stream", "/v1/sessions/a/stream"]


@each("spec", ["POST", "POST ", "", " /v1/x"])
def test_a_gate_that_is_no_method_and_glob_is_a_usage_error_that_shows_one(spec: str) -> None:
    with pytest.raises(UsageError, match=r"write for instance 'POST /v1/sessions/\*/events'"):
        GateRule([spec])


def test_gates_and_no_gates_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="exclude"):
        GateRule(["POST *"], off=True)


def test_a_glob_is_matched_against_the_path_alone() -> None:
    tape = conversation()
    tape.post("/v1/sessions/s/files?name=events", 3.0, status=201)
    targets = [x.request.target for x in plan(tape, "post */events").trees["s"].gates]
    assert targets == [EVENTS]


def test_of_a_compressed_stream_whole_reads_are_the_connect_snapshot() -> None:
    headers = (("content-type", "text/event-stream"), ("content-encoding", "gzip"))
    reads = zipped([(1.0, heartbeat()), (1.1, presence() + status("running")), (2.0, delta("a"))])
    made = parts(*reads, headers=headers)
    assert [part.data for part in made] == [data for _, data in reads]
    assert [part.in_snapshot for part in made] == [True, False, False]


@each(
    ("reads", "count"),
    [
        ([(1.0, heartbeat())], 1),
        ([(1.0, heartbeat() + presence()), (1.1, presence())], 3),
        ([(1.0, heartbeat()), (1.1, heartbeat())], 1),
        ([(1.0, heartbeat()), (2.5, presence())], 1),
        ([(1.0, heartbeat() + event) for event in [delta("a", None)]], 2),
        ([(1.0, heartbeat() + delta("a", 7))], 1),
        ([(1.0, delta("a", 7))], 0),
        ([(1.0, b"data: 1\n\n")], 0),
        ([(1.0, b"")], 0),
    ],
)
def test_the_connect_snapshot_is_what_comes_first_at_once_and_of_its_types(
    reads: list[tuple[float, bytes]], count: int
) -> None:
    assert greeting(*reads) == count


def test_recordings_are_laid_end_to_end_on_one_clock() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, delta("a")), end=4.0)
    tape.another_recording()
    tape.get(SESSION, 0.5, {})
    tape.stream("s", 1.0, (1.0, heartbeat()), (1.25, delta("b")), end=2.0)
    made = plan(tape)
    second = made.exchanges[2]
    assert [x.request.at_ns for x in made.exchanges] == [ns(1.0), ns(4.5) + 1, ns(5.0) + 1]
    assert (second.response and second.response.at_ns, second.end_ns) == (ns(5.0) + 1, ns(6.0) + 1)
    assert list(made.points_of("s")) == [ns(1.0), ns(2.0), ns(5.0) + 1, ns(5.25) + 1]
    assert [part.offset_ns for part in made.parts(second)] == list(made.points_of("s")[2:])
    assert made.frames(second)[1].offset_ns == ns(5.25) + 1


def test_the_session_lists_rows_come_from_http_and_from_its_websocket_in_order() -> None:
    tape = Made()
    changed = {"type": "changed", "items": [{"id": "s", "n": 2}]}
    tape.websocket("/v1/sessions/updates", 1.0, (1.5, "up", {"session_ids": ["s"]}), (3.0, "down", changed))
    tape.get("/v1/sessions?limit=9", 2.0, {"data": [{"id": "s", "n": 1}, "odd"]})
    tape.get("/v1/sessions", 4.0, b"no JSON")
    assert [(at, row["n"]) for at, row in plan(tape).session_rows] == [(ns(2.0), 1), (ns(3.0), 2)]


def test_the_session_lists_rows_are_on_the_same_clock() -> None:
    tape = Made()
    tape.get("/v1/sessions", 1.0, {"data": [{"id": "s", "n": 1}]})
    tape.another_recording()
    tape.websocket("/v1/sessions/updates", 0.0, (0.5, "down", {"type": "changed", "items": [{"id": "s", "n": 2}]}))
    assert [(at, row["n"]) for at, row in plan(tape).session_rows] == [(ns(1.0), 1), (ns(1.5) + 1, 2)]


def test_streams_are_read_ahead_up_to_a_size_and_those_of_clients_only() -> None:
    tape = Made()
    tape.stream("a", 1.0, (1.0, heartbeat()), ending="eof", end=2.0)
    tape.stream("r", 2.0, (2.0, heartbeat()), ending="eof", end=3.0, party="runner")
    tape.stream("b", 3.0, (3.0, heartbeat()), ending="eof", end=4.0)
    tape.stream("c", 4.0, (4.0, heartbeat()), ending="eof", end=5.0)
    made = plan(tape)
    made.read_ahead(2 * len(heartbeat()))
    laid = [x.session_id for x in made.exchanges if x.exchange in made._parts]
    assert laid == ["a", "b"]
    assert next(iter(made.parts(made.exchanges[3]))).data == heartbeat()


@each("path", [*HEALTHY.values(), *TROUBLED.values()])
def test_a_stream_read_as_a_whole_is_the_same_as_frame_by_frame(path: Path) -> None:
    with closing(open_store(path)) as store:
        whole = ReplayPlan(store, GateRule())
        streams = [x for x in whole.exchanges if x.stream is not None and not is_coded(x)]
        for x in streams:
            one, other = whole.parts(x), parts_of(zip(*whole._reads(x), strict=True), whole.frames(x))
            assert list(one) == list(other)
            assert isinstance(one, StreamParts)
            assert one.bursts == other.bursts
        assert any(store.frame_table(x) is not None for x in streams) or not streams


def test_a_stream_without_stored_frames_is_read_frame_by_frame() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, b"data: cut o"), ending="open")
    store = tape.store()
    store._connection.execute("DELETE FROM frame_blocks")
    store._connection.execute("DELETE FROM tallies")
    assert store.frame_table(store.streams()[0]) is None
    made = ReplayPlan(store, GateRule())
    assert [part.data for part in made.parts(made.exchanges[0])] == [heartbeat(), b"data: cut o"]
