"""`--resume` in a replay: events have ids, and who comes back with one gets what lies behind it, once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from omnirecord.wire.sse import Parser
from tests.support.cassettes import Made, completed, conversation, created, delta, heartbeat, presence, status, zipped
from tests.support.examples import each, examples
from tests.support.stage import Listener, Stage

AGAIN = ["heartbeat", "presence", "running", "created", "Hel", "lo", "completed", "idle"]


def ids(listener: Listener) -> list[str | None]:
    parser = Parser()
    return [frame.id for frame in (*parser.feed(listener.body), *parser.close())]


def played(stage: Stage, until: float = 9.0) -> Listener:
    listener = stage.opens()
    stage.at(1.5)
    stage.posts()
    stage.at(until)
    listener.hears()
    return listener


def test_without_it_nothing_has_an_id() -> None:
    assert ids(played(Stage(conversation()))) == [None] * 8


def test_every_event_has_its_stream_and_frame_as_its_id() -> None:
    assert ids(played(Stage(conversation(), resume=True))) == [f"1.{n}" for n in range(1, 9)]


def test_but_for_the_ids_it_is_the_recording() -> None:
    stage = Stage(conversation(), resume=True)
    body = played(stage).body
    without = b"".join(line for line in body.splitlines(keepends=True) if not line.startswith(b"id: "))
    assert without == stage.tape.wire[1]


@each("had", range(1, 9))
def test_who_comes_back_gets_what_it_has_not_and_nothing_else(had: int) -> None:
    stage = Stage(conversation(), resume=True)
    listener = played(stage)
    listener.leaves()
    back = stage.opens(last_event_id=f"1.{had}")
    assert back.hears() == AGAIN[had:]
    assert ids(back) == [f"1.{n}" for n in range(had + 1, 9)]


def test_what_has_not_come_yet_comes_in_its_time() -> None:
    stage = Stage(conversation(), resume=True)
    listener = played(stage, until=3.0)
    listener.leaves()
    back = stage.opens(last_event_id="1.2")
    assert back.hears() == ["running", "created", "Hel", "lo"]
    stage.at(9.0)
    assert back.hears() == ["completed", "idle"]
    assert ids(back) == [f"1.{n}" for n in range(3, 9)]


def test_it_goes_on_in_the_next_recorded_stream_without_its_connect_snapshot() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, status("running")), end=3.0)
    tape.stream("s", 4.0, (4.0, heartbeat() + presence()), (5.0, delta("a")), end=6.0)
    stage = Stage(tape, "instant", resume=True)
    first = stage.opens()
    first.hears()
    first.leaves()
    back = stage.opens(last_event_id="1.1")
    assert back.hears() == ["running", "a"]
    assert ids(back) == ["1.2", "2.3"]


def test_what_a_client_came_back_to_counts_as_asked_for_and_is_not_used_up() -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (2.0, status("running")), end=3.0)
    tape.stream("s", 4.0, (4.0, heartbeat()), (5.0, delta("a")), end=6.0)
    stage = Stage(tape, "instant", resume=True)
    stage.opens().leaves()
    assert len(stage.player.unplayed()) == 1
    stage.opens(last_event_id="1.1").leaves()
    assert stage.player.unplayed() == []
    assert stage.opens().hears() == ["heartbeat", "a"]


@each("unknown", ["9.1", "1.99", "1", "x", "", "1.0", "0.1", "\udcff"])
def test_an_id_that_the_session_has_not_is_an_open_like_any_other(unknown: str) -> None:
    stage = Stage(conversation(), resume=True)
    assert stage.opens(last_event_id=unknown).hears() == ["heartbeat"]


def test_a_server_that_gives_ids_itself_keeps_them_and_is_resumed_by_them() -> None:
    tape = Made()
    own = b"id: my-7\n" + delta("b")
    tape.stream("s", 1.0, (1.0, heartbeat()), (1.1, delta("a") + own + delta("c")), ending="eof")
    stage = Stage(tape, "instant", resume=True)
    first = stage.opens()
    first.hears()
    assert ids(first) == ["1.1", "1.2", "my-7", None]
    assert stage.opens(last_event_id="my-7").hears() == ["c"]


def test_a_compressed_stream_is_sent_plain() -> None:
    tape = Made()
    headers = (("content-type", "text/event-stream"), ("content-encoding", "gzip"))
    tape.stream("s", 1.0, *zipped([(1.0, heartbeat()), (1.1, delta("a"))]), headers=headers, ending="eof")
    listener = Stage(tape, "instant", resume=True).opens()
    listener.hears()
    assert (ids(listener), listener.playing.decoded, listener.playing.coded) == (["1.1", "1.2"], True, False)


FRAMES = [
    heartbeat(),
    status("running"),
    created(),
    delta("a"),
    delta("é"),
    completed(),
    b": comment\n\n",
    status("idle"),
]


@settings(max_examples=examples(100), deadline=None)
@given(
    cuts=st.lists(st.integers(1, 300), max_size=8),
    chunks=st.sampled_from(["recorded", "frame", None]),
    had=st.integers(1, len(FRAMES)),
)
def test_whatever_the_reads_and_the_cuts_nothing_is_lost_or_comes_twice(
    cuts: list[int], chunks: str | None, had: int
) -> None:
    body, reads, at = b"".join(FRAMES), [], 0
    for n, size in enumerate([*cuts, len(b"".join(FRAMES))]):
        reads += [(1.0 + n / 100, body[at : at + size])] if body[at : at + size] else []
        at += size
    tape = Made()
    tape.stream("s", 1.0, *reads, ending="eof")
    stage = Stage(tape, "instant", resume=True, chunks=chunks)
    first, back = stage.opens(), stage.opens(last_event_id=f"1.{had}")
    first.hears()
    back.hears()
    data = [frame.data for frame in Parser().feed(first.body)]
    assert data == [frame.data for frame in Parser().feed(body)]
    assert [frame.data for frame in Parser().feed(back.body)] == data[had:]
