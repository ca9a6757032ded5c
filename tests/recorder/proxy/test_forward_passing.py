"""A stream is passed on in the step in which it came, whole and in order, however much came at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support import wire
from tests.support.wire import END, STREAM, Wire, chunk, connected, event, get, recorded

MUCH = [event(number, 1000) for number in range(3000)]
"""More than aiohttp lets wait: it puts the rest of a segment off, and goes on with it in the middle of our reading."""


async def all_at_once(conn: Wire) -> None:
    await conn.request()
    await conn.send(STREAM + b"".join(map(chunk, MUCH)) + END)


async def test_more_than_may_wait_comes_whole_and_in_order(tmp_path: Path) -> None:
    async with recorded(all_at_once, tmp_path) as (proxy, _):
        answer = await wire.ask(proxy.url, get())
    assert answer.whole
    assert answer.body == wire.content(tmp_path / "run.db") == b"".join(MUCH)


async def test_a_client_that_keeps_up_again_gets_the_rest_without_a_gap(tmp_path: Path) -> None:
    async with (
        recorded(all_at_once, tmp_path, read_ahead=64 * 1024) as (proxy, _),
        connected(proxy.url, get(), receive_buffer=4096) as client,
    ):
        await client.head()
        first = await client.chunk()
        await asyncio.sleep(0.2)  # the client's own slowness is what this is about
        body, whole = await client.body([(b"transfer-encoding", b"chunked")])
    assert whole
    assert first + body == wire.content(tmp_path / "run.db") == b"".join(MUCH)


async def test_a_stream_that_was_all_there_with_its_header_section_ends(tmp_path: Path) -> None:
    async def short(conn: Wire) -> None:
        await conn.request()
        await conn.send(STREAM + chunk(event(1)) + END)

    async with recorded(short, tmp_path) as (proxy, _):
        answer = await wire.ask(proxy.url, get())
    assert (answer.body, answer.whole) == (event(1), True)
    assert wire.ending(tmp_path / "run.db") == "eof"


@pytest.mark.fast_path
async def test_an_event_before_a_chunk_that_is_none_is_passed_on_and_then_cut(tmp_path: Path) -> None:
    async def broken(conn: Wire) -> None:
        await conn.stream(event(1))
        await conn.send(chunk(event(2)) + b"no chunk\r\n")
        await conn.read()

    async with recorded(broken, tmp_path) as (proxy, _):
        answer = await wire.ask(proxy.url, get())
    assert (answer.body, answer.whole) == (event(1) + event(2), False)
    assert wire.ending(tmp_path / "run.db") == "upstream_lost"
