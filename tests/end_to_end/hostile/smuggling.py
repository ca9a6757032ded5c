"""Requests that two parsers may read differently, and a server that says how it read what reached it.

Each case is what one client sends on one connection. The server reads its side of each connection by itself, in one of
several ways that real servers have, and keeps the target of every request that it believes to see.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

from tests.support.wire import Wire

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(HIDDEN)
FOUR = b"Content-Length: 4\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
IN_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CODING = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)


class Server:
    """An upstream that keeps the targets which it believes to see, and answers each with its target.

    `way`: `length` reads no chunks, `chunks` prefers them, `headers` takes no request to have a body. `status` is the
    status line of its answers.
    """

    def __init__(self, way: str, status: bytes = b"200 OK") -> None:
        self._way, self._status = way, status
        self.seen: list[bytes] = []

    async def __call__(self, conn: Wire) -> None:
        while True:
            section = await conn.until(b"\r\n\r\n")
            words = section.split(b" ")
            target = words[1] if len(words) > 1 else section
            self.seen.append(target)
            head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (self._status, len(target))
            await conn.send(head + (b"" if words[0] == b"HEAD" else target))
            await self._pass_over_body(conn, section)

    async def _pass_over_body(self, conn: Wire, section: bytes) -> None:
        if self._way == "headers":
            return
        if self._way == "chunks" and _CODING.search(section):
            await conn._chunked()
        elif found := _LENGTH.search(section):
            async with asyncio.timeout(10):
                await conn.reader.readexactly(int(found[1]))


def _request(method: str, fields: bytes, body: bytes = b"", version: str = "1.1") -> bytes:
    return f"{method} /attack HTTP/{version}\r\nHost: a\r\n".encode() + fields + b"\r\n" + body


LENGTHS = [
    b"+5", b"-5", b"0x5", b"5,5", b"5, 5", b"5,6", b"5;", b"5 ", b" 5", b"\t5", b"5\t", b"\x0b5", b"5\x0b",
    b"5\x0c", b"05", b"00", b"5_0", b"5.0", b"5e0", b"\xd9\xa5", b"", b"0", b"4294967296", b"4294967301",
    b"9223372036854775807", b"18446744073709551614", b"18446744073709551615", b"18446744073709551616",
    b"18446744073709551621", b"9" * 40, b"%d" % len(HIDDEN),
]  # fmt: skip
CODINGS = [
    b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"\tchunked", b"chunked ", b"chunked\t", b"\x0bchunked",
    b"\x0cchunked", b"chunked\x0b", b"xchunked", b"chunkedx", b"x chunked", b"chunked x", b"chunked,", b",chunked",
    b", chunked", b"chunked, ", b"chunked, identity", b"identity, chunked", b"identity", b"gzip, chunked",
    b"chunked, gzip", b"gzip", b"chunked, chunked", b"chunked;q=1", b"chunked; a", b"gzip;chunked", b'"chunked"',
    b"'chunked'", b"chunk", b"chunke\xc4\x91", b"\xefchunked", b"chunked\x7f", b"\x01chunked", b"",
    b"compress, chunked", b"trailers", b"chunked\r\n ", b"\r\n chunked", b"\r\n\tchunked", b"x\r\n chunked",
    b"chunked\r\n x", b"gzip\r\n , chunked",
]  # fmt: skip
NAMES = [
    b"Transfer-Encoding ", b"Transfer-Encoding\t", b" Transfer-Encoding", b"\tTransfer-Encoding",
    b"Transfer_Encoding", b"Transfer-Encoding\x00", b"Transfer\x00-Encoding", b"Transfer-Encoding\x0b",
    b"Transfer-\r\nEncoding", b"transfer-encoding", b"TRANSFER-ENCODING", b"Transfer-Encoding\r\n",
    b"X: y\nTransfer-Encoding", b"X: y\rTransfer-Encoding", b"X: y\r\n\nTransfer-Encoding", b"\nTransfer-Encoding",
    b"\rTransfer-Encoding", b"\x00Transfer-Encoding", b"Content-Encoding", b"Transfer Encoding",
    b"\xffTransfer-Encoding", b"(Transfer-Encoding)", b"Transfer-Encoding:", b":Transfer-Encoding",
    b"Transfer-Encoding\\", b"X\r\nTransfer-Encoding",
]  # fmt: skip
ASKED = [
    b"websocket", b"WebSocket", b"websocket, h2c", b"h2c", b"h2c, websocket", b"HTTP/2.0", b"tls", b"TLS/1.0", b"",
    b"websocket ", b"x\r\nUpgrade: websocket", b"websocket\r\nUpgrade: h2c", b"websocket/13", b"a" * 2000,
]  # fmt: skip
CONNECTIONS = [
    b"Upgrade", b"upgrade", b"keep-alive, Upgrade", b"Upgrade, close", b"close", b"keep-alive",
    b"Upgrade, HTTP2-Settings", b"Upgrade, Content-Length", b"Content-Length, Upgrade",
    b"Upgrade\r\nConnection: close", b"close\r\nConnection: Upgrade", b"Upgrade, Transfer-Encoding",
    b"Upgrade,Host",
]  # fmt: skip
HOP_BY_HOP = [
    b"Content-Length", b"content-length, close", b"Transfer-Encoding", b"Host",
    b"close, Content-Length, Transfer-Encoding", b"Connection", b"X, Content-Length", b'"Content-Length"',
    b"Content-Length;", b"Content-Type, Content-Length",
]  # fmt: skip
METHODS = [
    "GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "Get", "PROPFIND", "GETX", "G\tET",
    "SEARCH", "M-SEARCH", "LINK", "SOURCE", "PURGE", "QUERY", "DESCRIBE", "PRI", "CONNECT", "\nGET", "\r\nGET",
    " GET", "POST /x HTTP/1.1\nGET",
]  # fmt: skip
SIZES = [
    b"%x;a", b"%x;a=b", b'%x;a="b"', b'%x;a="\r\n"', b"%x;", b"%x; ", b"%x ", b" %x", b"%x\t", b"0x%x", b"+%x",
    b"-%x", b"0%x", b"%x\r", b"%x\n", b"%x\r\r", b"%x\x00", b"%x,1", b"%x_", b"0000000000000000000%x",
    b"10000000000000%x", b"%x;\n", b"%x;a\nb", b"%x;\r", b"%x;a\x00", b"ffffffffffffff%x",
]  # fmt: skip
ENDS = [
    b"0\r\n\r\n", b"0\r\n", b"0\n\n", b"00\r\n\r\n", b"0;a\r\n\r\n", b"0\r\nX: y\r\n\r\n",
    b"0\r\nContent-Length: 9\r\n\r\n", b"0\r\nX: y\r\n", b"\r\n\r\n", b"0\r\n \r\n\r\n", b"-0\r\n\r\n",
    b"0 \r\n\r\n", b"0\r\n\n", b"0\r\r\n\r\n",
]  # fmt: skip
SIGNS = [b"\r", b"\n", b"\0", b"\x01", b"\x1f", b"\x7f", b"\x85", b"\xff", b"\xe2\x80\xa8", b"\xc4\x8d\xc4\x8a"]
VERSIONS = ["1.0", "1.1", "0.9", "2.0", "1.2", "3.0", "1.1 ", "1,1", "01.1", "11.1"]


Case = tuple[str, bytes]
"""A name, and what is sent: it ends with a request that a parser may see, or take for a body."""


def cases() -> Iterator[Case]:
    """All of them."""
    for some in (_methods, _lengths, _codings, _names, _upgrades, _hop_by_hop, _chunks, _versions, _odd, _signs):
        yield from some()


def _methods() -> Iterator[Case]:
    for method in METHODS:
        yield f"{method!r} with a body", _request(method, LENGTH, HIDDEN)
        yield f"{method!r} with chunks", _request(method, CHUNKED, IN_CHUNKS)
        yield f"{method!r} with a request behind it", _request(method, b"", HIDDEN)
        yield f"{method!r} upgrading with a body", _request(method, UPGRADE + LENGTH, HIDDEN)


def _lengths() -> Iterator[Case]:
    for length in LENGTHS:
        field = b"Content-Length: " + length + b"\r\n"
        for method in ("GET", "POST", "HEAD"):
            yield f"{method} with length {length!r}", _request(method, field, HIDDEN)
        yield f"an upgrade with length {length!r}", _request("GET", UPGRADE + field, HIDDEN)
        yield f"length {length!r} twice", _request("GET", field + field, HIDDEN)
        yield f"length {length!r} and another", _request("POST", field + LENGTH, HIDDEN)
        yield f"length {length!r} and chunks", _request("POST", field + CHUNKED, IN_CHUNKS + HIDDEN)


def _codings() -> Iterator[Case]:
    for coding in CODINGS:
        field = b"Transfer-Encoding: " + coding + b"\r\n"
        for method in ("GET", "POST"):
            yield f"{method} with coding {coding!r}", _request(method, field, IN_CHUNKS)
            yield f"{method} with coding {coding!r} and a length", _request(method, field + FOUR, IN_CHUNKS)
            yield f"{method} with a length and coding {coding!r}", _request(method, FOUR + field, IN_CHUNKS)
        yield f"coding {coding!r} and chunked", _request("POST", field + CHUNKED, IN_CHUNKS)
        yield f"chunked and coding {coding!r}", _request("POST", CHUNKED + field, IN_CHUNKS)
        yield f"coding {coding!r} and nothing", _request("GET", field, HIDDEN)
        yield f"an upgrade with coding {coding!r}", _request("GET", UPGRADE + field, IN_CHUNKS)
        yield f"coding {coding!r} in HTTP/1.0", _request("POST", field, IN_CHUNKS, "1.0")


def _names() -> Iterator[Case]:
    for name in NAMES:
        for field in (name + b": chunked\r\n", name.replace(b"Transfer-Encoding", b"Content-Length") + b": 5\r\n"):
            yield f"the field {field!r}", _request("POST", field, IN_CHUNKS)
            yield f"the field {field!r} and a length", _request("POST", field + b"Content-Length: 4\r\n", IN_CHUNKS)
            yield f"the field {field!r} of an upgrade", _request("GET", UPGRADE + field, IN_CHUNKS)


def _upgrades() -> Iterator[Case]:
    for upgrade in ASKED:
        for connection in CONNECTIONS:
            fields = b"Connection: " + connection + b"\r\nUpgrade: " + upgrade + b"\r\n"
            for body in (LENGTH, CHUNKED, b"", b"Content-Length: 0\r\n"):
                data = IN_CHUNKS if body is CHUNKED else HIDDEN
                yield f"{connection!r}, {upgrade!r}, {body!r}", _request("GET", fields + body, data)


def _hop_by_hop() -> Iterator[Case]:
    for named in HOP_BY_HOP:
        field = b"Connection: " + named + b"\r\n"
        for method in ("GET", "POST"):
            yield f"{method} whose Connection names {named!r}", _request(method, field + LENGTH, HIDDEN)
            yield f"{method} in chunks whose Connection names {named!r}", _request(method, field + CHUNKED, IN_CHUNKS)


def _chunks() -> Iterator[Case]:
    for size in SIZES:
        shown = size % len(HIDDEN)
        yield f"a chunk of {size!r}", _request("POST", CHUNKED, shown + b"\r\n" + HIDDEN + b"\r\n0\r\n\r\n")
        data = shown + b"\r\n" + HIDDEN + b"\r\n0\r\n\r\n" + HIDDEN
        yield f"a chunk of {size!r} and a request", _request("GET", CHUNKED, data)
    for end in ENDS:
        yield f"a last chunk of {end!r}", _request("POST", CHUNKED, b"1\r\nx\r\n" + end + HIDDEN)
        yield f"nothing but a last chunk of {end!r}", _request("GET", CHUNKED, end + HIDDEN)


def _versions() -> Iterator[Case]:
    for version in VERSIONS:
        yield f"HTTP/{version} with a body", _request("GET", LENGTH, HIDDEN, version)
        yield f"HTTP/{version} with chunks", _request("GET", CHUNKED, IN_CHUNKS, version)
        yield f"HTTP/{version} upgrading", _request("GET", UPGRADE + LENGTH, HIDDEN, version)
        yield f"HTTP/{version} with nothing", _request("GET", b"Connection: keep-alive\r\n", HIDDEN, version)


def _odd() -> Iterator[Case]:
    yield "Expect and a body that never comes", _request("POST", LENGTH + b"Expect: 100-continue\r\n")
    yield "Expect and a body at once", _request("POST", LENGTH + b"Expect: 100-continue\r\n", HIDDEN)
    yield "Expect of a GET", _request("GET", LENGTH + b"Expect: 100-continue\r\n", HIDDEN)
    yield "Expect of an upgrade", _request("GET", UPGRADE + b"Expect: 100-continue\r\n", HIDDEN)
    yield "Expect of something else", _request("GET", b"Expect: x\r\n" + LENGTH, HIDDEN)
    yield "half a body", _request("POST", b"Content-Length: 999\r\n", HIDDEN)
    yield "half a chunk", _request("POST", CHUNKED, b"fff\r\n" + HIDDEN)
    yield "a chunk that is none behind one", _request("POST", CHUNKED, b"1\r\nx\r\nzz\r\n" + HIDDEN)
    yield "half a body of a GET", _request("GET", b"Content-Length: 999\r\n", HIDDEN)
    yield "half a body of an upgrade", _request("GET", UPGRADE + b"Content-Length: 999\r\n", HIDDEN)
    yield "no host", b"GET /attack HTTP/1.1\r\n" + LENGTH + b"\r\n" + HIDDEN
    yield "two hosts", _request("GET", b"Host: b\r\n", HIDDEN)
    yield "lines that end in LF", _request("POST", LENGTH, HIDDEN).replace(b"\r\n", b"\n")
    yield "lines that end in CR", _request("POST", LENGTH, HIDDEN).replace(b"\r\n", b"\r")
    yield "a header section that ends in LF LF", _request("POST", LENGTH[:-2] + b"\n\n", HIDDEN)


def _signs() -> Iterator[Case]:
    for sign in SIGNS:
        yield f"{sign!r} in a value", _request("GET", b"X: y" + sign + HIDDEN.rstrip() + b"\r\n", HIDDEN)
        yield f"{sign!r} in a target", b"GET /attack" + sign + b"x HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN
        yield f"{sign!r} in a name", _request("GET", b"X" + sign + b": y\r\n", HIDDEN)
        yield f"{sign!r} in a host", _request("GET", b"", HIDDEN).replace(b"Host: a", b"Host: a" + sign, 1)
