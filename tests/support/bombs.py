"""Compressed bombs, and cassettes that hold one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from omnirecord.cassette.framing import PORTION
from omnirecord.cassette.sqlite import Writer, rows, stream_rows
from omnirecord.model import Recording
from omnirecord.omnigent.contract import load
from omnirecord.recorder.frames import FrameMaker

MIB = 1 << 20
OMNIGENT = load("omnigent")
EVENT = b'data: {"type":"session.heartbeat"}\n\n'


def cassette(path: Path, body: bytes, coding: str | None = "gzip", *, framed: bool = False) -> Path:
    """A stream of one session, of which frames were made or not."""
    coded = () if coding is None else (("content-encoding", coding),)
    accept = (("Accept", "text/event-stream"),)
    with closing(Writer(path)) as writer:
        pieces, made = stream_rows.ReadBlocks(1), []
        for at in range(0, len(body), PORTION):
            part = body[at : at + PORTION]
            pieces.add(at, at, len(part), part, made)
        writer.write(
            [
                rows.recording(Recording(1, "2026-01-01T00:00:00+00:00", "1", "omnigent", None)),
                rows.request(1, 1, "sse", "s", "client", 0, "GET", "/v1/sessions/s/stream", accept),
                rows.response(1, "sse", 1, 0, 200, "OK", (("content-type", "text/event-stream"), *coded)),
                *made,
                *pieces.close(),
                rows.end(1, 1, "eof", 0, len(body)),
            ]
        )
        if framed:
            maker = FrameMaker(writer, 1, OMNIGENT)
            maker.begin(1, 1, coding, "/")
            maker.ended(1)
            while maker.behind:
                list(maker.make())
    return path
