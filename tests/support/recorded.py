"""Recorded streams made up for a test, without a store: frames as they would have been judged, and their parts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from omnirecord.model import TimedFrame
from omnirecord.replayer.event_address.matcher import Stream
from omnirecord.replayer.stream_parts import Part
from omnirecord.wire.sse import Parser
from tests.support.cassettes import CONTRACT, ns


def recorded(number: int, *frames: bytes) -> Stream:
    """A stream of these frames, one a second."""
    parser = Parser()
    found = [*parser.feed(b"".join(frames)), *parser.close()]
    made = []
    for seq, frame in enumerate(found, 1):
        judged = CONTRACT.judge(frame)
        made.append(TimedFrame(number, seq, ns(seq), ns(seq), frame.raw, frame.length, judged.type, judged.verdict, ()))
    return Stream(number, made)


def parts_of(stream: Stream) -> list[Part]:
    """Its frames, each as one part in a read of its own."""
    return [
        Part(frame.offset_ns, frame.raw or b"", stream=stream.number, seq=frame.seq, read=frame.seq)
        for frame in stream.frames
    ]


def wire(parts: Iterable[Part]) -> bytes:
    return b"".join(part.data for part in parts)


def calls(function: Callable[[], Any], *names: str) -> int:
    """How many functions are called by a call of this one: its work, whatever the machine. `names`: only those."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        if event == "call":
            count += not names or frame.f_code.co_name in names
        elif event == "c_call":
            count += not names or argument.__name__ in names

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count
