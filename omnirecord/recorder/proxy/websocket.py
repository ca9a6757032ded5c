"""A WebSocket through the proxy: the handshake like any request, then bytes in both directions, unchanged.

`MessageReader` reads a copy for the recording: bytes in, messages out (RFC 6455, with permessage-deflate of RFC 7692),
for one direction. It never changes or delays the bytes, and has no I/O. wsproto parses the frames. If a peer breaks the
protocol, the recording of its direction ends, not the connection.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable

import aiohttp
from aiohttp import web
from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits

from ...model import CLOSE, Direction, Ending, Headers
from ...server.aiohttp_names import BaseProtocol, StreamWriter
from ...server.raw_response import RawResponse
from ...wire.content_coding import Inflate
from ...wire.headers import decoded, header
from ...wire.limits import max_decoded
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
    at = 0
    now = asyncio.get_running_loop().time
    cancelled = None
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
        data = bytes(self._data)
        self._data = bytearray()
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
        client = self._request.protocol
        upstream = self._answer.connection.protocol
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
        reader = MessageReader(direction, self._headers)

        def note(data: bytes) -> None:
            for opcode, payload in reader.feed(data):
                if opcode == CLOSE:
                    self._closed.add(direction)
                self._recorder.sent(self._recorder.message(direction, opcode, payload))

        try:
            while data := await inflow.read():
                await writer.write(data, drain=False)
                await _in_portions(note, data)
                await writer.drain()
        except ConnectionError:
            pass  # the other side is gone, and its own pump ends too


LIMIT = 64 * 1024 * 1024
"""The largest message that is kept whole, in bytes. Only the beginning of a larger one is kept."""
_LEFT_OUT = b"\x00\x00\xff\xff"
"""The end of a compressed message, which a sender leaves out (RFC 7692, section 7.2.1)."""


class MessageReader:
    """Reads the messages of one side. `broken`: why it has stopped reading; None while it reads."""

    def __init__(self, direction: Direction, response_headers: Headers) -> None:
        deflate = _deflate(direction, header(response_headers, "sec-websocket-extensions") or "")
        self._decoder = FrameDecoder(direction == "down", [] if deflate is None else [deflate])
        self._opcode = Opcode.TEXT
        self._parts = bytearray()
        self.broken: str | None = None

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take the next bytes. Return opcode and data of the messages and control frames that are complete now."""
        messages: list[tuple[int, bytes]] = []
        if self.broken is None:
            try:
                self._decoder.receive_bytes(data)
                self._read(messages)
            except (ParseFailed, AssertionError) as error:
                self.broken = f"not a WebSocket frame: {error}"
        return messages

    def _read(self, messages: list[tuple[int, bytes]]) -> None:
        while (frame := self._decoder.process_buffer()) is not None:
            payload = bytes(frame.payload)  # type: ignore[arg-type]  # bytes, before wsproto's own decoding
            if frame.opcode.iscontrol():
                messages.append((int(frame.opcode), payload))
                continue
            if frame.opcode is not Opcode.CONTINUATION:
                self._opcode = frame.opcode
                self._parts = bytearray()
            self._parts += payload[: LIMIT - len(self._parts)]
            if frame.frame_finished and frame.message_finished:
                messages.append((int(self._opcode), bytes(self._parts)))
                self._parts = bytearray()


class _Inflate(Extension):
    """permessage-deflate, inbound. wsproto's own one fails at a ping inside a compressed message, and refuses a window
    of 8 bits. The largest window can inflate data of any smaller one. A peer may end a block with each message."""

    name = "permessage-deflate"

    def __init__(self, keeps_context: bool) -> None:
        self._keeps_context = keeps_context
        self._inflate = Inflate(-zlib.MAX_WBITS)
        self._message_is_compressed = self._frame_is_compressed = False
        self._size = 0  # of the content of this message

    def offer(self) -> bool:
        return False

    def frame_inbound_header(
        self, _proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, _payload_length: int
    ) -> RsvBits:
        begins = opcode in (Opcode.TEXT, Opcode.BINARY)
        if begins:
            self._size = 0
            self._message_is_compressed = rsv.rsv1
        self._frame_is_compressed = self._message_is_compressed and not opcode.iscontrol()
        return RsvBits(begins, False, False)

    def frame_inbound_payload_data(self, _proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        if not self._frame_is_compressed:
            return data
        content = bytearray()
        try:
            for piece in self._inflate.decode(data):
                self._size += len(piece)
                if self._size > max_decoded():  # so that a decompression bomb cannot block the event loop
                    return CloseReason.MESSAGE_TOO_BIG
                content += piece[: LIMIT - len(content)]
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        return bytes(content)

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        if not (fin and self._frame_is_compressed):
            return None
        rest = self.frame_inbound_payload_data(proto, _LEFT_OUT)
        if not self._keeps_context:
            self._inflate = Inflate(-zlib.MAX_WBITS)
        return rest


def _deflate(direction: Direction, accepted: str) -> _Inflate | None:
    """Return permessage-deflate with the parameters that the response accepted; None without it."""
    for extension in accepted.split(","):
        name, *parameters = (part.strip() for part in extension.split(";"))
        if name == _Inflate.name:
            side = "server" if direction == "down" else "client"
            return _Inflate(f"{side}_no_context_takeover" not in parameters)
    return None
