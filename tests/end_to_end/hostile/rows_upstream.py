"""What an upstream does wrong: ends at every point, lies about lengths, answers what HTTP does not allow."""

from __future__ import annotations

import gzip
from typing import Any

from tests.end_to_end.hostile.row import Row, Script, answers, bytewise, sends
from tests.support.wire import END, STREAM, Wire, chunk, event, get

ONE = event(1)
MIB = 1 << 20
OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
NOTHING = (b"", b"")
HALF_A_HEAD: Any = {"through": NOTHING, "why": "the proxy passes on no partial header section"}
REFUSED: Any = {
    "ending": "upstream_lost", "through": (b"502 Bad Gateway", None),
    "why": "the proxy refuses the response",
}  # fmt: skip
TOO_LARGE: Any = {
    "ending": "upstream_lost", "through": (
        b"502 Bad Gateway",
        b'{"error": {"code": "upstream_answer", "message": "omnirecord does not pass on the upstream\'s answer:'
        b' its header section has more than 65,536 bytes or 1,000 fields"}}',
    ),
    "why": "the response exceeds a limit of the proxy",
}  # fmt: skip
UNFOLDED: Any = {"through": (b"200 OK", b"hi"), "why": "the proxy unfolds the header, as RFC 9112 requires"}
HELD_BACK: Any = {"through": (b"200 OK", b"hi"), "why": "the proxy passes on no interim responses"}


def ends() -> list[Row]:
    """By closing and by a reset, at every point of the exchange."""
    points = {
        "before the response": b"",
        "in the status line": b"HTTP/1.1 20",
        "in a header field": OK + b"Content-Le",
        "at the end of the header section": OK + b"Content-Length: 9\r\n",
        "before the body": OK + b"Content-Length: 9\r\n\r\n",
        "in a body with a length": OK + b"Content-Length: 9\r\n\r\nhalf",
        "before the first chunk": STREAM,
        "in a chunk's size": STREAM + chunk(ONE) + b"1",
        "in a chunk": STREAM + chunk(ONE) + b"fff\r\n" + ONE,
        "in a frame": STREAM + chunk(ONE + b'data: {"ty'),
        "between two frames": STREAM + chunk(ONE),
        "in the last chunk": STREAM + chunk(ONE) + b"0\r\n",
    }
    return [
        Row(f"{how}: {point}", script, ending="upstream_lost", may_lack=point == "in a chunk", **HALF_A_HEAD)
        if data and b"\r\n\r\n" not in data
        else Row(f"{how}: {point}", script, ending="upstream_lost", may_lack=point == "in a chunk")
        for how in ("close", "reset")
        for point, data, script in [
            ("before the request is read", b"", sends(then=how)),
            *((point, data, answers(data, then=how)) for point, data in points.items()),
        ]
    ]  # fmt: skip


SIZES = {
    "too long": b"ff\r\nhello\r\n0\r\n\r\n",
    "too short": b"2\r\nhello\r\n0\r\n\r\n",
    "negative": b"-5\r\nhello\r\n0\r\n\r\n",
    "with a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "not hexadecimal": b"xyz\r\nhello\r\n0\r\n\r\n",
    "with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "empty": b"\r\nhello\r\n0\r\n\r\n",
    "over 64 bits": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "63 bits": b"7fffffffffffffff\r\nhello",
    "a megabyte of zeros": b"0" * MIB + b"5\r\nhello\r\n0\r\n\r\n",
    "with an extension of a megabyte": b"5;a=" + b"x" * MIB + b"\r\nhello\r\n0\r\n\r\n",
    "without the line end after the data": b"5\r\nhello0\r\n\r\n",
    "ended by LF alone": b"5\nhello\n0\n\n",
}


EMPTY_EXTENSION = Row(
    "chunk size: with an empty extension",
    answers(STREAM + chunk(ONE) + b"5;\r\nhello\r\n0\r\n\r\n"),
    ending="upstream_lost",
    through=(b"200 OK", ONE),
    why="the bytes before the bad chunk, then a cut, since RFC 9112 requires a name after the semicolon",
)


def chunk_sizes() -> list[Row]:
    return [
        EMPTY_EXTENSION,
        *(Row(f"chunk size: {name}", answers(STREAM + chunk(ONE) + data), may_lack=True,
            ending="eof" if "megabyte" in name else "upstream_lost")
        for name, data in SIZES.items()),
    ]  # fmt: skip


