"""Answers of an upstream that were spoiled byte by byte, and how a client takes them."""

from __future__ import annotations

import random
from collections.abc import Iterator

SECRET = b"hunter2-c0ffee"
_FIELDS = b"Set-Cookie: session=" + SECRET + b"; Path=/\r\nX-Api-Key: " + SECRET + b"\r\n"
_STREAM = b"Content-Type: text/event-stream\r\n"
_CHUNKS = b"Transfer-Encoding: chunked\r\n"
SEEDS = [
    b"HTTP/1.1 200 OK\r\n" + _FIELDS + b"Content-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\n" + _FIELDS + _CHUNKS + b"\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + _FIELDS + _CHUNKS + b"\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + _FIELDS + _STREAM + _CHUNKS + b"\r\na\r\ndata: hi\n\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + _FIELDS + _STREAM + b"Content-Length: 10\r\n\r\ndata: hi\n\n",
    b"HTTP/1.0 200 OK\r\n" + _FIELDS + _STREAM + b"\r\ndata: hi\n\n",
    b"HTTP/1.1 200 OK\r\n" + _FIELDS + b"Connection: close, X-Api-Key\r\n\r\nhello",
    b"HTTP/1.1 204 No Content\r\n" + _FIELDS + _STREAM + b"\r\n",
    b"HTTP/1.1 304 Not Modified\r\n" + _FIELDS + _STREAM + b'ETag: "a"\r\n\r\n',
    b"HTTP/1.1 307 Away " + SECRET + b"\r\nLocation: /x?token=" + SECRET + b"\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=a\r\n" + _FIELDS + b"Content-Length: 2\r\n\r\nno",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n" + _FIELDS + b"Content-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + _FIELDS + b"\r\n\x81\x02hi",
    b"HTTP/1.1 200 OK\r\n" + _FIELDS + b"Content-Length: 5\r\n" + _CHUNKS + b"\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + _FIELDS + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + _FIELDS + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\n" + _FIELDS + _STREAM + b"Content-Encoding: x-own\r\nContent-Length: 5\r\n\r\nhello",
]
_PIECES = [
    b"\r\n", b"\n", b"\r", b"\0", b"\x01", b"\x0b", b"\x7f", b"\xff", b"\xc3\xa9",
    b"\xed\xa0\x80", b" ", b"\t", b":", b";", b",", b"\r\n ", b"\r\n\r\n", b"0", b"-1", b"99999999999999999999",
    b"HTTP/1.1 ", b"HTTP/2.0 ", b"101", b"100", b"204", b"999", b"000", b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: content-length\r\n", b"Upgrade: x\r\n", b"Trailer: x\r\n",
    b"Date: x\r\n", b"\x1b[2J", b"a" * 3000, b"Sec-WebSocket-Key1: x\r\n",
]  # fmt: skip


def spoiled(seed: int) -> bytes:
    """One of `SEEDS` after one to four edits. The same number makes the same answer."""
    chance = random.Random(seed)
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((0, 1, 1, 2, 8, 40)))
        _edit(data, chance.randrange(6), at, to, chance)
    return bytes(data)


def _edit(data: bytearray, how: int, at: int, to: int, chance: random.Random) -> None:
    if how == 0:
        del data[at:to]
    elif how == 1:
        data[at:at] = data[at:to]
    elif how == 2:
        data[at:to] = bytes(chance.randrange(256) for _ in range(to - at))
    elif how == 3:
        del data[at:]
    else:
        data[at : to if how == 4 else at] = chance.choice(_PIECES)


def each_byte() -> Iterator[bytes]:
    """An answer for each byte value, in a value, a name and a reason phrase; with a length and in chunks."""
    for framing, body in ((b"Content-Length: 2\r\n", b"hi"), (_CHUNKS, b"2\r\nhi\r\n0\r\n\r\n")):
        for value in range(256):
            sign = bytes([value])
            yield b"HTTP/1.1 200 OK\r\nX-Api-Key: " + SECRET + sign + b"b\r\n" + framing + b"\r\n" + body
            yield b"HTTP/1.1 200 OK\r\nX" + sign + b": " + SECRET + b"\r\n" + framing + b"\r\n" + body
            yield b"HTTP/1.1 200 " + SECRET + sign + b"b\r\n" + framing + b"\r\n" + body
