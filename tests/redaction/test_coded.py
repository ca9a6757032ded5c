"""A masked stream on its way to the file: what is kept of each read, with a content coding and without."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter

import pytest

from omnirecord.cassette.sqlite import Store, Writer, rows
from omnirecord.model import Headers, Recording
from omnirecord.omnigent.contract import load
from omnirecord.recorder.frames import FrameMaker
from omnirecord.recorder.operations import Ended, Received, Requested, Responded
from omnirecord.recorder.rows import RowMaker
from omnirecord.redaction.coded import MaskedStream, uncoded
from omnirecord.redaction.redactor import Redactor, Scanner, StreamMask
from omnirecord.wire.content_coding import encoded
from tests.cassette.test_scrub import KEY, SECRET
from tests.support.cassettes import SSE, delta

CODED: Headers = (*SSE, ("Content-Encoding", "gzip"), ("Content-Length", "9"), ("x-a", "b"))
RECORDING = Recording(1, "2026-01-01T00:00:00+00:00", "0", "omnigent", None)
SAFE = delta(f"a {KEY} b").replace(SECRET.encode(), b"*" * len(SECRET))


def stream(headers: Headers = SSE) -> MaskedStream:
    return MaskedStream(StreamMask(Scanner(), Counter()), headers)


def content(masked: MaskedStream, *reads: bytes | None) -> tuple[bytes, list[int]]:
    """What is written of these reads, and as how long each is kept."""
    out, sizes = bytearray(), []
    for read in reads:
        kept = masked.take(read, 20 if read is None else len(read))
        sizes.append(kept.size)
        out += b"?" * kept.size if read is None else b""
        for piece in kept.pieces:
            out[piece.start : piece.start + len(piece.data)] = piece.data
    return bytes(out), sizes


def test_without_a_coding_each_read_keeps_its_length() -> None:
    whole = delta(f"a {KEY} b")
    assert content(stream(), whole[:50], whole[50:]) == (SAFE, [50, len(whole) - 50])
    assert stream().headers == SSE


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_with_one_the_reads_are_as_long_as_what_they_bring(size: int) -> None:
    wire = gzip.compress(delta(f"a {KEY} b"))
    out, sizes = content(stream(CODED), *(wire[at : at + size] for at in range(0, len(wire), size)))
    assert out == SAFE
    assert sum(sizes) == len(SAFE)
    assert stream(CODED).headers == uncoded(CODED) == (*SSE, ("x-a", "b"))


def test_behind_a_read_that_was_lost_a_coded_stream_is_not_kept() -> None:
    wire = gzip.compress(delta(f"a {KEY} b"))
    out, sizes = content(stream(CODED), wire[:10], None, wire[30:])
    assert (out, sizes) == (b"?" * 20, [0, 20, len(wire) - 30])


def test_behind_a_read_that_was_lost_a_plain_stream_is_kept() -> None:
    out, _ = content(stream(), delta("x"), None, delta("y z"))
    assert out == delta("x") + b"?" * 20 + delta("* z")


def test_what_cannot_be_decoded_is_said_once_and_not_kept() -> None:
    masked = stream(CODED)
    assert masked.problem is None
    first, second = masked.take(b"no gzip", 7), masked.take(b"no gzip", 7)
    assert (first.pieces, second.pieces) == ([], [])
    assert "the rest is not stored" in (first.problem or "")
    assert second.problem is None


def test_a_coding_that_is_not_known_is_said_at_once() -> None:
    masked = stream((("content-encoding", "x-own"),))
    assert "its content is not stored" in (masked.problem or "")
    assert masked.headers == (("content-encoding", "x-own"),)
    assert masked.take(b"abc", 3).pieces == []


@pytest.mark.parametrize("headers", [SSE, CODED])
def test_what_was_lost_of_a_recorded_stream_is_a_frame_without_bytes(headers: Headers) -> None:
    writer = Writer(None)
    writer.write([rows.recording(RECORDING)])
    row_maker = RowMaker(1, Redactor(b"key", Scanner()), FrameMaker(writer, 1, load("omnigent")))
    packer = zlib.compressobj(wbits=31)
    parts = [delta(KEY), delta("x")]
    if headers is CODED:
        parts = [packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in parts]
    ops = [
        Requested(1, "client", 0, "GET", "/", ()),
        Responded(1, "sse", 1, 0, 200, "OK", headers),
        Received(1, 0, 1, len(parts[0]), parts[0]),
        Received(1, 1, 2, 20, None),
        Received(1, 2, 3, len(parts[1]), parts[1]),
        Ended(1, 4, "eof"),
    ]
    for op in ops:
        writer.write(row_maker.rows([op]))
        row_maker.settle(writer.write)
        while row_maker.frames.behind:
            list(row_maker.frames.make())
    store = Store(writer.connection)
    (x,) = store.exchanges()
    frames = list(store.frames(x))
    assert frames[0].raw == delta(f"sk-{'*' * len(SECRET)}")
    assert (frames[1].raw, frames[1].length) == (None, 20)
    assert sum(read.size for read in store.reads(1)) == sum(frame.length for frame in frames) == x.response_bytes
    store.close()


BODY = json.dumps({"x": "y", "password": "hunter2secret", "a": [1] * 40}).encode()


@pytest.mark.parametrize("codings", ["gzip", "deflate", "br", "zstd", "zstd, gzip"])
@pytest.mark.parametrize("is_stored", [False, True])
def test_a_coded_body_that_ends_anywhere_keeps_no_secret_in_the_clear(codings: str, is_stored: bool) -> None:
    wire = encoded(BODY, codings.split(", "))
    if is_stored and codings.endswith("gzip"):
        wire = gzip.compress(gzip.decompress(wire), 0)
    for end in range(len(wire) + 1):
        body = Redactor(b"key").body("application/json", codings)
        assert b"hunter2" not in body.feed(wire[:end]) + body.close(), end


def test_a_coded_body_without_bytes_stays_without_bytes() -> None:
    body = Redactor(b"key").body("application/json", "zstd")
    assert body.feed(b"") + body.close() == b""
