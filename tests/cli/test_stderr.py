"""Log lines on their way to stderr: nobody waits for them, and how many were lost is said."""

from __future__ import annotations

import io
import logging
import os
import sys
import time

import pytest

from omnirecord.cli import stderr
from omnirecord.cli.stderr import Stderr
from tests.support import wire


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("omnirecord", logging.WARNING, __file__, 1, text, None, None)


def test_lines_that_found_no_room_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stderr, "_MOST", 5)
    out, into = os.pipe()
    with os.fdopen(into, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        handler = Stderr()
        for n in range(300):
            handler.emit(record(f"{n} " + "x" * 1000))
        read, until = b"", time.monotonic() + wire.PATIENCE
        while b" lines more could not be written here in time\n" not in read:
            assert time.monotonic() < until
            read += os.read(out, 1 << 16)
            handler.emit(record("again"))
        os.close(out)
        handler._lines.join()  # what is left goes nowhere


def test_a_stream_that_is_no_file_is_written_in_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(stderr.handler()) is logging.StreamHandler


def test_of_very_many_lines_of_one_place_a_hundred_a_minute_are_written() -> None:
    """A client of an upstream that is gone wrote 78 KB/s to stderr."""
    ours, its = os.pipe()
    now = [0.0]
    handler = Stderr(lambda: now[0])
    handler._fd = its

    def say(line: int) -> None:
        handler.handle(logging.LogRecord("omnirecord", logging.WARNING, "a.py", line, "said", (), None))

    for _ in range(1000):
        say(1)
    say(2)
    now[0] = 61.0
    say(1)
    handler._flush()
    assert os.read(ours, 1 << 16).decode().splitlines() == [
        *["said"] * 101,
        "omnirecord: 900 lines like the next one were left out",
        "said",
    ]
    for _ in range(200):
        say(1)
    handler._flush()
    assert os.read(ours, 1 << 16).decode().endswith("omnirecord: 101 lines like some of those before were left out\n")
    os.close(ours)
    os.close(its)