TWO = b"Content-Length: 2\r\n\r\nhi"
HEADERS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "a header of 60 KB": (OK + b"X-Long: " + b"x" * 60_000 + b"\r\n" + TWO, {}),
    "900 headers": (OK + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(900)) + TWO, {}),
    "a reason of 60 KB": (b"HTTP/1.1 200 " + b"x" * 60_000 + b"\r\n" + TWO, {}),
    "a header of 2 MB": (OK + b"X-Long: " + b"x" * 2 * MIB + b"\r\n" + TWO, TOO_LARGE),
    "20,000 headers": (OK + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(20_000)) + TWO, TOO_LARGE),
    "a reason of 1 MB": (b"HTTP/1.1 200 " + b"x" * 1_000_000 + b"\r\n" + TWO, TOO_LARGE),
    "a NUL in a header": (OK + b"X-A: a\0b\r\n" + TWO, REFUSED),
    "a lone CR in a header": (OK + b"X-A: a\rb\r\n" + TWO, REFUSED),
    "a header name with a space": (OK + b"X A: b\r\n" + TWO, REFUSED),
    "a space before the colon": (OK + b"X-A : b\r\n" + TWO, REFUSED),
    "a header without a colon": (OK + b"nonsense\r\n" + TWO, REFUSED),
    "obs-fold": (OK + b"X-A: b\r\n c\r\n" + TWO, UNFOLDED),
    "two lengths that differ": (OK + b"Content-Length: 5\r\n" + TWO, REFUSED),
    "two lengths that agree": (OK + b"Content-Length: 2\r\n" + TWO, REFUSED),
    "a length of -1": (OK + b"Content-Length: -1\r\n\r\nhi", REFUSED),
    "a length of +2": (OK + b"Content-Length: +2\r\n\r\nhi", REFUSED),
    "a length and chunks": (
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"hi") + END, REFUSED),
    "an unknown transfer coding": (OK + b"Transfer-Encoding: x-own\r\n\r\nhi", REFUSED),
    "a transfer coding before chunked": (
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk(b"hi") + END, REFUSED),
    "the transfer coding identity": (OK + b"Transfer-Encoding: identity\r\n\r\nhi", {}),
    "control characters in a header": (OK + b"X-A: a\x01\x1b\x7f\x0bb\r\n" + TWO, {}),
    "control characters in the reason": (b"HTTP/1.1 200 O\x01\x1b\x7fK\r\n" + TWO, {}),
    "a header that is not UTF-8": (OK + b"X-A: \xff\xc3\r\n" + TWO, {}),
    "lines that end in LF alone": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
        {"through": (b"200 OK", b"hi"), "why": "the proxy writes the line ends of RFC 9112"}),
    "an invalid HTTP version": (b"HTTP/9.9 200 OK\r\n" + TWO, REFUSED),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n" + TWO, REFUSED),
    "a status of two digits": (b"HTTP/1.1 20 OK\r\n" + TWO, REFUSED),
    "no header section (HTTP/0.9)": (b"hello\r\n\r\n", REFUSED),
}  # fmt: skip


def header_sections() -> list[Row]:
    return [Row(f"response: {name}", answers(data), **more) for name, (data, more) in HEADERS.items()]


SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
BOMB = gzip.compress(bytes(30 * MIB), 1, mtime=0)
ANSWERS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "204 with a body": (b"HTTP/1.1 204 No Content\r\n" + TWO, {}),
    "304 with a body": (b"HTTP/1.1 304 Not Modified\r\n" + TWO, {}),
    "bytes after the body": (HI + b", and more", {}),
    "a second response after the first": (HI + HI, {}),
    "trailers": (STREAM + chunk(ONE) + b"0\r\nX-Sum: 1\r\n\r\n", {}),
    "100 before the final response": (b"HTTP/1.1 100 Continue\r\n\r\n" + HI, HELD_BACK),
    "102 and 103 before the final response": (
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + HI, HELD_BACK),
    "HTTP/1.0 and no length": (b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + ONE, {}),
    "a redirect to another server": (b"HTTP/1.1 307 Away\r\nLocation: http://127.0.0.1:1/x\r\n" + TWO, {}),
    "a stream of NULs": (STREAM + chunk(b"data: \0\0\0\n\n\0" * 100) + END, {}),
    "a stream that is not UTF-8": (STREAM + chunk(b"data: \xff\xfe\xc3\n\n" * 100) + END, {}),
    "a stream of blank lines": (STREAM + chunk(b"\n" * (MIB // 8)) + chunk(b"\r\n" * (MIB // 8)) + END, {}),
    "an empty stream": (STREAM + END, {}),
    "an invalid gzip body": (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nhi", {}),
    "a gzip body that inflates to 30 MiB": (
        OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB, {}),
}  # fmt: skip


def odd_answers() -> list[Row]:
    return [Row(f"response: {name}", answers(data), **more) for name, (data, more) in ANSWERS.items()]


def others() -> list[Row]:
    upgrade = get("/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: a", "Sec-WebSocket-Version: 13")

    def asks(request: bytes) -> Script:
        return lambda conn: conn.send(request)

    async def slow(conn: Wire) -> None:
        await conn.request()
        await bytewise(STREAM + chunk(ONE) + END)(conn)

    return [
        Row("response: sent byte by byte", slow),
        Row("an unrequested 101", answers(SWITCH, then="wait"), **REFUSED),
        Row("an unrequested 101 without header fields", answers(b"HTTP/1.1 101 x\r\n\r\n", then="wait"), **REFUSED),
        Row("an upgrade answered by a 101 without header fields",
            answers(b"HTTP/1.1 101 x\r\n\r\n", then="wait"), asks(upgrade), **REFUSED),
        Row("HEAD answered with a body", answers(HI), asks(get().replace(b"GET", b"HEAD")), bodiless=True),
        Row("an upgrade refused by 426", answers(b"HTTP/1.1 426 No\r\nContent-Length: 2\r\n\r\nno"), asks(upgrade)),
        Row("an upgrade refused by 401 in chunks",
            answers(b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"), asks(upgrade)),
        Row("an upgrade answered by 200", answers(HI), asks(upgrade)),
        Row("an upgrade whose connection is lost", answers(b"", then="reset"), asks(upgrade), ending="upstream_lost"),
    ]  # fmt: skip


ROWS = [*ends(), *chunk_sizes(), *header_sections(), *odd_answers(), *others()]
