"""WebSocket bytes in, messages out (RFC 6455, with permessage-deflate of RFC 7692), for one direction.

Only for the record: the bytes themselves are passed on as they are, whatever is made of them here. No I/O. wsproto
does the frames; a peer that breaks the protocol ends the record of its direction, never the connection.
"""

from __future__ import annotations

from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameDecoder, Opcode, ParseFailed

from .cassette import Direction, Headers

LIMIT = 64 * 1024 * 1024
"""The largest message that is kept whole, in bytes; of a larger one the beginning is kept."""


class MessageReader:
    """Puts messages together from what one side sends. `broken` says why it gave up, once it has."""

    def __init__(self, direction: Direction, response_headers: Headers) -> None:
        deflate = [_deflate(value) for name, value in response_headers if name.lower() == "sec-websocket-extensions"]
        self._decoder = FrameDecoder(direction == "down", [one for one in deflate if one is not None])
        self._opcode = Opcode.TEXT
        self._parts = bytearray()
        self.broken: str | None = None

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take the next bytes; return opcode and data of the messages and control frames that are complete by now."""
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


def _deflate(accepted: str) -> PerMessageDeflate | None:
    name = accepted.split(";")[0].strip()
    if name != "permessage-deflate":
        return None
    extension = PerMessageDeflate()
    extension.finalize(accepted)
    return extension
