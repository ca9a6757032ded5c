"""The cassettes of sessions in which something went wrong: what each of them shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Store
from omnirecord.model import Exchange, TimedFrame
from omnirecord.wire.strict_json import payload_of
from tests.support.cassettes import TROUBLED


class Seen:
    """One of them, and what is asked about it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.streams = store.streams()
        self.exchanges = store.exchanges()

    @property
    def endings(self) -> list[str]:
        return [x.ending for x in self.streams]

    def frames(self, stream: int = 1) -> list[TimedFrame]:
        return list(self.store.frames(self.streams[stream - 1]))

    def types(self, stream: int = 1) -> list[str | None]:
        return [frame.type for frame in self.frames(stream)]

    def events(self, type_: str, stream: int = 1) -> list[dict[str, Any]]:
        return [payload_of(frame) for frame in self.frames(stream) if frame.type == type_]

    def statuses(self, stream: int = 1) -> list[str]:
        return [event["status"] for event in self.events("session.status", stream)]

    def asked(self, method: str, tail: str) -> list[Exchange]:
        """The ordinary requests whose path ends like this, in order."""
        path = [(x, x.request.target.partition("?")[0]) for x in self.exchanges if x.kind == "http"]
        return [x for x, target in path if x.request.method == method and target.endswith(tail)]

    def answer(self, x: Exchange) -> Any:
        return json.loads(self.store.body(x.exchange, "response"))

    def session(self) -> list[Exchange]:
        """The snapshots of the session of the first stream."""
        return self.asked("GET", f"/v1/sessions/{self.streams[0].session_id}")

    def stored_text(self) -> str:
        """What the newest page of items has of the assistant."""
        items = self.answer(self.asked("GET", "/items")[-1])["data"]
        return "".join(part["text"] for item in items if item.get("role") == "assistant" for part in item["content"])


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Iterator[Seen]:
    store = open_store(TROUBLED[request.param])
    yield Seen(store)
    store.close()


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("seen", [name], indirect=True)


def gaps(seen: Seen, stream: int = 1) -> list[float]:
    """Seconds between heartbeats that follow each other."""
    beats = [frame.offset_ns / 1e9 for frame in seen.frames(stream) if frame.type == "session.heartbeat"]
    return [after - before for before, after in pairwise(beats)]


TERMINAL = {"response.completed", "response.failed", "response.incomplete", "response.cancelled"}


@of("runner_killed")
def test_a_killed_runner_is_ninety_seconds_of_heartbeats_and_then_a_status(seen: Seen) -> None:
    last = seen.events("session.status")[-1]
    assert (last["status"], last["error"]["code"]) == ("failed", "runner_disconnected")
    assert seen.types()[-1] == "session.status"
    assert seen.types()[-7:-1] == ["session.heartbeat"] * 6
    assert all(14 < gap < 16 for gap in gaps(seen)[1:])
    assert not TERMINAL & set(seen.types())
    assert seen.endings == ["client_left"]
    assert seen.answer(seen.session()[-1])["status"] == "failed"


@of("approval_unanswered")
def test_what_nobody_answers_holds_the_message_when_the_recorder_stops(seen: Seen) -> None:
    (asked,) = seen.events("response.elicitation_request")
    (post,) = seen.asked("POST", "/events")
    assert (post.response, post.ending) == (None, "recorder_stopped")
    assert seen.endings == ["recorder_stopped"]
    assert seen.types()[-1] == "session.heartbeat"
    assert not seen.asked("POST", "/resolve")
    pending = seen.answer(seen.session()[-1])["pending_elicitations"]
    assert [one["elicitation_id"] for one in pending] == [asked["elicitation_id"]]


@of("approval_timed_out")
def test_what_nobody_answers_in_time_is_denied(seen: Seen) -> None:
    (asked,) = [frame for frame in seen.frames() if frame.type == "response.elicitation_request"]
    (completed,) = [frame for frame in seen.frames() if frame.type == "response.completed"]
    assert 4.9 < (completed.offset_ns - asked.offset_ns) / 1e9 < 7
    assert payload_of(completed)["response"]["id"].startswith("deny_")
    assert "response.elicitation_resolved" not in seen.types()
    assert seen.events("response.output_text.delta")[0]["delta"].startswith("[Denied by policy: ")
    assert seen.statuses()[-1] == "idle"


