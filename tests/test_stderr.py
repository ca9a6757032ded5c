"""Log lines on their way to stderr: nobody waits for them, and how many were lost is said."""

from __future__ import annotations

import io
import logging
import os
import sys

import pytest

from omnirecord.cli import stderr
from omnirecord.cli.stderr import Stderr

from . import wire


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("omnirecord", logging.WARNING, __file__, 1, text, None, None)


async def test_lines_that_found_no_room_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stderr, "_MOST", 5)
    out, into = os.pipe()
    os.set_blocking(out, False)
    with open(into, "w") as pipe:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", pipe)
        handler = Stderr()
        for n in range(300):
            handler.emit(record(f"{n} " + "x" * 1000))
        read = b""

        def said_it() -> bool:
            nonlocal read
            try:
                while more := os.read(out, 1 << 16):
                    read += more
            except BlockingIOError:
                handler.emit(record("again"))
            return b" lines more could not be written here in time\n" in read

        await wire.eventually(said_it)
        os.close(out)
        handler._lines.join()  # what is left goes nowhere
    assert read.startswith(b"0 xxx")


def test_a_stream_that_is_no_file_is_written_in_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(stderr.handler()) is logging.StreamHandler
