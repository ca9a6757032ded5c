"""The control interface of a proxy: what is recorded is told as it is, to whoever may ask; nobody slow holds it up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omnirecord.wire.sse import Frame, Parser
from tests.support import wire
from tests.support.wire import Wire, chunk, connected, event, get, recorded

EVENTS = "/-/omnirecord/events"


def ask_for(path: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost:6868", *lines, "", ""]).encode()


class Talker:
    """An upstream whose streams say what the test wants them to."""

    def __init__(self) -> None:
        self.conns: list[Wire] = []

    async def handle(self, conn: Wire) -> None:
        await conn.stream()
        self.conns.append(conn)
        await conn.gone()

    async def say(self, *frames: bytes, stream: int = 0) -> None:
        await self.conns[stream].send(chunk(b"".join(frames)))


class Listener:
    """Who listens at the control path."""

    def __init__(self, conn: Wire) -> None:
        self._conn, self._parser, self._frames = conn, Parser(), list[Frame]()

    async def next(self) -> Frame:
        """The next event; comments are none."""
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame.data is not None:
                    return frame
            self._frames += self._parser.feed(await self._conn.chunk())

    async def row(self) -> dict[str, Any]:
        frame = await self.next()
        assert frame.event is None, frame.data
        value = json.loads(frame.data or "")
        assert isinstance(value, dict)
        return value


@asynccontextmanager
async def listening(url: str, query: str = "", *lines: str) -> AsyncIterator[Listener]:
    async with connected(url, ask_for(EVENTS + query, *lines)) as conn:
        status, headers = await conn.head()
        assert status == b"HTTP/1.1 200 OK"
        assert dict(headers)[b"X-Omnirecord"] == b"events"
        listener = Listener(conn)
        assert (await listener.next()).event == "cassette"
        yield listener


async def told(url: str, path: str, *lines: str, method: str = "GET") -> tuple[int, Any]:
    answer = await wire.ask(url, ask_for(path, *lines, method=method))
    return int(answer.status.split()[1]), json.loads(answer.body or b"null")


async def test_what_is_recorded_is_told_as_it_is_and_is_not_recorded_itself(tmp_path: Path) -> None:
    talker = Talker()
    async with recorded(talker.handle, tmp_path, control=True) as (proxy, _), connected(proxy.url, get("/s")) as client:
        await client.head()
        await talker.say(event(0), event(1))
        await wire.eventually(lambda: len(wire.frames(proxy.db)) == 2)
        async with listening(proxy.url, "?last=1") as listener:
            assert (await listener.row())["seq"] == 2
            late = []
            for n in range(2, 12):
                begun = time.monotonic()
                await talker.say(event(n))
                assert (await listener.row())["seq"] == n + 1
                late.append(time.monotonic() - begun)
            assert sorted(late)[5] < 0.3
        assert proxy.exchanges == 1
    assert [one.request.target for one in wire.exchanges(proxy.db)] == ["/s"]


async def test_who_listens_is_told_the_end_with_all_that_came_before(tmp_path: Path) -> None:
    talker = Talker()
    async with recorded(talker.handle, tmp_path, control=True) as (proxy, _), connected(proxy.url, get()) as client:
        await client.head()
        async with listening(proxy.url) as listener:
            await talker.say(event(0), b"data: cut o")
            assert (await listener.row())["seq"] == 1
            await wire.eventually(lambda: b"cut o" in wire.content(proxy.db))
            stopping = asyncio.create_task(proxy.stop())
            assert (await listener.row())["verdict"] == "truncated"
            assert (await listener.next()).event == "end"
            await stopping
    assert [path.name for path in tmp_path.iterdir()] == ["run.db"]


async def test_events_are_narrowed_and_gone_on_with_behind_the_last_id(tmp_path: Path) -> None:
    talker = Talker()
    async with recorded(talker.handle, tmp_path, control=True) as (proxy, _), connected(proxy.url, get()) as client:
        await client.head()
        await talker.say(event(0), b": comment\n\n", event(1), b"data: [DONE]\n\n")
        await wire.eventually(lambda: len(wire.frames(proxy.db)) == 4)
        async with listening(proxy.url, "?type=*.delta&stream=1") as listener:
            first, second = await listener.next(), await listener.next()
            assert [json.loads(one.data or "")["seq"] for one in (first, second)] == [1, 3]
        await talker.say(event(2))
        async with listening(proxy.url, "", f"Last-Event-ID: {second.id}") as listener:
            assert (await listener.row())["seq"] == 5


async def test_how_the_recording_is_is_told(tmp_path: Path) -> None:
    talker = Talker()
    async with (
        recorded(talker.handle, tmp_path, control=True) as (proxy, upstream),
        connected(proxy.url, get("/v1/sessions/s/stream")) as client,
    ):
        await client.head()
        async with asyncio.timeout(10):
            while (told_state := await told(proxy.url, "/-/omnirecord/"))[1]["waiting_bytes"]:  # noqa: ASYNC110  # a thread of the recorder writes
                await asyncio.sleep(0.01)
        assert told_state == (200, {
            "db": str(proxy.db), "upstream": upstream.url, "recording": 1, "exchanges": 1, "unrecorded": 0,
            "open_exchanges": 1,
            "degraded": None, "waiting_bytes": 0, "dropped_bytes": 0, "refused": 0,
            "streams": [{"stream": 1, "session_id": "s", "hop": None}], "listening": 0,
            "upstreams": [{"hop": None, "upstream": upstream.url, "url": proxy.url, "exchanges": 1}],
        })  # fmt: skip


@pytest.mark.parametrize(
    ("path", "lines", "method", "status", "said"),
    [
        ("/-/omnirecord/state", (), "GET", 404, "use GET"),
        (EVENTS, ("X-Omnirecord: 1",), "POST", 405, "takes only GET"),
        (EVENTS, (), "POST", 415, "a web page could send this unasked"),
        (EVENTS, ("Origin: http://localhost:3000",), "GET", 403, "a page from http://localhost:3000"),
        (EVENTS, ("Origin: https://evil.example",), "GET", 403, "a page from https://evil.example"),
        (EVENTS + "?stream=x", (), "GET", 400, "stream='x' is not a number"),
        (EVENTS + "?verdict=x", (), "GET", 400, "verdict='x' is unknown"),
        (EVENTS + "?colour=x", (), "GET", 400, "events has no option colour"),
    ],
)
async def test_what_cannot_be_told_gets_a_sentence(
    path: str, lines: tuple[str, ...], method: str, status: int, said: str, tmp_path: Path
) -> None:
    async with recorded(Talker().handle, tmp_path, control=True) as (proxy, _):
        found, answer = await told(proxy.url, path, *lines, method=method)
    assert found == status
    assert said in answer["error"]["message"]


async def test_a_page_whose_name_was_made_to_mean_us_is_told_nothing(tmp_path: Path) -> None:
    async with recorded(Talker().handle, tmp_path, control=True) as (proxy, _):
        answer = await wire.ask(proxy.url, get(EVENTS))
    assert b"client.example is no name that this server was told of" in answer.body


async def test_beyond_loopback_a_token_is_asked_for_by_the_control_path_and_by_nothing_else(tmp_path: Path) -> None:
    hi = wire.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    async with recorded(hi, tmp_path, control=True, host="0.0.0.0", allow_remote=True) as (proxy, _):
        url, token = proxy.url.replace("0.0.0.0", "127.0.0.1"), proxy.made_token
        assert token is not None
        for path in ("/-/omnirecord/", EVENTS):
            assert (await told(url, path))[0] == 401
        assert (await told(url, "/-/omnirecord/", f"Authorization: Bearer {token}"))[0] == 200
        assert (await wire.ask(url, get("/"))).body == b"hi"
        async with listening(url, "", f"Authorization: Bearer {token}") as listener:
            assert listener
    assert [one.request.target for one in wire.exchanges(proxy.db)] == ["/"]


async def test_a_token_of_ones_own_is_none_that_was_made_up(tmp_path: Path) -> None:
    token = "a-token-of-my-own"
    async with recorded(Talker().handle, tmp_path, control=True, token=token) as (proxy, _):
        assert (proxy.token, proxy.made_token) == (token, None)
        assert (await told(proxy.url, "/-/omnirecord/"))[0] == 401
    async with recorded(Talker().handle, tmp_path, host="0.0.0.0", allow_remote=True) as (proxy, _):
        assert (proxy.token, proxy.made_token) == (None, None), "without the path there is nothing to ask for it"


async def test_without_it_the_path_is_upstreams(tmp_path: Path) -> None:
    async with recorded(wire.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), tmp_path) as (proxy, _):
        assert (await wire.ask(proxy.url, get("/-/omnirecord/"))).body == b"hi"
    assert [one.request.target for one in wire.exchanges(proxy.db)] == ["/-/omnirecord/"]


@pytest.mark.slow
async def test_nothing_waits_for_who_listens_slowly(tmp_path: Path) -> None:
    """Fifty megabytes pass while a listener reads nothing: no stream is held up, and no memory is filled."""
    talker = Talker()
    async with recorded(talker.handle, tmp_path, control=True) as (proxy, _), connected(proxy.url, get()) as client:
        await client.head()
        async with connected(proxy.url, ask_for(EVENTS), receive_buffer=4096) as slow:
            before, gaps = wire.resident(), []
            for n in range(800):
                begun = time.monotonic()
                await talker.say(event(n, 64 * 1024))
                assert await client.chunk() == event(n, 64 * 1024)
                gaps.append(time.monotonic() - begun)
            assert sorted(gaps)[700] < 0.1
            assert wire.resident() - before < 64 << 20
            await wire.eventually(lambda: wire.stored_frames(proxy.db) == 800, 30)
            listener = Listener(slow)
            await slow.head()
            assert (await listener.next()).event == "cassette"
            assert [(await listener.row())["seq"] for _ in range(800)][-1] == 800
