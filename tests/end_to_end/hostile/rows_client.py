"""What a client sends that no client should: every shape by which two servers could read two different requests."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
HOST = b"Host: a\r\n"
GET = b"GET /row HTTP/1.1\r\n" + HOST
POST = b"POST /row HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True)
class Shape:
    """A request, byte for byte; `status`: what the client gets, `arrives`: how many requests upstream has of it.
    `body`: what upstream has of its body."""

    name: str
    data: bytes
    status: int = 400
    arrives: int = 0
    body: bytes = b""


def refused(name: str, data: bytes, status: int = 400) -> Shape:
    return Shape(name, data, status)


def passed(name: str, data: bytes, body: bytes = b"") -> Shape:
    return Shape(name, data, 200, 1, body)


LENGTHS = [
    refused("two lengths that differ", POST + b"Content-Length: 0\r\nContent-Length: 37\r\n\r\n" + HIDDEN),
    refused("two lengths that agree", POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi"),
    refused("a list of lengths", POST + b"Content-Length: 2, 2\r\n\r\nhi"),
    refused("a length with a plus", POST + b"Content-Length: +2\r\n\r\nhi"),
    refused("a negative length", POST + b"Content-Length: -2\r\n\r\nhi"),
    refused("a length in hex", POST + b"Content-Length: 0x2\r\n\r\nhi"),
    refused("a length with an underscore", POST + b"Content-Length: 1_0\r\n\r\nhi"),
    refused("an empty length", POST + b"Content-Length:\r\n\r\nhi"),
    refused("a length of 30 digits", POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nhi"),
    refused("a length and chunks", POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN),
    refused("chunks and a length", POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN),
    refused("chunked twice", POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN),
    refused("chunked, identity", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN),
    refused("an unknown coding", POST + b"Transfer-Encoding: x-own\r\n\r\n0\r\n\r\n" + HIDDEN),
    refused("a vertical tab before chunked", POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN),
    refused("a space before the colon of the length", POST + b"Content-Length : 37\r\n\r\n" + HIDDEN),
    refused("a folded Transfer-Encoding", POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN),
]
SIZES = [
    refused(f"chunk size of an upload: {name}", POST + CHUNKED + b"\r\n" + data, 400)
    for name, data in {
        "negative": b"-2\r\nhi\r\n0\r\n\r\n",
        "with a plus": b"+2\r\nhi\r\n0\r\n\r\n",
        "not hexadecimal": b"xyz\r\nhi\r\n0\r\n\r\n",
        "with 0x": b"0x2\r\nhi\r\n0\r\n\r\n",
        "over 64 bits": b"1" + b"0" * 16 + b"\r\nhi\r\n0\r\n\r\n",
        "too short": b"1\r\nhi\r\n0\r\n\r\n",
        "ended by LF alone": b"2\nhi\n0\n\n",
        "with a CR in its extension": b"2;a=\rb\r\nhi\r\n0\r\n\r\n",
    }.items()
]
LINES = [
    refused("lines that end in LF alone", b"GET /row HTTP/1.1\nHost: a\n\n"),
    refused("a lone CR in a header", GET + b"X-A: a\rb\r\n\r\n"),
    refused("a NUL in a header", GET + b"X-A: a\0b\r\n\r\n"),
    refused("a header name with a space", GET + b"X A: b\r\n\r\n"),
    refused("a header without a name", GET + b": b\r\n\r\n"),
    refused("a header without a colon", GET + b"nonsense\r\n\r\n"),
    refused("obs-fold", GET + b"X-A: b\r\n c\r\n\r\n"),
    refused("two hosts", GET + b"Host: b\r\n\r\n"),
    refused("no host", b"GET /row HTTP/1.1\r\n\r\n"),
    passed("a header of 60 KB", GET + b"X-A: " + b"x" * 60_000 + b"\r\n\r\n"),
    refused("a header of 70 KB", GET + b"X-A: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    refused("a header of 2 MB", GET + b"X-A: " + b"x" * 2 * MIB + b"\r\n\r\n", 431),
    passed("900 headers", GET + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(900)) + b"\r\n"),
    refused("20,000 headers", GET + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(20_000)) + b"\r\n", 431),
    passed("a target of 60 KB", b"GET /row" + b"x" * 60_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    refused("a target of 2 MB", b"GET /row" + b"x" * 2 * MIB + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    refused("a NUL in the target", b"GET /row\0x HTTP/1.1\r\n" + HOST + b"\r\n"),
    refused("a space in the target", b"GET /row x HTTP/1.1\r\n" + HOST + b"\r\n"),
    refused("a method of 1 MB", b"G" * 1_000_000 + b" /row HTTP/1.1\r\n" + HOST + b"\r\n"),
    refused("an unknown method", b"FROBNICATE /row HTTP/1.1\r\n" + HOST + b"\r\n"),
]
OTHERS = [
    refused("bytes that are not HTTP", b"\0\xff\xfe" * 1000),
    passed("HTTP/0.9", b"GET /row\r\n\r\n"),
    refused("HTTP/9.9", b"GET /row HTTP/9.9\r\n" + HOST + b"\r\n"),
    refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0"),
    refused("the start of a TLS handshake", bytes.fromhex("16030100c8010000c40303") + b"x" * 200),
    passed("CRLFs before the request line", b"\r\n" * 10 + GET + b"\r\n"),
    passed("a GET with a body", GET + b"Content-Length: 2\r\n\r\nhi", b"hi"),
    passed("trailers", POST + CHUNKED + b"\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n", b"hi"),
    passed("an unknown Expect", POST + b"Expect: the unexpected\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
    passed("Expect without a body", GET + b"Expect: 100-continue\r\n\r\n"),
    passed("HTTP/1.0", b"POST /row HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
    passed("HTTP/1.0 with chunks", b"POST /row HTTP/1.0\r\n" + CHUNKED + b"\r\n2\r\nhi\r\n0\r\n\r\n", b"hi"),
]
SHAPES = [*LENGTHS, *SIZES, *LINES, *OTHERS]
