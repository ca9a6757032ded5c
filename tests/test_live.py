"""What a person sees while the proxy records."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from omnirecord.contract import load
from omnirecord.framing import Framed, Framer
from omnirecord.library import open_store
from omnirecord.live import Live
from omnirecord.recorder import NewFrames
from omnirecord.tape import Tape


def framed(*datas: str) -> list[Framed]:
    return Framer(None, load("omnigent")).feed(0, "".join(f"data: {data}\n\n" for data in datas).encode())


def shown(*batches: NewFrames) -> list[str]:
    out = io.StringIO()
    live = Live(Console(file=out, width=200, soft_wrap=True, highlight=False))
    for batch in batches:
        live.watch(batch)
    live.close()
    return out.getvalue().splitlines()


def test_each_event_gets_a_line_with_its_time_gap_type_verdict_and_gist() -> None:
    delta = '{"type": "response.output_text.delta", "delta": "Hello", "sequence_number": 3}'
    first, second = shown(
        NewFrames(1, 7, 1, framed(delta), {0: 1_000_000_000}), NewFrames(1, 7, 2, framed(delta), {0: 1_250_000_000})
    )
    assert first.split()[:2] == ["1.000s", "+0.000"]
    assert second.split()[:4] == ["1.250s", "+0.250", "7.2", "valid"]
    assert "response.output_text.delta" in second
    assert "Hello" in second


def test_what_is_wrong_with_an_event_is_said_below_it() -> None:
    line, *issues = shown(NewFrames(1, 1, 1, framed('{"type": "session.status"}'), {0: 0}))
    assert "invalid" in line
    assert "conversation_id: is required" in issues[0]


def test_bytes_that_are_not_kept_are_told_while_they_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.live._TELL_EVERY", 0.01)
    out, dropped = io.StringIO(), iter([0, 1_500_000, 1_500_000, 2_000_000])
    live = Live(Console(file=out, width=200, highlight=False))
    live.dropped = lambda: next(dropped, 2_000_000)
    until = time.monotonic() + 10
    while "2.0 MB" not in out.getvalue():
        assert time.monotonic() < until
        time.sleep(0.01)
    live.close()
    assert out.getvalue().splitlines() == [
        f"… {megabytes} MB are not kept so far: too much waits for the disk" for megabytes in ("1.5", "2.0")
    ]


def test_an_event_cannot_move_the_cursor() -> None:
    lines = shown(NewFrames(1, 1, 1, framed('{"type": "x\\u001b[2J"}'), {0: 0}))
    assert "\x1b" not in "".join(lines)


async def test_the_times_of_a_batch_are_those_of_its_events(tmp_path: Path) -> None:
    """What was committed together came one after the other."""
    batches: list[NewFrames] = []
    tape = Tape(tmp_path / "t.db", None, watch=batches.append)
    take = tape.take("GET", "/x", ())
    take.respond("sse", 200, "OK", (("content-type", "text/event-stream"),))
    for _ in range(4):
        take.sent(take.receive(b'data: {"type": "session.heartbeat"}\n\n'))
    take.end("eof")
    tape.stop()
    shown = [at for batch in batches for at in batch.times]
    store = open_store(tmp_path / "t.db")
    assert shown == [frame.offset_ns for x in store.streams() for frame in store.frames(x)]
    store.close()


def test_what_was_too_much_to_be_handed_over_is_counted_with_what_was_too_much_to_print() -> None:
    assert shown(NewFrames(1, 1, 801, framed("{}"), {0: 0}, left_out=800))[-1].startswith("… and 800 more")
