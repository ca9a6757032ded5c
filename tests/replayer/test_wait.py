"""The replay server at its gates: what it holds back, what it says meanwhile, and what it tells about itself."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omnirecord.replayer import send as waiting
from omnirecord.replayer.server import Replay
from omnirecord.wire.sse import Parser
from tests.replayer.test_server import MESSAGE, STREAM, heard, post
from tests.support.cassettes import Made, conversation, delta, heartbeat, status, zipped
from tests.support.stage import EVENTS, SESSION
from tests.support.wire import Wire, ask, connected, eventually, get

RESOLVE = "/v1/sessions/s/elicitations/e/resolve"
GATE = f"POST {EVENTS} (recorded at 2.0 s)"
LINE = f'waiting for POST {EVENTS} with the message "" (recorded at 2.0 s)'
MARK = b": omnirecord is waiting at a gate\n"


@asynccontextmanager
async def listening(tape: Made, folder: Path, **options: Any) -> AsyncIterator[tuple[Replay, Wire]]:
    """A replay, instant, with a client on its stream."""
    path = tape.save(folder / "tape.db")
    async with Replay(path, timing="instant", **options) as server, connected(server.url, get(STREAM)) as wire:
        await wire.head()
        yield server, wire


async def state(server: Replay) -> Any:
    return json.loads((await ask(server.url, get("/-/omnirecord/state", host="localhost"))).body)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats every 0.1 s, lines and reports after 0.05."""
    monkeypatch.setattr(waiting, "HEARTBEAT_EVERY", 0.1)
    monkeypatch.setattr(waiting, "LOG_AFTER", 0.05)
    monkeypatch.setattr(waiting, "REPORT_AFTER", 0.05)


@pytest.mark.usefixtures("soon")
async def test_a_closed_gate_sends_heartbeats_that_say_what_they_are(tmp_path: Path) -> None:
    async with listening(conversation(), tmp_path) as (server, wire):
        assert await heard(wire, 2) == ["heartbeat", "presence"]
        for _ in range(2):
            synthetic = await wire.chunk()
            assert synthetic.startswith(MARK)
            (frame,) = Parser().feed(synthetic)
            assert (frame.event, json.loads(frame.data or "")["type"]) == ("session.heartbeat", "session.heartbeat")
        await ask(server.url, MESSAGE)
        rest = b"".join([await wire.chunk() for _ in range(1)])
        assert MARK not in rest


@pytest.mark.usefixtures("soon")
async def test_other_requests_do_not_put_off_a_heartbeat(tmp_path: Path) -> None:
    async with listening(conversation(), tmp_path) as (server, wire):
        await heard(wire, 2)
        beat = asyncio.create_task(wire.chunk())
        begun = time.monotonic()
        while not beat.done() and time.monotonic() - begun < 5:
            await ask(server.url, get(SESSION))
        assert (await beat).startswith(MARK)
        assert time.monotonic() - begun < 4


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("coded", [False, True], ids=["in a frame", "in a compressed body"])
async def test_no_heartbeat_is_put_where_it_would_break_something(tmp_path: Path, coded: bool) -> None:
    tape = Made()
    reads = [(1.0, heartbeat()), (1.5, b"data: hal"), (3.0, b"f\n\n")]
    headers = (("content-type", "text/event-stream"), *((("content-encoding", "gzip"),) if coded else ()))
    tape.stream("s", 1.0, *(zipped(reads) if coded else reads), headers=headers, ending="eof")
    tape.post(EVENTS, 2.0, status=202)
    async with listening(tape, tmp_path) as (server, wire):
        await eventually(lambda: server.waiting)
        await asyncio.sleep(0.3)
        await ask(server.url, post(EVENTS))
        body, whole = await wire.body([(b"transfer-encoding", b"chunked")])
    assert (body, whole) == (tape.wire[1], True)


@pytest.mark.usefixtures("soon")
async def test_a_frame_that_came_in_two_reads_ends_where_a_heartbeat_may_follow(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, b"data: 1\n"), (1.1, b"\n"), (3.0, b"data: 2\n\n"))
    tape.post(EVENTS, 2.0, status=202)
    async with listening(tape, tmp_path) as (_, wire):
        await wire.chunk()
        assert (await wire.chunk()).startswith(MARK)


