"""A WebSocket through the proxy: the handshake like any request, then bytes in both directions, unchanged.

`MessageReader` reads a copy for the recording. It never changes or delays the bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
from aiohttp import web

from ...model import CLOSE, Direction, Ending
from ...server.aiohttp_private import BaseProtocol, StreamWriter
from ...server.listener import RawResponse
from ...wire.headers import decoded
from ...wire.websocket import MessageReader
from ..queue import ExchangeRecorder

_HIGH_WATER = 1 << 20
"""Bytes that wait to be passed on at which reading from that side pauses."""


_PORTION = 2048
"""Bytes whose frames are read between two looks at the clock: the smallest messages take 1 us a byte."""
_TURN = 0.002
"""Seconds of work after which other callbacks have their turn."""


async def _in_portions(note: Callable[[bytes], None], data: bytes) -> None:
    """Note all of this data in portions, even if the task is cancelled: it was passed on. If the task is cancelled
    twice, the recorder has no time left, and the rest is noted at once."""
    at, now, cancelled = 0, asyncio.get_running_loop().time, None
    began = now()
    try:
        while len(data) - at > _PORTION:
            note(data[at : at + _PORTION])
            at += _PORTION
            if now() - began > _TURN:
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError as error:
                    if cancelled is not None:
                        raise
                    cancelled = error
                began = now()
    finally:
        note(data[at:])
    if cancelled is not None:
        raise cancelled


class _Inflow:
    """Receives the bytes of one side, as the parser of an upgraded connection of aiohttp."""

    def __init__(self, protocol: BaseProtocol) -> None:
        self._protocol = protocol
        self._data = bytearray()
        self._ended = False
        self._arrived = asyncio.Event()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._data += data
        self._arrived.set()
        if len(self._data) > _HIGH_WATER:
            self._protocol.pause_reading()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._arrived.set()

    async def read(self) -> bytes:
        """Return the bytes since the last call; empty at the end."""
        while not self._data and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        data, self._data = bytes(self._data), bytearray()
        if len(data) > _HIGH_WATER and self._protocol.transport is not None:
            self._protocol.resume_reading()
        return data


class Tunnel:
    """The two directions of one WebSocket after the 101."""

    def __init__(self, request: web.BaseRequest, answer: aiohttp.ClientResponse, recorder: ExchangeRecorder) -> None:
        self._request = request
        self._answer = answer
        self._recorder = recorder
        self._headers = decoded(answer.raw_headers)
        self._closed: set[Direction] = set()
        self._first_gone: Direction = "up"

    async def run(self) -> web.StreamResponse:
        """Pass all bytes on until one side is gone, and return the response that ends the request."""
        response = RawResponse(101, self._answer.reason or "", self._headers)
        await response.prepare(self._request)
        try:
            await self._both_ways()
        finally:
            response.cut(self._request)
            self._answer.close()
        return response

    @property
    def ending(self) -> Ending:
        """`eof` if the server sent Close, else the side that was gone first."""
        if "down" in self._closed:
            return "eof"
        return "upstream_lost" if self._first_gone == "down" else "client_left"

    async def _both_ways(self) -> None:
        assert self._answer.connection is not None
        client, upstream = self._request.protocol, self._answer.connection.protocol
        assert upstream is not None
        from_client, from_upstream = _Inflow(client), _Inflow(upstream)
        client.set_parser(from_client)  # type: ignore[arg-type]  # it has the methods of a parser
        upstream.set_parser(from_upstream, None)
        async with asyncio.TaskGroup() as group:
            up = group.create_task(self._pump("up", from_client, upstream))
            down = group.create_task(self._pump("down", from_upstream, client))
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            self._first_gone = "down" if down.done() else "up"
            up.cancel()
            down.cancel()

    async def _pump(self, direction: Direction, inflow: _Inflow, out: BaseProtocol) -> None:
        writer = StreamWriter(out, asyncio.get_running_loop())
        note = self._noter(direction)
        try:
            while data := await inflow.read():
                await writer.write(data, drain=False)
                await _in_portions(note, data)
                await writer.drain()
        except ConnectionError:
            pass  # the other side is gone, and its own pump ends too

    def _noter(self, direction: Direction) -> Callable[[bytes], None]:
        reader = MessageReader(direction, self._headers)

        def note(data: bytes) -> None:
            for opcode, payload in reader.feed(data):
                if opcode == CLOSE:
                    self._closed.add(direction)
                self._recorder.sent(self._recorder.message(direction, opcode, payload))

        return note
