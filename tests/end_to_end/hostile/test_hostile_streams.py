"""Streams that no server should send: lines and frames without an end, blank lines only, codings cut anywhere."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import sys
import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import brotli
import pytest

from tests.conftest import Figure
from tests.end_to_end.hostile.harness import Harness, Peak
from tests.support import wire
from tests.support.wire import END, STREAM, Wire, chunk, connected, event, get

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1 << 20
BOUND = 512 * MIB
"""What a stream may cost in memory, however fast it is; 256 MiB of it may wait for the disk."""


async def pour(pieces: AsyncIterator[bytes], harness: Harness) -> tuple[int, bool, int, float]:
    """A stream of these pieces through the proxy: how many bytes came, whether they were the same, the most memory
    that the proxy had meanwhile more than before, and how long it took."""
    sent = hashlib.blake2b()

    async def upstream(conn: Wire) -> None:
        await conn.request()
        await conn.send(STREAM)
        async for piece in pieces:
            sent.update(piece)
            await conn.send(chunk(piece))
        await conn.send(END)

    received, size, began = hashlib.blake2b(), 0, time.monotonic()
    async with harness.with_upstream(upstream), connected(harness.proxy.url, get("/pour")) as client:
        await client.head()
        async with Peak(harness.pid) as peak:
            while piece := await client.chunk():
                received.update(piece)
                size += len(piece)
            took = time.monotonic() - began
            harness.answer_again()
            (found,) = await harness.recorded(patience=300)
    assert found.ending == "eof"
    assert found.response_bytes == size
    return size, received.digest() == sent.digest(), peak.most, took


def rate(size: int, took: float, most: int) -> str:
    return f"{size / 1e6:.0f} MB, all passed, at {size / took / 1e6:.0f} MB/s; memory at most +{most / 1e6:.0f} MB"


@pytest.mark.slow
async def test_a_line_of_a_gibibyte_passes_and_memory_stays_bounded(tmp_path: Path, long: bool, figure: Figure) -> None:
    size = (1024 if long else 70) * MIB

    async def pieces() -> AsyncIterator[bytes]:
        yield event(1) + b"data: "
        for _ in range(size // MIB):
            yield b"x" * MIB
        yield b"\n\n" + event(2)

    async with Harness(tmp_path) as harness:
        await harness.recorded()
        passed, is_same, most, took = await pour(pieces(), harness)
        assert is_same
        assert most < BOUND
        frames = wire.frames(harness.db)
        said = await harness.stop()
    figure("a data: line", rate(passed, took, most))
    assert frames[0].length == len(event(1))
    assert sum(frame.length for frame in frames) == passed
    if "no longer kept" not in said:
        assert [frame.verdict for frame in frames] == ["valid", "truncated", "valid"]
        assert (frames[1].raw, frames[1].length) == (None, len(b"data: ") + size + 2)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["blank lines", "a frame that never ends"])
async def test_what_never_becomes_a_frame_costs_no_more_memory_than_one(
    what: str, tmp_path: Path, long: bool, figure: Figure
) -> None:
    """As many as come in the time there is; in short, blank lines that take too much if each takes 64 bytes, or a frame
    that is too long to be kept."""
    bound = 100 * MIB if what == "blank lines" and not long else BOUND
    piece = b"\n" * MIB if what == "blank lines" else b"data: never\n" * (MIB // 12)

    async def pieces() -> AsyncIterator[bytes]:
        until = time.monotonic() + 30
        for n in count():
            if time.monotonic() > until if long else n == (2 if what == "blank lines" else 80):
                return
            yield piece

    async with Harness(tmp_path) as harness:
        await harness.recorded()
        passed, is_same, most, took = await pour(pieces(), harness)
        assert is_same
        assert most < bound
        frames = wire.frames(harness.db)
        await harness.stop()
    figure(what, rate(passed, took, most) + (f"; {passed:,} of them" if what == "blank lines" else ""))
    assert sum(frame.length for frame in frames) == passed
    assert {frame.verdict for frame in frames} <= {"truncated", "comment"}


EVENTS = b"".join(map(event, range(12)))
CODINGS = {
    "gzip": gzip.compress(EVENTS, mtime=0),
    "br": brotli.compress(EVENTS, quality=4),
    "zstd": zstd.compress(EVENTS),
}


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_compressed_stream_cut_anywhere_passes_and_is_read_as_far_as_it_goes(
    coding: str, tmp_path: Path, long: bool
) -> None:
    """At every third byte, or at each with `--long`, in streams side by side."""
    packed = CODINGS[coding]
    head = STREAM.replace(b"\r\n\r\n", b"\r\nContent-Encoding: %b\r\n\r\n" % coding.encode())

    async def upstream(conn: Wire) -> None:
        line, *_ = await conn.request()
        cut = int(line.split()[1][1:])
        await conn.send(head + (chunk(packed[:cut]) if cut else b""))

    cuts = range(0, len(packed), 1 if long else 3)
    async with Harness(tmp_path) as harness, harness.with_upstream(upstream):
        answers = []
        for first in range(0, len(cuts), 50):
            part = cuts[first : first + 50]
            answers += await asyncio.gather(*[wire.ask(harness.proxy.url, get(f"/{cut}")) for cut in part])
        harness.answer_again()
        found = await harness.recorded()
        assert [(one.body, one.whole) for one in answers] == [(packed[:cut], False) for cut in cuts]
        assert {one.ending for one in found} == {"upstream_lost"}
        for one in found:
            assert harness.kept(one) == packed[: int(one.request.target[1:])]
        with wire.opened(harness.db) as store:
            assert all(EVENTS.startswith(b"".join(store.content(one))) for one in found)
        assert "Traceback" not in await harness.stop()
