"""What is right in a segment is not lost with what is wrong behind it, however the segments were cut."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientPayloadError, HttpVersion11, TCPConnector, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import RawTestServer

from omnirecord.recorder.proxy.upstream import Connection, Upstream

pytestmark = pytest.mark.fast_path

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


class Transport(asyncio.Transport):
    """Takes note of being closed, and nothing else."""

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False


def opened() -> Connection:
    connection = Connection(loop=asyncio.get_running_loop())
    assert isinstance(connection, BaseProtocol)
    connection.connection_made(Transport())
    connection.set_response_params(auto_decompress=False)
    return connection


async def heard(*segments: bytes) -> tuple[list[int], bytes]:
    """The statuses of what was read, and the body of the last one."""
    connection = opened()
    for segment in segments:
        connection.data_received(segment)
    statuses, body = [], b""
    while not statuses or statuses[-1] < 200:
        message, payload = await connection.read()
        assert message.version == HttpVersion11
        statuses.append(message.code)
        body = b"" if message.code < 200 else await payload.read()
    return statuses, body


@pytest.mark.parametrize("cut", range(1, len(HEAD) + 12))
async def test_an_answer_comes_whole_whatever_is_behind_it(cut: int) -> None:
    data = HEAD + b"hi, and more"
    assert await heard(data[:cut], data[cut:]) == ([200], b"hi")


async def test_interim_answers_in_the_same_segment_come_each() -> None:
    assert await heard(EARLY * 3 + HEAD + b"hi and no HTTP\r\n\r\n") == ([103, 103, 103, 200], b"hi")


async def test_a_segment_of_nothing_is_passed_on() -> None:
    """With that aiohttp goes on where it had stopped for lack of room."""
    assert await heard(HEAD, b"", b"hi") == ([200], b"hi")


async def test_a_body_ends_with_its_connection_behind_a_chunk_that_is_none() -> None:
    connection = opened()
    connection.data_received(CHUNKED)
    _, connection.body = await connection.read()
    reading = asyncio.create_task(connection.body.read())
    connection.data_received(b"5\r\nhello\r\nno chunk\r\n")
    connection.connection_lost(None)
    with pytest.raises(ClientPayloadError):
        await asyncio.wait_for(reading, 5)


async def test_of_a_body_that_is_passed_on_what_came_before_a_chunk_that_is_none_is_told_of() -> None:
    connection = opened()
    connection.data_received(CHUNKED)
    _, body = await connection.read()
    told: list[bytes] = []
    connection.arrived = lambda: told.append(body.read_nowait())
    connection.data_received(b"4\r\n\r\n\r\n\r\n5\r\nhello\r\nno chunk\r\n")
    assert b"".join(told) == b"\r\n\r\nhello"


async def test_what_ends_a_header_section_is_found_though_it_began_in_a_body_that_was_passed_on() -> None:
    connection = opened()
    connection.arrived = lambda: None
    connection.data_received(HEAD[:-2])
    connection.arrived = None
    connection.data_received(HEAD[-2:] + b"hi, and more")
    message, body = await connection.read()
    assert (message.code, await body.read()) == (200, b"hi")


@pytest.mark.parametrize("stray", [HEAD + b"no", b"no HTTP\r\n\r\n"])
async def test_a_connection_with_bytes_behind_its_last_answer_is_not_used_again(stray: bytes) -> None:
    connection = opened()
    connection.data_received(HEAD + b"hi")
    _, body = await connection.read()
    assert (await body.read(), connection.is_connected()) == (b"hi", True)
    connection.data_received(stray)
    assert not connection.is_connected()


async def test_a_connection_that_switched_protocols_unasked_is_not_used_again() -> None:
    connection = opened()
    connection.data_received(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    await connection.read()
    assert not connection.is_connected()


async def test_no_connection_of_a_client_that_left_stays_after_aiohttp_closed_old_ones() -> None:
    async def answers(_: web.BaseRequest) -> web.Response:
        return web.Response(text="hi")

    async with RawTestServer(answers) as server:
        upstream = Upstream(server.make_url("/"))
        for client in (1, 2, 3):
            answer = await upstream.request(client, "GET", "/", [], None)
            assert await answer.read() == b"hi"
        connector = upstream._pooled.connector
        assert isinstance(connector, TCPConnector)
        connector._cleanup()  # as it does when a connection is 15 s old
        upstream.left(1)
        assert (upstream.idle, len(connector._conns)) == (2, 2)
        upstream.let_go()
        assert (upstream.idle, len(connector._conns)) == (0, 0)
        await upstream.close()
