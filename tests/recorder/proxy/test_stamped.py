"""Streams with ids, and responses that get none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.recorder.proxy.test_resume import hear, running, stamped
from tests.support import wire
from tests.support.wire import Wire, connected, event, get, recorded


async def test_events_have_ids_and_the_recording_has_what_upstream_sent(tmp_path: Path) -> None:
    async with running(tmp_path) as (proxy, server, _), connected(proxy.url, get()) as client:
        server.say(1)
        _, headers = await client.head()
        await hear(client, stamped(1, 1))
        server.put(b": keep-alive\n\n")
        await hear(client, b": keep-alive\n\n")
        server.say(3)
        server.put(None)
        assert await client.body(headers) == (stamped(1, 3), True)
        await wire.eventually(lambda: wire.ending(proxy.db) == "eof")
    assert wire.content(proxy.db) == event(1) + b": keep-alive\n\n" + event(3)
    assert [frame.seq for frame in wire.frames(proxy.db) if frame.sent_ns] == [1, 2, 3]


def answering(head: bytes, body: bytes) -> Callable[[Wire], Awaitable[None]]:
    return wire.answering(head + body)


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
UNTOUCHED = {
    "not a stream": (get(), b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 11\r\n\r\ndata: x\n\n\n\n"),
    "coded": (get(), PLAIN + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\ndata: x\n\n"),
    "not a 200": (get(), PLAIN.replace(b"200 OK", b"203 X") + b"Content-Length: 9\r\n\r\ndata: x\n\n"),
    "the answer to a POST": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", PLAIN + b"Content-Length: 9\r\n\r\ndata: x\n\n"
    ),
    "no body": (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN + b"Content-Length: 9\r\n\r\n"),
    "with ids of its own": (get(), PLAIN + b"\r\nid: 7\ndata: x\n\ndata: y\n\ndata: z"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNTOUCHED)
async def test_what_is_not_stamped_is_untouched(kind: str, tmp_path: Path) -> None:
    request, answer = UNTOUCHED[kind]
    async with recorded(wire.answering(answer), tmp_path, resume=True) as (proxy, upstream):
        direct, proxied = await wire.ask(upstream.url, request), await wire.ask(proxy.url, request)
    assert (proxied.status, proxied.body, proxied.whole) == (direct.status, direct.body, direct.whole)


async def test_a_last_event_id_of_upstreams_own_reaches_it(tmp_path: Path) -> None:
    async with running(tmp_path) as (proxy, server, _), connected(proxy.url, get("/", "Last-Event-ID: 7")) as client:
        await client.head()
        assert (b"Last-Event-ID", b"7") in server.requests[0]


async def test_a_stream_of_known_length_is_longer_with_ids(tmp_path: Path) -> None:
    answer = PLAIN + b"Content-Length: %d\r\n\r\n" % len(event(1)) + event(1)
    async with recorded(wire.answering(answer), tmp_path, resume=True) as (proxy, _):
        got = await wire.ask(proxy.url, get())
        old = await wire.ask(proxy.url, get().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (got.body, got.whole) == (stamped(1, 1), True)
    assert old.body == stamped(2, 1)


async def test_an_event_in_cr_lines_does_not_wait_for_the_next(tmp_path: Path) -> None:
    async with running(tmp_path) as (proxy, server, _), connected(proxy.url, get()) as client:
        await client.head()
        server.put(b"data: x\r\r")
        await hear(client, b"id: 1.1\rdata: x\r\r")
        server.put(b"\ndata: y\r\r\n")
        await hear(client, b"\nid: 1.2\rdata: y\r\r\n")
