"""What a client gets that joins: the connect snapshot, the text so far as one delta, then what is still to come."""

from __future__ import annotations

import json

from omnirecord.model import TimedFrame
from omnirecord.replayer.player.stream_choice import join_at_playhead, session_line, text_in_flight
from omnirecord.wire.sse import read_fields
from tests.support.cassettes import Made, completed, created, delta, event, heartbeat, presence, status
from tests.support.examples import each
from tests.support.stage import gists

LATER = 10**18


def frames(*reads: tuple[float, bytes]) -> list[TimedFrame]:
    tape = Made()
    tape.stream("s", reads[0][0], *reads)
    store = tape.store()
    return list(store.frames(store.streams()[0]))


def numbered(*streams: list[TimedFrame]) -> list[list[TimedFrame]]:
    return [[frame._replace(stream=number) for frame in stream] for number, stream in enumerate(streams, 1)]


def joined(streams: list[list[TimedFrame]], sent: float, snapshot_of: int = 0) -> list[str]:
    parts = join_at_playhead(numbered(*streams), int(sent * 1e9), snapshot_of)
    return gists(b"".join(part.data for part in parts))


def in_flight(*reads: bytes) -> list[dict[str, object]]:
    made = text_in_flight(frames(*((float(n), read) for n, read in enumerate(reads))))
    return [json.loads(read_fields(frame).data or "") for frame in made]


def test_who_joins_before_anything_was_sent_gets_the_whole_stream() -> None:
    stream = frames((1.0, heartbeat() + presence()), (2.0, created()), (3.0, delta("a")))
    assert joined([stream], -1) == ["heartbeat", "presence", "created", "a"]


def test_who_joins_in_a_turn_gets_its_text_so_far_behind_the_heartbeat() -> None:
    stream = frames(
        (1.0, heartbeat() + presence()), (2.0, created()), (3.0, delta("a")), (4.0, delta("b")), (5.0, delta("c"))
    )
    assert joined([stream], 4.0) == ["heartbeat", "created", "ab", "presence", "c"]


def test_who_joins_when_all_is_over_is_greeted_and_nothing_else() -> None:
    stream = frames((1.0, heartbeat()), (2.0, created()), (3.0, delta("a")), (4.0, completed()))
    assert joined([stream], 9.0) == ["heartbeat"]


def test_only_the_connect_snapshot_is_never_held() -> None:
    stream = frames((1.0, heartbeat()), (2.0, created()), (3.0, delta("a")), (4.0, delta("b")))
    parts = join_at_playhead([stream], 3 * 10**9, 0)
    assert [(part.in_snapshot, gists(part.data)) for part in parts] == [
        (True, ["heartbeat"]), (True, ["created"]), (True, ["a"]), (False, ["b"]),
    ]  # fmt: skip


def test_the_text_so_far_is_told_as_the_server_tells_it() -> None:
    made = in_flight(created("r7"), delta("Hel"), delta("lo"))
    assert [one["type"] for one in made] == ["response.created", "response.output_text.delta"]
    assert made[0]["response"] == {"id": "r7", "status": "in_progress"}
    assert (made[1]["delta"], made[1]["sequence_number"]) == ("Hello", None)


@each(
    "end",
    [
        completed(),
        status("idle"),
        status("failed"),
        event("response.failed"),
        event("response.cancelled", response=None),
        event("turn.failed", session_id="s"),
    ],
)
def test_a_turn_that_is_over_leaves_no_text_in_flight(end: bytes) -> None:
    assert in_flight(created(), delta("a"), end) == []


def test_a_status_that_is_no_rest_does_not_end_a_turn() -> None:
    assert in_flight(created(), delta("a"), status("waiting"), delta("b"))[1]["delta"] == "ab"


def test_only_the_last_turn_is_in_flight() -> None:
    made = in_flight(created("r1"), delta("a"), completed("r1"), created("r2"), delta("b"))
    assert made[1]["delta"] == "b"


