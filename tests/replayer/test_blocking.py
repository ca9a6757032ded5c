"""`with` beside `async with`: clients without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import omnirecord
from omnirecord import UsageError
from omnirecord.replayer.beyond import Served
from omnirecord.replayer.control import VERBS, Server, differences, position_text
from omnirecord.replayer.player import Mismatch
from tests.support.cassettes import conversation
from tests.support.process import allow_many_files

SESSION = "/v1/sessions/s"
NOWHERE: dict[str, Any] = {
    "which": "s", "stream": None, "seq": None, "type": None, "at_s": 0.0, "next": None, "waits_for": None,
    "paused": False,
}  # fmt: skip
SOMEWHERE = {**NOWHERE, "stream": 1, "seq": 3, "type": "session.status", "at_s": 1.5}


@pytest.fixture
def cassette(tmp_path: Path) -> Path:
    return conversation("eof").save(tmp_path / "talk.db")


def talk(url: str) -> str:
    """What a client hears that makes a session, listens and speaks: it is synchronous all the way."""
    with httpx.Client(base_url=url) as client:
        client.post("/v1/sessions")
        with client.stream("GET", f"{SESSION}/stream") as stream:
            client.post(f"{SESSION}/events", json={"type": "message"})
            return "".join(stream.iter_text())


def test_a_synchronous_client_is_replayed_to(cassette: Path) -> None:
    with omnirecord.replay(cassette, timing="instant") as server:
        assert "response.completed" in talk(server.url)
        server.assert_all_matched()
        assert [one.method for one in server.requests] == ["POST", "GET", "POST"]
        assert not server.is_recording
    assert not [thread for thread in threading.enumerate() if thread.name == "omnirecord"]


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_many_live_in_one_process_and_leave_nothing(cassette: Path, long: bool) -> None:
    """Three hundred with `--long`, otherwise 60."""
    count = 300 if long else 60
    allow_many_files()
    before, threads = descriptors(), threading.active_count()
    with ExitStack() as stack:
        replays = [omnirecord.replay(cassette, timing="instant", allow_no_requests=True) for _ in range(count)]
        servers = list(map(stack.enter_context, replays))
        assert len({server.url for server in servers}) == count
        for server in servers[:: count // 6]:
            assert "response.completed" in talk(server.url)
            server.assert_all_matched()
        assert sum(len(server.requests) for server in servers) == 3 * 6
    assert (descriptors(), threading.active_count()) == (before, threads)


async def test_a_replay_without_a_request_raises_at_its_end_unless_that_is_allowed(cassette: Path) -> None:
    with pytest.raises(UsageError, match=r"no request came to the replay of .*allow_no_requests=True"):
        async with omnirecord.replay(cassette):
            pass
    with pytest.raises(UsageError, match="no request came"), omnirecord.replay(cassette):
        pass
    with pytest.raises(KeyError), omnirecord.replay(cassette):
        raise KeyError
    with omnirecord.replay(cassette, allow_no_requests=True):
        pass
    with omnirecord.replay(cassette, timing="instant") as server:
        talk(server.url)
        server.reset()


async def test_a_loop_that_is_blocked_does_not_stop_the_replay(cassette: Path) -> None:
    with omnirecord.replay(cassette, timing="instant") as server:
        assert "response.completed" in talk(server.url)  # in the loop's own thread: nothing else runs here meanwhile


def test_a_synchronous_client_is_recorded(cassette: Path, tmp_path: Path) -> None:
    with (
        omnirecord.replay(cassette, timing="instant") as upstream,
        omnirecord.record(upstream.url, tmp_path / "b.db") as proxy,
    ):
        heard = talk(proxy.url)
        assert (proxy.exchanges, proxy.recording, proxy.db) == (3, 1, tmp_path / "b.db")
        assert proxy.upstream == upstream.url
    with omnirecord.replay(tmp_path / "b.db", timing="instant") as server:
        assert talk(server.url) == heard


def test_what_is_wrong_is_raised_on_entering(tmp_path: Path) -> None:
    with pytest.raises(omnirecord.NotACassette, match="does not exist"), omnirecord.replay(tmp_path / "none.db"):
        pass


def test_the_differences_are_listed_by_one_assertion(cassette: Path) -> None:
    replay = omnirecord.replay(cassette, timing="instant", match_on=[])
    with replay as server, httpx.Client(base_url=server.url) as client:
        client.post(f"{SESSION}/events", json={"type": "interrupt"})
        client.get("/v1/session/s")
        with pytest.raises(AssertionError) as failure:
            server.assert_all_matched()
    lines = str(failure.value).splitlines()
    assert lines[:2] == ["the client did not do what was recorded", "1 request matched nothing:"]
    assert lines[2] == "  GET /v1/session/s was never recorded; nearest recorded, as [-recorded-]{+asked+}:"
    assert lines[3].strip() == "GET /v1/[-sessions-]{+session+}/s"
    assert "1 request had other content than the recorded one:" in lines
    assert "  POST /v1/sessions/s/events: type was 'message' when recorded, got 'interrupt'" in lines


def test_what_came_can_still_be_read_when_the_server_is_stopped(cassette: Path) -> None:
    with omnirecord.replay(cassette, timing="instant") as server:
        httpx.get(f"{server.url}{SESSION}")
    assert [one.target for one in server.requests] == [SESSION]


def test_a_server_whose_thread_died_says_so(cassette: Path) -> None:
    server = Server(omnirecord.replay(cassette)).start()
    with pytest.raises(omnirecord.ServerError, match="has ended"):
        server._background.run(lambda: asyncio.get_running_loop().stop() or asyncio.sleep(1))
    with pytest.raises(omnirecord.ServerError, match="has ended: RuntimeError"):
        server.stop()
    assert server.requests == []


@contextmanager
def talking(server: Server) -> Iterator[None]:
    """A client in a thread of its own, that is done in the end."""
    with ThreadPoolExecutor(1) as threads:
        heard = threads.submit(talk, server.url)
        yield
        assert "response.completed" in heard.result(10)


def test_the_buttons_are_pressed_without_await(cassette: Path) -> None:
    with omnirecord.replay(cassette, timing="instant") as server:
        server.pause()
        with talking(server):
            assert server.step().type == "session.heartbeat"
            assert server.step(2).type == "session.status"
            assert server.run_until("response.output_text.*", nth=2).seq == 6
            assert server.run_until(lambda event: event.type == "response.completed").next == "session.status"
            position = server.position()
            assert (position.which, position.paused, position.next) == ("s", True, "session.status")
            assert server.positions() == [position]
            server.play(which="s")
        server.reset()
        assert server.requests == []


def test_speed_and_place_are_set_without_await(cassette: Path) -> None:
    with omnirecord.replay(cassette) as server:
        server.set_speed(1000)
        server.pause()  # on a busy machine, the event would be gone before run_until counts
        with talking(server):
            assert server.run_until("session.status").speed == 1000
            assert server.jump(2.5).at_s >= 1.5
            server.play()


def test_a_button_that_waits_too_long_says_for_what(cassette: Path) -> None:
    with (
        omnirecord.replay(cassette, timing="instant") as server,
        httpx.stream("GET", f"{server.url}{SESSION}/stream"),
        pytest.raises(
            TimeoutError, match=r"run_until was not done after 0.1 s: .* waits for POST /v1/sessions/s/events"
        ),
    ):
        server.run_until("response.completed", timeout=0.1)


def test_what_nobody_made_is_listed_by_another_assertion(cassette: Path) -> None:
    with omnirecord.replay(cassette, timing="instant") as server:
        talk(server.url)
        server.assert_all_matched()
        with pytest.raises(AssertionError, match=r"(?s)4 requests recorded, but not sent:.*GET /v1/sessions/s"):
            server.assert_all_played()
        httpx.get(f"{server.url}{SESSION}")
        server.assert_all_played()


def test_every_verb_of_the_playhead_is_there_without_await() -> None:
    assert [name for name, method in VERBS.items() if not hasattr(Server, method)] == []


@pytest.mark.parametrize(
    ("position", "sentence"),
    [
        (NOWHERE, "0.000 s into s, before its first event"),
        (SOMEWHERE, "1.500 s into s, behind frame 3 of stream 1 (session.status)"),
        (
            {**SOMEWHERE, "next": "response.completed", "waits_for": "POST /e", "paused": True},
            "1.500 s into s, behind frame 3 of stream 1 (session.status); next is response.completed;"
            " it waits for POST /e; it is paused",
        ),
    ],
)
def test_a_position_is_a_sentence(position: dict[str, Any], sentence: str) -> None:
    assert position_text(SimpleNamespace(**position)) == sentence


def test_no_difference_is_no_line() -> None:
    assert differences([], [], []) == []


def test_each_kind_of_difference_has_a_head_and_a_line_for_each() -> None:
    missed = Served("GET", "/a", 404, None, "GET /a was never recorded")
    wrong = Mismatch("POST /b", "action", "accept", "decline")
    assert differences([missed], [wrong], ["PUT /c", "PUT /d"]) == [
        "1 request matched nothing:",
        "  GET /a was never recorded",
        "1 request had other content than the recorded one:",
        "  POST /b: action was 'accept' when recorded, got 'decline'",
        "2 requests recorded, but not sent:",
        "  PUT /c",
        "  PUT /d",
    ]


def test_what_a_cassette_says_moves_no_cursor() -> None:
    assert differences([], [], ["GET /\x1b[2J"])[1] == "  GET /\\x1b[2J"


def test_a_long_list_is_cut() -> None:
    lines = differences([], [], [f"GET /{n}" for n in range(22)])
    assert (len(lines), lines[-1]) == (22, "  and 2 more")
