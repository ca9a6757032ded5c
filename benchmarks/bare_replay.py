"""The reference for a replay: an aiohttp server that writes a body it was given, and knows nothing else.

`python -m benchmarks.bare_replay BODY PORT [OFFSETS]`: in pieces of whole frames of about 64 KiB, prepared before;
with a file of each frame's time (64-bit nanoseconds), a frame at a time, when the event loop's timers say so.
"""

from __future__ import annotations

import asyncio
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

PIECE = 65536
END = b"\n\n"


def frames(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        end = body.find(END, at) + len(END)
        yield body[at:end]
        at = end


def pieces(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        end = body.find(END, at + PIECE)
        end = len(body) if end < 0 else end + len(END)
        yield body[at:end]
        at = end


def app(body: bytes, offsets: array[int] | None) -> web.Application:
    prepared = list(pieces(body)) if offsets is None else list(frames(body))

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number, piece in enumerate(prepared):
            if offsets is not None and (wait := begun + (offsets[number] - offsets[0]) / 1e9 - loop.time()) > 0:
                await asyncio.sleep(wait)
            await response.write(piece)
        await response.write_eof()
        return response

    made = web.Application()
    made.router.add_get("/{path:.*}", answer)
    return made


def main() -> None:
    body, port, *times = sys.argv[1:]
    offsets = array("q", Path(times[0]).read_bytes()) if times else None
    web.run_app(
        app(Path(body).read_bytes(), offsets),
        host="127.0.0.1",
        port=int(port),
        print=None,
        access_log=None,
        backlog=4096,
    )


if __name__ == "__main__":
    main()
