"""`--resume`: events with ids, and a client that comes back behind the last it has: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from omnirecord.errors import UsageError
from omnirecord.recorder.proxy import resume as resuming
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.wire.event_ids import StreamStamper
from omnirecord.wire.sse import Frame, Parser
from tests.support import wire
from tests.support.wire import END, STREAM, Headers, Upstream, Wire, chunk, connected, event, get, recorded

KIB = 1024
CUT = b"cut"


def stamped(stream: int, *seqs: int, size: int = 0) -> bytes:
    """The events of these numbers as a client gets them; event n is frame n."""
    return b"".join(
        event(seq, size).replace(b"\ndata:", b"\nid: %d.%d\ndata:" % (stream, seq)) for seq in seqs
    )  # fmt: skip


def back(seq: int, *lines: str, stream: int = 1, path: str = "/") -> bytes:
    return get(path, f"Last-Event-ID: {stream}.{seq}", *lines)


class Server:
    """An upstream whose nth stream brings what a test `puts` to it; a None ends the body, `CUT` cuts it."""

    def __init__(self) -> None:
        self._said = [asyncio.Queue[bytes | None]() for _ in range(9)]
        self.requests: list[Headers] = []
        self.left = asyncio.Event()

    async def __call__(self, conn: Wire) -> None:
        _, headers, _ = await conn.request()
        queue = self._said[len(self.requests)]
        self.requests.append(headers)
        await conn.send(STREAM)
        gone = asyncio.create_task(conn.gone())
        while True:
            said = asyncio.create_task(queue.get())
            await asyncio.wait({gone, said}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                said.cancel()
                self.left.set()
                return
            if (data := said.result()) is None:
                await conn.send(END)
                return
            if data == CUT:
                gone.cancel()
                return
            await conn.send(chunk(data))

    def put(self, data: bytes | None, to: int = 1) -> None:
        self._said[to - 1].put_nowait(data)

    def say(self, *seqs: int, size: int = 0, to: int = 1) -> None:
        for seq in seqs:
            self.put(event(seq, size), to)


@asynccontextmanager
async def running(folder: Path, **options: object) -> AsyncIterator[tuple[Proxy, Server, Upstream]]:
    server = Server()
    async with recorded(server, folder, resume=True, **options) as (proxy, upstream):
        yield proxy, server, upstream


async def hear(client: Wire, expected: bytes) -> None:
    """The next bytes of a body, however they are chunked."""
    heard = b""
    while len(heard) < len(expected):
        heard += await client.chunk()
    assert heard == expected


async def recorded_to(proxy: Proxy, seq: int) -> None:
    """Wait until so many frames of stream 1 are in the file."""
    await wire.eventually(lambda: len(wire.frames(proxy.db)) >= seq)


async def test_a_client_that_comes_back_gets_the_rest_from_memory_then_the_live_rest(tmp_path: Path) -> None:
    async with running(tmp_path) as (proxy, server, upstream):
        async with connected(proxy.url, get()) as client:
            server.say(1, 2, 3)
            await client.head()
            await hear(client, stamped(1, 1, 2, 3))
        server.say(4, 5)
        await recorded_to(proxy, 5)
        assert wire.ending(proxy.db) == "open"
        async with connected(proxy.url, back(2)) as client:
            line, headers = await client.head()
            assert line == b"HTTP/1.1 200 OK"
            await hear(client, stamped(1, 3, 4, 5))
            server.say(6)
            await hear(client, stamped(1, 6))
            server.put(None)
            assert await client.body(headers) == (b"", True)
        assert upstream.connections == 1
        await wire.eventually(lambda: wire.ending(proxy.db) == "eof")
    (found,) = wire.exchanges(proxy.db)
    assert (found.stream, found.party) == (1, "client")
    assert wire.content(proxy.db) == b"".join(map(event, range(1, 7)))


async def test_a_client_may_come_back_again_and_again(tmp_path: Path) -> None:
    got = b""
    async with running(tmp_path) as (proxy, server, upstream):
        request = get()
        for seq in range(1, 20):
            server.say(seq)
            async with connected(proxy.url, request) as client:
                await client.head()
                got += await client.chunk()
            request = back(seq)
        assert upstream.connections == 1
    assert got == stamped(1, *range(1, 20))


@pytest.mark.parametrize("seed", range(4))
async def test_a_client_that_is_reset_at_any_byte_misses_nothing_and_gets_nothing_twice(
    seed: int, tmp_path: Path
) -> None:
    """Upstream sends all the while, cut anywhere; the client takes what is whole and comes back behind that."""
    chance, count = random.Random(seed), 400
    data = b"".join(event(n) if n % 5 else b": %d\n\n" % n for n in range(1, count + 1))

    async def handle(conn: Wire) -> None:
        await conn.stream()
        at = 0
        while at < len(data):
            size = chance.randrange(1, 700)
            await conn.send(chunk(data[at : at + size]))
            at += size
            await asyncio.sleep(chance.choice([0, 0.001]))
        await conn.send(END)

    got: list[Frame] = []
    async with recorded(handle, tmp_path, resume=True) as (proxy, upstream):
        request = get()
        while not got or got[-1].id != "1.399":
            async with connected(proxy.url, request) as client:
                await client.head()
                parser, more = Parser(), chance.randrange(1, 20_000)
                while more > 0 and (part := await client.chunk()):
                    got += [frame for frame in parser.feed(part[:more]) if frame.data is not None]
                    more -= len(part)
                client.reset()
            request = get("/", f"Last-Event-ID: {got[-1].id}") if got else request
        assert upstream.connections == 1
    assert [frame.id for frame in got] == [f"1.{n}" for n in range(1, count + 1) if n % 5]
    assert wire.content(proxy.db) == data


async def test_one_whose_old_connection_is_not_yet_known_to_be_lost_takes_its_stream_over(tmp_path: Path) -> None:
    async with running(tmp_path) as (proxy, server, upstream), connected(proxy.url, get()) as old:
        server.say(1, 2)
        await old.head()
        await hear(old, stamped(1, 1, 2))
        async with connected(proxy.url, back(1)) as new:
            await new.head()
            await hear(new, stamped(1, 2))
            assert await old.rest() == b"", "cut, and nothing twice"
            server.say(3)
            await hear(new, stamped(1, 3))
        assert upstream.connections == 1


async def test_what_was_sent_keeps_its_time_and_what_was_not_gets_that_of_the_return(tmp_path: Path) -> None:
    async with running(tmp_path) as (proxy, server, _):
        async with connected(proxy.url, get()) as client:
            server.say(1, 2)
            await client.head()
            await hear(client, stamped(1, 1, 2))
        await recorded_to(proxy, 2)
        await wire.eventually(lambda: proxy.open_exchanges == 0)
        first = [frame.sent_ns for frame in wire.frames(proxy.db)]
        server.say(3)
        await recorded_to(proxy, 3)
        assert wire.frames(proxy.db)[2].sent_ns is None
        async with connected(proxy.url, back(1)) as client:
            await client.head()
            await hear(client, stamped(1, 2, 3))
        await wire.eventually(lambda: wire.frames(proxy.db)[2].sent_ns is not None)
    frames = wire.frames(proxy.db)
    assert [frame.sent_ns for frame in frames[:2]] == first
    assert (frames[2].sent_ns or 0) > frames[2].offset_ns


@pytest.mark.parametrize(("said", "whole", "ending"), [(None, True, "eof"), (CUT, False, "upstream_lost")])
async def test_if_upstream_has_ended_meanwhile_the_rest_and_that_end_come(
    said: bytes | None, whole: bool, ending: str, tmp_path: Path
) -> None:
    async with running(tmp_path) as (proxy, server, upstream):
        async with connected(proxy.url, get()) as client:
            server.say(1)
            await client.head()
            await hear(client, stamped(1, 1))
        server.say(2)
        server.put(b"data: {")
        server.put(said)
        await wire.eventually(lambda: wire.ending(proxy.db) == ending)
        async with connected(proxy.url, back(1)) as client:
            _, headers = await client.head()
            assert await client.body(headers) == (stamped(1, 2) + b"data: {", whole)
        assert upstream.connections == 1
    frames = wire.frames(proxy.db)
    assert [frame.sent_ns is not None for frame in frames] == [True, True, True]
    assert wire.ending(proxy.db) == ending


async def test_behind_the_last_event_of_a_stream_that_has_ended_a_new_one_is_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path) as (proxy, server, upstream):
        async with connected(proxy.url, get()) as client:
            server.say(1)
            server.put(None)
            _, headers = await client.head()
            assert await client.body(headers) == (stamped(1, 1), True)
        async with connected(proxy.url, back(1)) as client:
            server.say(1, to=2)
            await client.head()
            await hear(client, stamped(2, 1))
        assert upstream.connections == 2


OTHERS = {
    "other credentials": back(1, "Authorization: Bearer other"),
    "no credentials": back(1),
    "another cookie": back(1, "Authorization: Bearer mine", "Cookie: ap_session=other"),
    "another header": back(1, "Authorization: Bearer mine", "Accept-Encoding: gzip"),
    "another target": back(1, "Authorization: Bearer mine", path="/other"),
    "another query": back(1, "Authorization: Bearer mine", path="/?idle=true"),
    "another stream": back(1, "Authorization: Bearer mine", stream=7),
    "an event that was never sent": back(2, "Authorization: Bearer mine"),
    "an id that is none of ours": get("/", "Authorization: Bearer mine", "Last-Event-ID: x"),
    "another method": back(1, "Authorization: Bearer mine").replace(b"GET", b"POST"),
}


@pytest.mark.parametrize("heard", [True, False], ids=["while it is heard", "while it is kept"])
@pytest.mark.parametrize("kind", OTHERS)
async def test_who_is_not_the_same_client_gets_a_stream_of_its_own(kind: str, heard: bool, tmp_path: Path) -> None:
    mine = get("/", "Authorization: Bearer mine")
    async with running(tmp_path) as (proxy, server, upstream), connected(proxy.url, mine) as client:
        server.say(1)
        await client.head()
        await hear(client, stamped(1, 1))
        if not heard:
            client.close()
            await wire.eventually(lambda: proxy.open_exchanges == 0)
        async with connected(proxy.url, OTHERS[kind]) as other:
            await wire.eventually(lambda: upstream.connections == 2)
            await other.head()


async def test_the_same_client_may_send_other_trace_ids_and_its_fields_in_another_order(tmp_path: Path) -> None:
    async with running(tmp_path) as (proxy, server, upstream):
        async with connected(proxy.url, get("/", "traceparent: 00-1", "Accept: a/b", "X-A: 1", "X-A: 2")) as client:
            server.say(1)
            await client.head()
            await hear(client, stamped(1, 1))
        server.say(2)
        again = back(1, "X-A: 1", "x-a: 2", "cache-control: no-cache", "Accept: a/b", "traceparent: 00-2")
        async with connected(proxy.url, again) as client:
            await client.head()
            await hear(client, stamped(1, 2))
        assert upstream.connections == 1


async def test_a_client_that_does_not_come_back_is_one_that_left(tmp_path: Path) -> None:
    async with running(tmp_path, resume_for=0.2) as (proxy, server, upstream):
        async with connected(proxy.url, get()) as client:
            server.say(1)
            await client.head()
            await hear(client, stamped(1, 1))
        server.say(2)
        await recorded_to(proxy, 2)
        assert not server.left.is_set()
        async with asyncio.timeout(wire.PATIENCE):
            await server.left.wait()
        await wire.eventually(lambda: wire.ending(proxy.db) == "client_left")
        async with connected(proxy.url, back(1)) as client:
            await client.head()
        assert upstream.connections == 2
    assert [frame.sent_ns is not None for frame in wire.frames(proxy.db)] == [True, False]


DONE = b"data: [DONE]\n\n"
NOT_KEPT = {
    "before it has an id": (b": hello\n\n", ": hello\n\n"),
    "of a stream with ids of its own": (b"id: 7\n" + event(1), "id: 7"),
    "after one of its own came": (event(1) + b"id: 7\n\n" + event(2), '"sequence_number":2'),
    "after the end was said": (event(1) + DONE, "[DONE]"),
}


@pytest.mark.parametrize("kind", NOT_KEPT)
async def test_upstream_is_told_at_once_of_a_client_that_could_not_come_back(kind: str, tmp_path: Path) -> None:
    said, last = NOT_KEPT[kind]
    async with running(tmp_path) as (proxy, server, _):
        async with connected(proxy.url, get()) as client:
            server.put(said)
            await client.head()
            await client.until(last.encode())
        async with asyncio.timeout(2):
            await server.left.wait()
        ending = "done" if DONE in said else "client_left"
        await wire.eventually(lambda: wire.ending(proxy.db) == ending)
    assert wire.content(proxy.db) == said


async def test_what_is_held_for_a_client_is_bounded_and_the_recording_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, read_ahead=100 * KIB) as (proxy, server, upstream):
        async with connected(proxy.url, get()) as client:
            server.say(1)
            await client.head()
            await hear(client, stamped(1, 1))
        server.say(*range(2, 40), size=10 * KIB)
        await recorded_to(proxy, 39)
        async with connected(proxy.url, back(1)) as client:
            await wire.eventually(lambda: upstream.connections == 2)
            async with asyncio.timeout(2):
                await server.left.wait()
            server.say(1, to=2)
            await client.head()
            await hear(client, stamped(2, 1))
        await wire.eventually(lambda: wire.ending(proxy.db) == "client_left")
    assert "event 1.1 cannot be gone on from, a new stream is asked for: what followed" in caplog.text
    assert len(wire.frames(proxy.db, 1)) == 39


@pytest.mark.slow
async def test_a_slow_client_is_read_ahead_of_no_further_than_is_said(tmp_path: Path) -> None:
    async def handle(conn: Wire) -> None:
        nonlocal sent
        await conn.stream()
        conn.writer.transport.set_write_buffer_limits(high=0)
        for seq in range(1, 261):
            await conn.send(chunk(event(seq, 64 * KIB)))
            sent = seq
        await conn.send(END)

    sent = 0
    async with (
        recorded(handle, tmp_path, resume=True, read_ahead=KIB * KIB) as (proxy, _),
        connected(proxy.url, get(), receive_buffer=4096) as slow,
    ):
        before = -1
        while sent == 0 or before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert 16 < sent < 220
        _, headers = await slow.head()
        body, whole = await slow.body(headers)
    assert whole
    assert body == stamped(1, *range(1, 261), size=64 * KIB)
    assert all(frame.sent_ns for frame in wire.frames(proxy.db))


async def test_a_slow_client_that_comes_back_loses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as (proxy, server, _):
        async with connected(proxy.url, get(), receive_buffer=4096) as slow:
            server.say(*range(1, 51), size=64 * KIB)
            await recorded_to(proxy, 50)
            await slow.head()
            await slow.read(64)
        server.put(None)
        async with connected(proxy.url, back(1)) as client:
            _, headers = await client.head()
            assert await client.body(headers) == (stamped(1, *range(2, 51), size=64 * KIB), True)


async def test_only_so_many_streams_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resuming, "MOST_KEPT", 2)
    async with running(tmp_path) as (proxy, server, _):
        for stream in range(1, 4):
            async with connected(proxy.url, get()) as client:
                await client.head()
                server.say(1, to=stream)
                await hear(client, stamped(stream, 1))
            if stream < 3:
                await wire.eventually(lambda n=stream: len(proxy._resuming._kept) == n)  # type: ignore[union-attr]
        await wire.eventually(lambda: wire.ending(proxy.db, 1) == "client_left")
        assert [wire.ending(proxy.db, number) for number in (2, 3)] == ["open", "open"]
    assert "stream 1 is not kept any longer: more than 2 clients have left" in caplog.text


async def test_stopping_cuts_what_is_heard_and_what_is_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as (proxy, server, _):
        async with connected(proxy.url, get("/kept")) as left:
            server.say(1)
            await left.head()
            await hear(left, stamped(1, 1))
        async with connected(proxy.url, back(1, path="/kept")) as returned:
            await returned.head()
            async with connected(proxy.url, get("/new")) as other:
                await other.head()
                async with asyncio.timeout(3):
                    await proxy.stop()
                assert await returned.rest() == b""
                assert await other.rest() == b""
    assert [one.ending for one in wire.exchanges(proxy.db)] == ["recorder_stopped"] * 2
    assert {path.name for path in tmp_path.iterdir()} == {"run.db"}


async def test_stopping_cuts_a_stream_that_nobody_hears(tmp_path: Path) -> None:
    async with running(tmp_path) as (proxy, server, _):
        async with connected(proxy.url, get()) as client:
            server.say(1)
            await client.head()
            await hear(client, stamped(1, 1))
        await wire.eventually(lambda: proxy.open_exchanges == 0)
        async with asyncio.timeout(3):
            await proxy.stop()
            await server.left.wait()
    assert wire.ending(proxy.db) == "recorder_stopped"


async def test_without_resume_nothing_is_stamped_and_nothing_kept(tmp_path: Path) -> None:
    server = Server()
    async with recorded(server, tmp_path) as (proxy, upstream):
        async with connected(proxy.url, get()) as client:
            server.say(1)
            await client.head()
            await hear(client, event(1))
        async with asyncio.timeout(2):
            await server.left.wait()
        async with connected(proxy.url, back(1)) as client:
            await client.head()
        assert upstream.connections == 2
    assert wire.ending(proxy.db) == "client_left"


async def test_what_a_client_came_back_with_is_in_the_file_nowhere_and_no_exchange_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(tmp_path) as (proxy, server, _):
        async with connected(proxy.url, get("/", "Authorization: Bearer secret-of-mine")) as client:
            server.say(1)
            await client.head()
            await hear(client, stamped(1, 1))
        async with connected(proxy.url, back(1, "Authorization: Bearer secret-of-mine")) as client:
            await client.head()
        assert proxy.exchanges == 1
    assert len(wire.exchanges(proxy.db)) == 1
    assert b"secret-of-mine" not in wire.bytes_on_disk(proxy.db)
    assert "a client came back to stream 1, behind its frame 1" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"read_ahead": 0}, "--resume sends again what it has read ahead"),
        ({"resume_for": -1.0}, "resume-for -1 must be 0 or more"),
        ({"resume_for": float("nan")}, "resume-for nan must be"),
    ],
)
def test_what_cannot_be_resumed_with_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Proxy("http://127.0.0.1:1", resume=True, **options)  # type: ignore[arg-type]


def test_the_helper_of_these_tests_stamps_as_the_proxy_does() -> None:
    assert stamped(1, 1, 2) == b"".join(one.data for one in StreamStamper(1, 1 << 20).feed(event(1) + event(2)))
    assert len(Parser().feed(stamped(1, 1, 2))) == 2
