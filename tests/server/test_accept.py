"""File descriptors for connections: how many seats there are, and what a connection without one gets."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

import omnirecord
from omnirecord import record
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.server import accept as accepting
from omnirecord.server.accept import RESERVE, Descriptors, limit, raise_limit
from omnirecord.server.http import json_response
from omnirecord.server.listener import Listener, Place
from tests.support.cassettes import conversation
from tests.support.wire import ask, connected, eventually, exchanges, get, incidents, nobody_listens

SEATS = 2


@contextmanager
def soft_limit(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Descriptors:
    """So few descriptors that two connections have a seat."""
    descriptors = Descriptors()
    monkeypatch.setattr(Descriptors, "_room", lambda _self, elsewhere: SEATS - elsewhere)
    monkeypatch.setattr(Descriptors, "measure", lambda _self: None)
    return descriptors


async def listening(few: Descriptors) -> Listener:
    listener = Listener(lambda _: asyncio.sleep(0, json_response("served")), Place())
    listener.accepting = accepting.Accepting(1, few)
    await listener.bind()
    await listener.start()
    return listener


def test_connections_leave_a_reserve_free() -> None:
    descriptors, seats = Descriptors(), 0
    with soft_limit(256):
        while descriptors.take(2, 0):
            seats += 1
        assert 256 - 16 - RESERVE - 2 * seats in (8, 9), "those of refusals"
        assert not descriptors.take(2, 0)
        descriptors.give(2)
        assert not descriptors.take(2, elsewhere=4)
        assert descriptors.take(2, 0)


def test_a_limit_below_the_reserve_leaves_some_connections() -> None:
    with soft_limit(64):
        assert [Descriptors().take(2, 0) for _ in range(2)] == [True, True]


def test_the_soft_limit_becomes_the_hard_one() -> None:
    with soft_limit(256):
        raise_limit()
        assert limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_a_program_keeps_its_own_limit(tmp_path: Path) -> None:
    with soft_limit(256):
        with omnirecord.record(nobody_listens(), tmp_path / "run.db"):
            assert limit() == 256
        with omnirecord.replay(conversation().save(tmp_path / "a.db"), allow_no_requests=True):
            assert limit() == 256


async def test_a_request_without_a_seat_is_refused_and_served_once_another_has_left(
    few: Descriptors, caplog: pytest.LogCaptureFixture
) -> None:
    listener = await listening(few)
    async with AsyncExitStack() as stack:
        for _ in range(SEATS):
            client = await stack.enter_async_context(connected(listener.url, get()))
            assert (await client.head())[0].endswith(b"200 OK")
        for _ in range(3):
            answer = await ask(listener.url, get())
            assert answer.status == b"HTTP/1.1 503 Service Unavailable"
            assert dict(answer.headers)[b"Retry-After"] == b"1"
            assert b'"code": "out_of_descriptors"' in answer.body
    await eventually(lambda: not few.taken + few.refused)
    assert (await ask(listener.url, get())).status == b"HTTP/1.1 200 OK"
    assert listener.accepting.refused == 3
    await listener.stop(0)
    said = [line for line in caplog.messages if "descriptors" in line]
    assert [line.split(":")[0] for line in said] == [
        "file descriptors run short",
        "connections have file descriptors again; 3 requests were refused with 503",
    ]


async def test_connections_that_send_no_request_give_their_seats_up(
    few: Descriptors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "_IDLE", 0.0)
    listener = await listening(few)
    async with AsyncExitStack() as stack:
        for _ in range(SEATS):
            await stack.enter_async_context(connected(listener.url))
        await eventually(lambda: few.taken == SEATS)
        assert (await ask(listener.url, get())).status == b"HTTP/1.1 200 OK"
    await listener.stop(0)


async def test_connections_without_a_seat_that_send_no_request_are_closed_when_there_are_too_many(
    few: Descriptors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "_IDLE", 0.01)
    monkeypatch.setattr(accepting, "_PAUSE", 0.01)
    monkeypatch.setattr(accepting, "_MOST_REFUSED", 1)
    listener = await listening(few)
    async with AsyncExitStack() as stack:
        for _ in range(SEATS):
            client = await stack.enter_async_context(connected(listener.url, get()))
            await client.head()
        silent = [await stack.enter_async_context(connected(listener.url)) for _ in range(20)]
        assert (await ask(listener.url, get())).status.split()[1] in (b"200", b"503")
        assert await silent[0].rest() == b""
    await listener.stop(0)


async def test_accepting_pauses_while_no_descriptor_is_left_at_all(
    few: Descriptors, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is that of the system, as for a descriptor that another part of the program has taken."""
    listener = await listening(few)
    tries = 0

    def accept(_socket: socket.socket) -> tuple[socket.socket, object]:
        nonlocal tries
        tries += 1
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "accept", accept)
        async with connected(listener.url, get()) as client:
            await eventually(lambda: tries == 2)
            patched.undo()
            assert (await client.head())[0] == b"HTTP/1.1 200 OK"
    await listener.stop(0)
    assert [line.split(":")[0] for line in caplog.messages][:1] == ["file descriptors run short"]
    assert few.taken + few.refused == 0


async def test_an_upstream_connection_without_a_descriptor_is_503_and_recorded_so(tmp_path: Path) -> None:
    async with Proxy(nobody_listens(), tmp_path / "run.db") as proxy, connected(proxy.url) as client:
        await eventually(lambda: proxy._listener.accepting._open)
        with soft_limit(3):  # open descriptors stay, and there is none for another
            await client.send(get())
            status, headers = await client.head()
    assert status == b"HTTP/1.1 503 Service Unavailable"
    assert dict(headers)[b"Retry-After"] == b"1"
    (exchange,) = exchanges(proxy.db)
    assert exchange.response is not None
    assert (exchange.response.status, exchange.ending) == (503, "upstream_unreachable")


async def test_the_cassette_and_the_control_path_say_that_requests_were_refused(
    few: Descriptors, tmp_path: Path
) -> None:
    async with record(nobody_listens(), tmp_path / "run.db", control=True) as proxy:
        proxy._listener.accepting._descriptors = few
        few.taken = SEATS
        assert (await ask(proxy.url, get())).status == b"HTTP/1.1 503 Service Unavailable"
        few.taken = 0
        assert b'"refused": 1' in (await ask(proxy.url, get("/-/omnirecord/", host="127.0.0.1"))).body
    assert exchanges(proxy.db) == []
    assert incidents(proxy.db)[0].startswith("file descriptors run short")
