"""One row of the table: what goes wrong, and what is to be seen of it. And the words that rows are written in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.support.wire import Headers, Wire, get

Script = Callable[[Wire], Awaitable[None]]
"""What one side does with its end of a connection."""

_SIZE = re.compile(rb"([0-9a-fA-F]+)[ \t]*(?:;.*)?\r\n", re.DOTALL)
SETTLE = 0.03
"""Seconds that bytes get to pass both connections before something breaks them: a reset overtakes what is behind."""
_HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"trailer", b"upgrade"}


@dataclass(frozen=True)
class Seen:
    """What a client saw: `status` is b"" where no header section came, `whole` whether the body came to its end."""

    status: bytes
    headers: Headers
    body: bytes
    whole: bool


@dataclass(frozen=True)
class Row:
    """`upstream` and `client`: what each does; the client then reads. `ending`: the cassette's, or "" where nothing is
    recorded. `through`: what the client sees through the proxy where that is not what it sees without it, as its
    status (b"" for a connection that ends) and body (None: a refusal of the proxy), and `why`. `may_lack`: what came
    last may be missing."""

    name: str
    upstream: Script
    client: Script = lambda conn: conn.send(get())
    ending: str = "eof"
    through: tuple[bytes, bytes | None] | None = None
    why: str = ""
    may_lack: bool = False
    bodiless: bool = False


def end_to_end(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP]


async def see(conn: Wire, row: Row) -> Seen:
    """Read an answer to its end, whatever it is."""
    try:
        status, headers = await conn.head()
    except (asyncio.IncompleteReadError, ConnectionResetError) as error:
        return Seen(b"", [], getattr(error, "partial", b""), False)
    digits = status.partition(b" ")[2][:3]
    code = int(digits) if digits.isdigit() else 0
    coding = {name.lower(): value for name, value in headers}.get(b"transfer-encoding")
    bodiless = row.bodiless or code in (101, 204, 304)
    body, whole = await (_chunks(conn) if coding == b"chunked" and not bodiless else _plain(conn, headers, bodiless))
    return Seen(status, end_to_end(headers), body, whole)


async def _plain(conn: Wire, headers: Headers, bodiless: bool) -> tuple[bytes, bool]:
    lengths = [value for name, value in headers if name.lower() == b"content-length"]
    if lengths and not lengths[-1].isdigit():
        return await conn.rest(), False
    return await conn.body(headers, bodiless=bodiless)


async def _chunks(conn: Wire) -> tuple[bytes, bool]:
    """As strict as a client can be: the bytes of all chunks that are some, and whether the last one came."""
    data = b""
    try:
        while True:
            found = _SIZE.fullmatch(await conn.until(b"\r\n"))
            if found is None or int(found[1], 16) >= 1 << 63:
                return data, False
            size = int(found[1], 16)
            if size == 0:
                while await conn.until(b"\r\n") != b"\r\n":
                    pass  # a trailer
                return data, True
            piece = await _up_to(conn, size)
            data += piece
            if len(piece) < size or await conn.reader.readexactly(2) != b"\r\n":
                return data, False
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return data, False


async def _up_to(conn: Wire, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := await conn._read_most(size - len(data))):
        data += more
    return data


def answers(*data: bytes, then: str = "close") -> Script:
    """Take a request with its body, send this, and `then`: close, reset, or wait until the other side has ended."""

    async def script(conn: Wire) -> None:
        await conn.request()
        await sends(*data, then=then)(conn)

    return script


def sends(*data: bytes, then: str = "close") -> Script:
    """Send this, whatever the other side does."""

    async def script(conn: Wire) -> None:
        for piece in data:
            await conn.send(piece)
        if then == "reset":
            await asyncio.sleep(SETTLE)
            conn.reset()
        elif then == "wait":
            await conn.gone()

    return script


def bytewise(data: bytes) -> Script:
    """Send it a byte at a time, in a segment each."""

    async def script(conn: Wire) -> None:
        for at in range(len(data)):
            await conn.send(data[at : at + 1])
            await asyncio.sleep(0)

    return script