def test_another_response_begins_the_text_anew_and_the_same_goes_on() -> None:
    progress = event("response.in_progress", response={"id": "r2"})
    assert in_flight(created("r1"), delta("a"), progress, delta("b"))[1]["delta"] == "b"
    assert in_flight(created("r2"), delta("a"), progress, delta("b"))[1]["delta"] == "ab"


def test_a_turn_that_begins_with_a_delta_has_no_response_to_tell_of() -> None:
    assert [one["type"] for one in in_flight(delta("a"))] == ["response.output_text.delta"]


@each(
    "odd",
    [
        event("response.created", response="none"), event("response.created"), delta(""), b": comment\n\n",
        event("response.output_text.delta", delta=None), event("response.output_text.delta", delta=5),
        b"event: session.status\ndata: [1]\n\n", b"data: {\n\n", event("session.status", status=["idle"]),
    ],
)  # fmt: skip
def test_frames_that_break_the_contract_break_nothing(odd: bytes) -> None:
    assert joined([frames((1.0, heartbeat()), (2.0, odd), (3.0, delta("a")))], LATER)[0] == "heartbeat"


def test_frames_that_were_lost_break_nothing() -> None:
    stream = frames((1.0, heartbeat()), (2.0, delta("a")), (3.0, delta("b")))
    lost = [stream[0], stream[1]._replace(raw=None, type=None, verdict="truncated"), stream[2]]
    assert joined([lost], LATER) == ["heartbeat", "b"]


def test_a_sessions_line_has_of_each_stream_what_came_after_the_last() -> None:
    one = frames((1.0, heartbeat()), (2.0, delta("a")), (3.0, delta("b")))
    other = frames((1.5, heartbeat()), (2.0001, delta("a")), (3.0, delta("b")), (4.0, delta("c")))
    assert [gists(frame.raw or b"") for frame in session_line(numbered(one, other))] == [["a"], ["b"], ["c"]]


def test_text_that_nobody_listened_to_is_taken_from_the_next_connect_snapshot() -> None:
    one = frames((1.0, heartbeat()), (1.5, created()), (2.0, delta("Hel")))
    other = frames((4.0, heartbeat() + created() + delta("Hello, w", None)), (5.0, delta("orld")))
    assert joined([one, other], -1) == ["heartbeat", "created", "Hel", "lo, w", "orld"]


def test_a_turn_that_began_while_nobody_listened_is_told_whole() -> None:
    one = frames((1.0, heartbeat()), (1.5, created("r1")), (2.0, delta("a")), (2.5, completed("r1")))
    other = frames((4.0, heartbeat() + created("r2") + delta("b", None)), (5.0, delta("c")))
    assert joined([one, other], -1) == ["heartbeat", "created", "a", "completed", "created", "b", "c"]


def test_text_that_was_heard_already_is_not_told_again_by_the_next_connect_snapshot() -> None:
    one = frames((1.0, heartbeat()), (1.5, created()), (2.0, delta("a")))
    other = frames((4.0, heartbeat() + created() + delta("a", None)), (5.0, delta("b")))
    assert joined([one, other], -1) == ["heartbeat", "created", "a", "b"]


def test_text_that_two_connect_snapshots_have_is_told_once() -> None:
    one = frames((1.0, heartbeat()), (1.5, created()), (2.0, delta("Hel")))
    others = [
        frames((at, heartbeat() + created() + delta(text, None))) for at, text in ((4.0, "Hello"), (5.0, "Hello,"))
    ]
    assert joined([one, *others], -1) == ["heartbeat", "created", "Hel", "lo,"]


def test_text_stays_if_the_next_client_leaves_within_its_connect_snapshot() -> None:
    one = frames((1.0, heartbeat()), (1.2, created()), (1.4, delta("Hel", None)))
    left_early = frames((2.0, heartbeat()), (2.1, created()))
    assert joined([one, left_early], -1) == ["heartbeat", "created", "Hel"]


def test_the_greeting_is_that_of_the_stream_that_was_opened_then() -> None:
    one = frames((1.0, heartbeat()), (2.0, delta("a")))
    other = frames((4.0, heartbeat() + presence()), (5.0, delta("b")))
    assert joined([one, other], 2.0, snapshot_of=1) == ["heartbeat", "a", "presence", "b"]