@pytest.mark.usefixtures("soon")
async def test_what_it_waits_for_is_said_and_taken_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "omnirecord")
    async with listening(conversation(), tmp_path) as (server, _):
        assert server.waiting == []
        await eventually(lambda: server.waiting)
        assert server.waiting == [GATE]
        assert (await state(server))["waiting"] == [GATE]
        assert caplog.messages == [LINE]
        await asyncio.sleep(0.3)
        assert server.waiting == [GATE], "a heartbeat does not take it back"
        await ask(server.url, MESSAGE)
        await eventually(lambda: not server.waiting)
        assert caplog.messages == [LINE]


@pytest.mark.usefixtures("soon")
async def test_a_gate_is_logged_once_however_often_clients_wait_at_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(conversation(), tmp_path) as (server, _):
        await eventually(lambda: caplog.messages == [LINE])
        async with connected(server.url, get(STREAM)):
            await asyncio.sleep(0.2)
        await server.reset()
        assert caplog.messages == [LINE]
        async with connected(server.url, get(STREAM)):
            await eventually(lambda: caplog.messages == [LINE] * 2)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("target", "body", "told"),
    [
        (EVENTS, {"type": "message", "data": {"role": "user", "content": [{"text": "Hi, you"}]}}, 'message "Hi, you"'),
        (EVENTS, {"type": "message", "data": {"content": "a\nb" + "c" * 500}}, 'message "a\\nb' + "c" * 100),
        (EVENTS, {"type": "interrupt"}, "an interrupt ("),
        (RESOLVE, {"action": "accept"}, 'answer "accept"'),
        (EVENTS, {"type": "other"}, r'body "{\"type\": \"other\"}"'),
    ],
)
async def test_the_line_says_what_the_awaited_client_says(
    target: str, body: Any, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (3.0, status("idle")))
    tape.post(target, 2.0, body=body, status=202)
    async with listening(tape, tmp_path):
        await eventually(lambda: caplog.messages)
    (line,) = caplog.messages
    assert line.startswith(f"waiting for POST {target} with ")
    assert told in line
    assert len(line) < 350


