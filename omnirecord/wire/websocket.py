"""WebSocket bytes in, messages out (RFC 6455, with permessage-deflate of RFC 7692), for one direction. No I/O.

The messages are only for the recording: the proxy passes the bytes on unchanged. wsproto parses the frames. If a peer
breaks the protocol, the recording of its direction ends, not the connection.
"""

from __future__ import annotations

import zlib

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, ParseFailed, RsvBits

from ..model import Direction, Headers
from .content_coding import Inflate
from .headers import header
from .limits import max_decoded

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
                self._opcode, self._parts = frame.opcode, bytearray()
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
        self,
        proto: FrameDecoder | FrameProtocol,  # noqa: ARG002  # wsproto's signature
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,  # noqa: ARG002
    ) -> RsvBits:
        begins = opcode in (Opcode.TEXT, Opcode.BINARY)
        if begins:
            self._size = 0
            self._message_is_compressed = rsv.rsv1
        self._frame_is_compressed = self._message_is_compressed and not opcode.iscontrol()
        return RsvBits(begins, False, False)

    def frame_inbound_payload_data(
        self,
        proto: FrameDecoder | FrameProtocol,  # noqa: ARG002
        data: bytes,
    ) -> bytes | CloseReason:
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
