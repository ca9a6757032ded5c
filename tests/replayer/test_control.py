"""The buttons of a replay over real sockets: from Python, and over HTTP below `/-/omnirecord/`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omnirecord import ServerError, UsageError
from omnirecord.model import TimedFrame
from omnirecord.replayer.server import Replay
from tests.replayer.test_server import EVENTS, MESSAGE, STREAM, heard, post
from tests.support.cassettes import Made, conversation, delta, heartbeat
from tests.support.wire import Wire, ask, connected, eventually, get

CONTROL = "/-/omnirecord/"


def letters() -> Made:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), *((2.0 + n, delta(letter)) for n, letter in enumerate("abcdef")))
    return tape


@asynccontextmanager
async def listening(tape: Made, folder: Path, **options: Any) -> AsyncIterator[tuple[Replay, Wire]]:
    """A replay that is paused before anything was sent, and a client on its stream."""
    async with Replay(tape.save(folder / "t.db"), **options) as server:
        server.pause()
        async with connected(server.url, get(STREAM)) as wire:
            await wire.head()
            yield server, wire


async def press(server: Replay, what: str, body: Any = None, *lines: str) -> tuple[int, Any]:
    """POST to the control path; the status and the JSON of the answer."""
    data = json.dumps(body).encode() if body is not None else b""
    head = "\r\n".join([
        f"POST {CONTROL}{what} HTTP/1.1", "Host: localhost", "Content-Type: application/json",
        f"Content-Length: {len(data)}", *lines, "", "",
    ])  # fmt: skip
    answer = await ask(server.url, head.encode() + data)
    return int(answer.status.split()[1]), json.loads(answer.body)


async def look(server: Replay, what: str) -> Any:
    return json.loads((await ask(server.url, get(CONTROL + what, host="localhost"))).body)


async def test_it_runs_until_an_event_and_the_client_has_nothing_behind_it(tmp_path: Path) -> None:
    async with listening(letters(), tmp_path, timing="instant") as (server, wire):
        position = await server.run_until("response.output_text.*", nth=3)
        assert position.seq == 4
        assert await heard(wire, 4) == ["heartbeat", "a", "b", "c"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.chunk(), 0.1)
        server.play()
        assert await heard(wire, 3) == ["d", "e", "f"]


async def test_a_step_waits_for_a_client_and_at_a_gate_for_its_request(tmp_path: Path) -> None:
    async with Replay(conversation().save(tmp_path / "t.db"), timing="instant") as server:
        steps = asyncio.create_task(server.step(3))
        async with connected(server.url, get(STREAM)) as wire:
            await wire.head()
            assert await heard(wire, 2) == ["heartbeat", "presence"]
            await eventually(lambda: server.position().waits_for == f"POST {EVENTS}")
            assert not steps.done()
            await ask(server.url, MESSAGE)
            assert (await steps).type == "session.status"


async def test_a_jump_and_a_speed_wake_who_sleeps(tmp_path: Path) -> None:
    path = letters().save(tmp_path / "t.db")
    async with Replay(path, speed=0.001) as server, connected(server.url, get(STREAM)) as wire:
        await wire.head()
        assert await heard(wire, 1) == ["heartbeat"]
        server.jump(3.0)
        assert await heard(wire, 3) == ["a", "b", "c"]
        server.set_speed(1000)
        assert await heard(wire, 3) == ["d", "e", "f"]


async def test_nothing_that_is_played_cannot_be_jumped_in(tmp_path: Path) -> None:
    async with Replay(letters().save(tmp_path / "t.db")) as server:
        with pytest.raises(UsageError, match="nothing is played yet"):
            server.jump(1.0)
        with pytest.raises(UsageError, match="0 steps"):
            await server.step(0)
        with pytest.raises(UsageError, match="counted from 1"):
            await server.run_until("*", 0)


async def test_every_button_works_over_http(tmp_path: Path) -> None:
    async with listening(letters(), tmp_path) as (server, wire):
        assert (await press(server, "step"))[1]["type"] == "session.heartbeat"
        assert (await press(server, "step?count=2"))[1]["at_s"] == 2.0
        assert (await press(server, "jump", {"seconds": 3}))[1]["paused"] is True
        assert (await press(server, "speed", {"speed": 4.5}))[1]["speed"] == 4.5
        assert (await press(server, "play"))[1]["paused"] is False
        assert (await press(server, "pause?which=s"))[1]["paused"] is True
        status, told = await press(server, "run-until", {"event": "response.*", "nth": 2})
        assert (status, told["seq"]) == (200, 6)
        assert (await look(server, "position"))["positions"][0]["seq"] == 6
        state = await look(server, "state")
        assert (state["positions"][0]["which"], "unmade" in state) == ("s", False)
        assert await heard(wire, 6) == ["heartbeat", *"abcde"]
        assert await press(server, "reset") == (200, {"positions": []})


async def test_what_does_not_come_in_time_is_a_408_that_says_where_it_is(tmp_path: Path) -> None:
    async with listening(conversation(), tmp_path) as (server, _):
        status, told = await press(server, "run-until?event=response.completed&timeout=0.1")
        assert (status, told["error"]["code"]) == (408, "not_reached")
        assert "response.completed has not come in 0.1 s" in told["error"]["message"]
        assert told["error"]["positions"][0]["which"] == "s"


@pytest.mark.parametrize(
    ("what", "body", "says"),
    [
        ("speed?speed=fast", None, "speed='fast' is no number"),
        ("speed", None, "speed is missing"),
        ("speed?speed=-1", None, "must be over 0"),
        ("jump?seconds=inf", None, "seconds='inf' is no number"),
        ("jump?seconds=1e300", None, "no such time"),
        ("jump?seconds=-1", None, "cannot jump back"),
        ("step?count=0", None, "0 steps"),
        ("step?count=1.5", None, "count='1.5' is no whole number"),
        ("step?count=-inf", None, "count='-inf' is no number"),
        ("step", {"count": 10**400}, "is no number"),
        ("pause", {"\ud800": 1}, "pause takes no \ud800"),
        ("pause", {"which": "s" * 70_000}, "longer than 65536 bytes"),
        ("run-until", None, "needs an event"),
        ("run-until?event=x&nth=0&timeout=1", None, "counted from 1"),
        ("pause?wich=s", None, "pause takes no wich, but which"),
        ("pause?which=nobody", None, "'nobody' is not played"),
        ("pause", {"which": 5}, "names no session"),
        ("pause", [], "no JSON object"),
        ("reset?hard=1", None, "reset takes no hard, but nothing"),
    ],
)
async def test_what_cannot_be_done_is_a_400_with_a_sentence_and_nothing_happens(
    tmp_path: Path, what: str, body: Any, says: str
) -> None:
    async with Replay(letters().save(tmp_path / "t.db")) as server, connected(server.url, get(STREAM)) as wire:
        await wire.head()
        before = server.position()
        status, told = await press(server, what, body)
        assert (status, says in told["error"]["message"]) == (400, True), told
        after = server.position()
        assert (after.paused, after.speed) == (before.paused, before.speed)


async def test_a_body_that_is_no_json_is_a_400(tmp_path: Path) -> None:
    async with Replay(letters().save(tmp_path / "t.db")) as server:
        answer = await ask(
            server.url, post(CONTROL + "play", b"{").replace(b"Host: a", b"Host: localhost\r\nX-Omnirecord: 1")
        )
        assert (answer.status.split()[1], b"no JSON" in answer.body) == (b"400", True)


async def test_a_body_may_come_in_pieces(tmp_path: Path) -> None:
    path = letters().save(tmp_path / "t.db")
    head = f"POST {CONTROL}speed HTTP/1.1\r\nHost: [::1]\r\nX-Omnirecord: 1\r\nContent-Length: 11\r\n\r\n".encode()
    async with Replay(path) as server, connected(server.url, head + b'{"spe') as wire:
        await eventually(lambda: bool(server._tasks))
        await wire.send(b'ed":2}')
        assert (await wire.head())[0].split()[1] == b"200"
        assert server.speed == 2


async def test_the_state_can_be_read_although_a_client_said_what_no_text_may_hold(tmp_path: Path) -> None:
    async with Replay(conversation().save(tmp_path / "t.db"), match=["path"]) as server:
        await ask(server.url, post(EVENTS, b'{"type": "\\ud800"}'))
        assert (await look(server, "state"))["mismatches"][0]["got"] == "\ud800"


@pytest.mark.parametrize(("method", "what", "status"), [
    ("GET", "pause", 405), ("POST", "state", 405), ("POST", "position", 405), ("GET", "", 404), ("POST", "x", 404),
])  # fmt: skip
async def test_other_paths_and_methods_are_told_what_there_is(
    tmp_path: Path, method: str, what: str, status: int
) -> None:
    async with Replay(letters().save(tmp_path / "t.db")) as server:
        answer = await ask(
            server.url, f"{method} {CONTROL}{what} HTTP/1.1\r\nHost: localhost\r\nX-Omnirecord: 1\r\n\r\n".encode()
        )
        assert int(answer.status.split()[1]) == status
        assert b"POST" in answer.body or b"GET" in answer.body
        assert not server.requests


async def test_a_reset_cuts_streams_and_the_next_client_begins_at_the_start(tmp_path: Path) -> None:
    async with Replay(conversation().save(tmp_path / "t.db"), timing="instant") as server:
        async with connected(server.url, get(STREAM)) as wire:
            await wire.head()
            await ask(server.url, MESSAGE)
            await heard(wire, 5)
            await ask(server.url, get("/v1/nothing"))
            await server.reset()
            await wire.gone()
        assert (server.requests, server.unmatched) == ([], [])
        async with connected(server.url, get(STREAM)) as wire:
            await wire.head()
            assert await heard(wire, 2) == ["heartbeat", "presence"]
            assert (await ask(server.url, MESSAGE)).status.split()[1] == b"202"


async def test_who_waits_for_a_step_when_all_is_reset_steps_in_what_begins_then(tmp_path: Path) -> None:
    async with listening(letters(), tmp_path) as (server, wire):
        await server.step(7)
        waits = asyncio.create_task(server.step())
        await asyncio.sleep(0)
        await server.reset()
        await wire.gone()
        async with connected(server.url, get(STREAM)) as again:
            await again.head()
            assert (await waits).type == "session.heartbeat"


async def test_a_step_goes_on_with_who_listens_when_the_client_that_it_waited_for_has_left(tmp_path: Path) -> None:
    tape = conversation()
    tape.stream("s", 10.0, (10.0, heartbeat()), (11.0, delta("z")))
    async with Replay(tape.save(tmp_path / "t.db"), timing="instant") as server:
        async with connected(server.url, get(STREAM)) as wire:
            await wire.head()
            assert await heard(wire, 2) == ["heartbeat", "presence"]
            step = asyncio.create_task(server.step())
            await eventually(lambda: server.paused)
        await eventually(lambda: server.position().next is None)
        await ask(server.url, MESSAGE)
        async with connected(server.url, get(STREAM)) as wire:
            await wire.head()
            assert (await asyncio.wait_for(step, 5)).stream == 2
            assert await heard(wire, 1) == ["heartbeat"]


@pytest.mark.parametrize("which", [None, "s"])
async def test_who_waits_at_a_gate_when_all_is_reset_gets_what_comes_then(tmp_path: Path, which: str | None) -> None:
    async with Replay(conversation().save(tmp_path / "t.db"), timing="instant") as server:
        async with connected(server.url, get(STREAM)) as wire:
            await wire.head()
            await heard(wire, 2)
            running = asyncio.create_task(server.run_until("session.presence", which=which))
            await asyncio.sleep(0)
            await server.reset()
        async with connected(server.url, get(STREAM)):
            assert (await asyncio.wait_for(running, 5)).type == "session.presence"


async def test_who_waits_for_an_event_when_it_is_stopped_is_told(tmp_path: Path) -> None:
    async with Replay(letters().save(tmp_path / "t.db")) as server:
        waits = [asyncio.create_task(server.step()), asyncio.create_task(server.run_until("response.*"))]
        await asyncio.sleep(0)
    for told in await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), 5):
        assert isinstance(told, ServerError)
        assert "was stopped" in str(told)


async def test_what_a_function_raises_is_for_who_gave_it_and_not_for_the_client(tmp_path: Path) -> None:
    def fails(_: TimedFrame) -> bool:
        raise LookupError("oops")

    async with Replay(letters().save(tmp_path / "t.db"), timing="instant") as server:
        running = asyncio.create_task(server.run_until(fails))
        await asyncio.sleep(0)
        async with connected(server.url, get(STREAM)) as wire:
            await wire.head()
            with pytest.raises(LookupError, match="oops"):
                await asyncio.wait_for(running, 5)
            server.play()
            assert await heard(wire, 7) == ["heartbeat", *"abcdef"]


async def test_a_paused_stream_gets_heartbeats_that_nobody_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.replayer.send.HEARTBEAT_EVERY", 0.05)
    async with listening(letters(), tmp_path) as (_, wire):
        assert (await wire.chunk()).startswith(b": omnirecord is waiting")
        assert (await wire.chunk()).startswith(b": omnirecord is waiting")