async def test_a_wait_is_logged_after_a_second_and_no_sooner(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begun = time.monotonic()
    async with listening(conversation(), tmp_path) as (server, _):
        await eventually(lambda: caplog.messages)
        assert time.monotonic() - begun >= 1
        assert server.waiting == [], "that has only waits of more than five seconds"


async def test_a_stream_that_is_opened_behind_its_end_says_how_to_start_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(conversation(), tmp_path, no_gate=True) as (server, wire):
        await heard(wire, 8)
        assert caplog.messages == []
        async with connected(server.url, get(STREAM)) as other:
            await other.head()
            (line,) = caplog.messages
            assert line.startswith(f"GET {STREAM} gets no further event: the session was played to its end.")
            assert "--loop" in line
            command = line.partition("reset: ")[2]
        process = await asyncio.create_subprocess_exec(*shlex.split(command), "-sf", stdout=asyncio.subprocess.PIPE)
        assert await process.wait() == 0
        async with connected(server.url, get(STREAM)) as third:
            await third.head()
            assert await heard(third, 8)
        assert len(caplog.messages) == 1


@pytest.mark.usefixtures("soon")
async def test_two_that_wait_for_the_same_are_one_line_until_both_are_gone(tmp_path: Path) -> None:
    async with listening(conversation(), tmp_path) as (server, _):
        async with connected(server.url, get(STREAM)):
            await asyncio.sleep(0.2)
            assert server.waiting == [GATE]
        await asyncio.sleep(0.2)
        assert server.waiting == [GATE]


@pytest.mark.usefixtures("soon")
async def test_after_the_time_for_a_gate_it_goes_on_alone_though_heartbeats_come_in_between(tmp_path: Path) -> None:
    async with listening(conversation(), tmp_path, skip_gates_after=0.5) as (_, wire):
        begun = time.monotonic()
        assert await heard(wire, 2) == ["heartbeat", "presence"]
        while (data := await wire.chunk()).startswith(MARK):
            pass
    assert b"running" in data
    assert time.monotonic() - begun >= 0.45


async def test_after_the_time_for_a_gate_an_answer_is_given_too(tmp_path: Path) -> None:
    tape = Made()
    tape.post(EVENTS, 1.0, until=3.0, status=202, answer={"queued": True})
    tape.post(RESOLVE, 2.0, status=202)
    async with Replay(tape.save(tmp_path / "tape.db"), timing="instant", skip_gates_after=0.1) as server:
        assert (await ask(server.url, post(EVENTS))).body == b'{"queued": true}'


async def test_a_session_that_began_anew_leaves_a_waiting_listener_its_own_gates(tmp_path: Path) -> None:
    async with listening(conversation(), tmp_path, skip_gates_after=0.3) as (server, wire):
        await heard(wire, 2)
        await ask(server.url, post("/v1/sessions"))
        assert b"running" in await wire.chunk()


async def test_it_tells_what_came_what_was_missed_and_what_was_different(tmp_path: Path) -> None:
    async with Replay(conversation().save(tmp_path / "tape.db"), timing="instant", match=["path"]) as server:
        await ask(server.url, get(SESSION))
        await ask(server.url, post(EVENTS, b'{"type": "interrupt"}'))
        missed = await ask(server.url, get("/v1/sessions/s/item"))
        await ask(server.url, post("/v1/sessions/s/events"))
        await ask(server.url, b"PUT /v1/sessions/s/read-state HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        assert [(one.method, one.target, one.status) for one in server.requests] == [
            ("GET", SESSION, 200),
            ("POST", EVENTS, 202),
            ("GET", "/v1/sessions/s/item", 404),
            ("POST", EVENTS, 404),
            ("PUT", "/v1/sessions/s/read-state", 204),
        ]
        assert [one.target for one in server.unmatched] == ["/v1/sessions/s/item", EVENTS]
        assert [(one.field, one.got) for one in server.mismatches] == [("type", "interrupt")]
        told = await state(server)
    error = json.loads(missed.body)["error"]
    assert (missed.status[:12], error["code"]) == (b"HTTP/1.1 404", "not_recorded")
    differs = "path (segment 4: 'item' instead of nothing)"
    assert {"request": f"GET {SESSION}", "differs": differs} in error["nearest"]
    assert f"\n  GET {SESSION}{{+/item+}}" in error["message"]
    assert told["requests"] == 5
    assert told["unmatched"] == ["GET /v1/sessions/s/item", f"POST {EVENTS}"]
    assert told["mismatches"] == [
        {"request": f"POST {EVENTS}", "field": "type", "recorded": "message", "got": "interrupt"}
    ]


async def test_in_a_loop_each_client_gets_the_session_from_its_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = conversation().save(tmp_path / "tape.db")
    async with Replay(path, timing="instant", no_gate=True, loop=True) as server:
        for _ in range(3):
            async with connected(server.url, get(STREAM)) as wire:
                await wire.head()
                assert (await heard(wire, 8))[-1] == "idle"
                async with connected(server.url, get(STREAM)) as second:
                    await second.head()
            await eventually(lambda: not server.wait_state().serves)
    assert len(caplog.messages) == 3
    assert "close every stream of the session and open a new one, or reset" in caplog.messages[0]


@pytest.mark.parametrize("target", ["/v1/runners/r/tunnel", "/v1/sessions/s/resources/terminals/t/attach"])
async def test_a_websocket_is_refused_with_a_reason(tmp_path: Path, target: str) -> None:
    tape = conversation()
    tape.websocket(target, 1.0, (1.1, "down", {"kind": "host.launch_runner"}))
    upgrade = get(
        target, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: a"
    )
    async with Replay(tape.save(tmp_path / "tape.db"), no_gate=True) as server:
        answer = await ask(server.url, upgrade)
    assert answer.status.startswith(b"HTTP/1.1 403")
    assert json.loads(answer.body)["error"]["code"] == "not_replayed"


async def test_a_relaxed_read_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "omnirecord")
    async with Replay(conversation().save(tmp_path / "tape.db")) as server:
        await ask(server.url, get(SESSION + "?include_items=true"))
    assert [text for text in caplog.messages if "answered as" in text]


async def test_who_joins_a_compressed_stream_gets_it_readable(tmp_path: Path) -> None:
    tape = Made()
    headers = (("content-type", "text/event-stream"), ("content-encoding", "gzip"))
    tape.stream("s", 1.0, *zipped([(1.0, heartbeat()), (1.5, delta("a")), (3.0, status("idle"))]), headers=headers)
    tape.post(EVENTS, 2.0, status=202)
    async with listening(tape, tmp_path) as (server, _), connected(server.url, get(STREAM)) as other:
        _, fields = await other.head()
        assert b"content-encoding" not in dict(fields)
        assert (await heard(other, 2))[:2] == ["heartbeat", "a"]
        await ask(server.url, post(EVENTS))
        assert await heard(other, 1) == ["idle"]