@of("missed_end")
def test_an_end_that_nobody_heard_is_in_the_items_and_in_no_stream(seen: Seen) -> None:
    assert seen.endings == ["client_left", "client_left"]
    assert not TERMINAL & {*seen.types(1), *seen.types(2)}
    assert seen.types(1)[-1] == "response.output_text.delta"
    assert not any((type_ or "").startswith("response.") for type_ in seen.types(2))
    assert seen.answer(seen.session()[-1])["status"] == "idle"
    heard = "".join(event["delta"] for event in seen.events("response.output_text.delta"))
    assert seen.stored_text().startswith(heard)
    assert len(seen.stored_text()) > len(heard) + 100


@of("server_stopped")
def test_a_server_that_stops_ends_the_stream_cleanly_in_a_turn_and_is_gone(seen: Seen) -> None:
    assert seen.endings == ["eof"]
    assert seen.types()[-1] == "response.output_text.delta"
    assert seen.statuses() == ["running"]
    refused = seen.session()[-1]
    assert (refused.ending, refused.response and refused.response.status) == ("upstream_unreachable", 502)


@of("runner_killed_early")
def test_who_leaves_early_after_a_killed_runner_has_heartbeats_and_a_snapshot_that_knows_nothing(seen: Seen) -> None:
    assert seen.endings == ["client_left"]
    assert seen.statuses() == ["running"]
    assert seen.types()[-3:] == ["response.output_text.delta", "session.heartbeat", "session.heartbeat"]
    assert seen.answer(seen.session()[-1])["status"] == "running"


@of("server_killed")
def test_a_killed_server_cuts_the_stream_and_is_gone(seen: Seen) -> None:
    assert seen.endings == ["upstream_lost"]
    assert seen.types()[-1] == "response.output_text.delta"
    assert seen.session()[-1].ending == "upstream_unreachable"


@of("slow_reader")
def test_who_reads_too_slowly_has_a_clean_end_in_a_turn_that_goes_on(seen: Seen) -> None:
    assert seen.endings == ["eof"]
    assert seen.types()[-1] == "response.output_text.delta"
    assert seen.statuses() == ["running"]
    assert "sentinel" not in {frame.verdict for frame in seen.frames()}
    after = seen.session()[-1]
    assert after.request.at_ns > seen.frames()[-1].offset_ns
    assert seen.answer(after)["status"] == "running"


@of("slow_reader")
def test_the_times_show_that_the_client_was_slow(seen: Seen) -> None:
    reads = seen.store.reads(seen.streams[0].exchange)
    assert max(read.sent_ns - read.offset_ns for read in reads if read.sent_ns is not None) > 10_000_000_000


@of("child_unfinished")
def test_a_child_that_hangs_leaves_its_parent_waiting(seen: Seen) -> None:
    parent, child = seen.streams
    (created,) = seen.events("session.created")
    assert created["child_session_id"] == child.session_id
    assert (seen.statuses(1)[-1], seen.statuses(2)) == ("waiting", ["running"])
    assert "response.completed" in seen.types(1)
    assert not TERMINAL & set(seen.types(2))
    assert seen.types(2)[-2:] == ["response.heartbeat", "response.heartbeat"]
    assert parent.ending == child.ending == "client_left"


@of("tool_hangs")
def test_a_command_that_does_not_come_back_is_a_call_without_an_output(seen: Seen) -> None:
    items = [event["item"] for event in seen.events("response.output_item.done")]
    assert [(item["type"], item["name"], json.loads(item["arguments"])) for item in items] == [
        ("function_call", "sys_os_shell", {"command": "sleep 600"})
    ]
    assert {"session.heartbeat", "response.heartbeat"} >= set(seen.types()[-2:])
    assert not TERMINAL & set(seen.types())
    assert (seen.statuses(), seen.answer(seen.session()[-1])["status"]) == (["running"], "running")


@of("provider_busy")
def test_a_busy_provider_is_asked_again_and_only_a_silence_tells(seen: Seen) -> None:
    began, answered = (
        next(frame for frame in seen.frames() if frame.type == type_)
        for type_ in ("response.in_progress", "response.output_text.delta")
    )
    assert answered.offset_ns - began.offset_ns > 1_000_000_000
    assert "response.retry" not in seen.types()
    assert seen.statuses() == ["running", "idle"]


@of("retries")
def test_a_turn_without_progress_is_begun_again_and_said_to_be(seen: Seen) -> None:
    (retry,) = seen.events("response.retry")
    assert (retry["source"], retry["attempt"], retry["max_attempts"]) == ("llm", 2, 2)
    assert retry["error"]["code"] == "timeout"
    assert "response.completed" in seen.types()
    assert seen.statuses() == ["running", "idle"]
