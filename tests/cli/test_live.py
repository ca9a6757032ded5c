"""What a person sees while the proxy records."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest

from omnirecord.analysis.live import Line
from omnirecord.cli.live import Live
from omnirecord.recorder.thread import RecorderThread
from tests.support import wire
from tests.support.cassettes import delta, event, heartbeat
from tests.support.process import ForkedProcess
from tests.support.wire import Upstream, Wire, chunk, connected, get

RESPONSE = {"status": "in_progress", "model": "m", "created_at": 1}
SSE = (("content-type", "text/event-stream"),)


def created(response: str = "r") -> bytes:
    return event("response.created", response={"id": response, **RESPONSE})


def completed(response: str = "r") -> bytes:
    return event("response.completed", response={"id": response, **RESPONSE, "status": "completed"})


class Printed:
    """A screen that keeps what it shows."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.drawn: list[str] = []

    def print(self, lines: Iterable[Line]) -> None:
        self.lines += [told.line() for told in lines]

    def draw(self, told: Line | None, *, now: bool = False) -> None:  # noqa: ARG002  # a screen's signature
        self.drawn += [told.line()] if told is not None else []

    def say(self, sentence: str) -> None:
        self.lines.append(sentence)

    def clear(self) -> None:
        """Nothing is drawn."""


@pytest.fixture(autouse=True)
def _ends_when_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a view waits for its thread, however slow the machine is."""
    monkeypatch.setattr("omnirecord.cli.live._LAST", wire.PATIENCE)


def watched(path: Path, record: Callable[[RecorderThread], None], **options: object) -> Printed:
    """What is shown of a recording of which this is recorded."""
    thread, screen = RecorderThread(path, None), Printed()
    live = Live(screen, lambda: path, lambda: 0, **options)  # type: ignore[arg-type]
    record(thread)
    thread.stop()
    live.close()
    return screen


def stream(*frames: bytes, target: str = "/v1/sessions/s/stream") -> Callable[[RecorderThread], None]:
    def record(thread: RecorderThread) -> None:
        recorder = thread.begin_exchange("GET", target, ())
        recorder.respond("sse", 200, "OK", SSE)
        for frame in frames:
            recorder.sent(recorder.receive(frame))
        recorder.end("eof")

    return record


def test_deltas_are_one_line_and_what_happened_is_one_each(tmp_path: Path) -> None:
    screen = watched(tmp_path / "a.db", stream(heartbeat(), created(), *[delta("x")] * 40, completed()))
    shown = [line.split(None, 1)[1] for line in screen.lines]
    assert [line.split()[0] for line in shown] == ["stream", "turn", "assistant", "turn", "stream"]
    assert f'"{"x" * 40}" (40 deltas' in shown[2]


def test_with_a_type_there_is_a_line_for_each_event_of_it(tmp_path: Path) -> None:
    screen = watched(tmp_path / "a.db", stream(heartbeat(), delta("x"), delta("y")), type_glob="*.delta")
    assert [line.split()[-2:] for line in screen.lines] == [['"x"', "1:2"], ['"y"', "1:3"]]


def test_what_is_in_the_cassette_already_is_not_told(tmp_path: Path) -> None:
    watched(tmp_path / "a.db", stream(heartbeat(), created("before")))
    screen = watched(tmp_path / "a.db", stream(heartbeat(), created("after")))
    assert sum("begins" in line for line in screen.lines) == 1


def test_too_many_events_at_once_are_counted_and_the_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.cli.live._MOST", 100)
    monkeypatch.setattr("omnirecord.cli.live._EVERY", 30.0)  # it reads once more: at the end
    screen = watched(tmp_path / "a.db", stream(heartbeat(), *[delta("x")] * 1000, completed()))
    assert any("events are recorded, but not shown: too many at once" in line for line in screen.lines)
    assert any("completed" in line for line in screen.lines)


def test_a_screen_that_takes_nothing_holds_up_neither_the_recording_nor_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.cli.live._LAST", 0.01)
    gate = threading.Event()

    class Stuck(Printed):
        def print(self, lines: Iterable[Line]) -> None:
            list(lines)
            gate.wait(60)

    thread = RecorderThread(tmp_path / "a.db", None)
    live = Live(Stuck(), lambda: tmp_path / "a.db", lambda: 0)
    stream(heartbeat(), *[delta("x")] * 100, completed())(thread)
    thread.stop()
    live.close()
    gate.set()
    monkeypatch.setattr("omnirecord.cli.live._LAST", wire.PATIENCE)
    live.close()  # its thread ends in this test
    assert len(wire.frames(tmp_path / "a.db")) == 102


def test_a_fault_of_the_view_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("omnirecord.analysis.live.LiveView.lines_of", broken)
    monkeypatch.setattr("omnirecord.cli.live._EVERY", 0.01)
    monkeypatch.setattr(logging.getLogger("omnirecord"), "propagate", True)
    watched(tmp_path / "a.db", stream(heartbeat(), created()))
    message = "the live view does not show everything: a fault of omnirecord: ZeroDivisionError: of ours"
    said = {id(one): one.message for one in caplog.records if "live view" in one.message}
    assert list(said.values()) == [message]


def test_bytes_that_are_not_kept_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.cli.live._TELL_EVERY", 0.0)
    monkeypatch.setattr("omnirecord.cli.live._EVERY", 0.01)
    dropped, screen, thread = [0], Printed(), RecorderThread(tmp_path / "a.db", None)
    live = Live(screen, lambda: tmp_path / "a.db", lambda: dropped[0])
    dropped[0] = 1_500_000
    thread.stop()
    live.close()
    assert screen.lines == ["… 1.5 MB are not recorded so far"]


async def talk(conn: Wire, grown: asyncio.Event | None = None) -> None:
    """Answers a request for a stream with one turn, and everything else with 404. The second half of the turn's text
    comes after the event `grown`."""
    line, *_ = await conn.request()
    if b"/stream" not in line:
        body = b'{"error": {"code": "not_found", "message": "No such \\u001b[31msession."}}'
        head = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        await conn.send(head + body)
        return
    await conn.send(wire.STREAM + chunk(heartbeat() + created()))
    for n in range(30):
        if n == 15 and grown is not None:
            await grown.wait()
        await conn.send(chunk(delta(f"w{n} ", n)))
    await conn.send(chunk(completed()) + wire.END)


class Terminal:
    """`omnirecord proxy` on a terminal of its own."""

    def __init__(self, upstream: str, db: Path, columns: int, **environment: str) -> None:
        self._fd, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        command = [
            sys.executable, "-c", "from omnirecord.cli import main; main()", "proxy", "--upstream", upstream,
            "--listen", "127.0.0.1:0", "--db", str(db),
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdin=its, stdout=its, stderr=its, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )  # fmt: skip
        os.close(its)
        self.said = ""

    def read(self, until: str) -> str:
        """All that was written so far, once `until` is in it; to its end with an empty `until`."""
        deadline = time.monotonic() + 30
        while not until or until not in self.said:
            assert time.monotonic() < deadline, self.said
            if not select.select([self._fd], [], [], 0.5)[0]:
                continue
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # the other side has closed it
                break
            self.said += data.decode()
        return self.said

    def close(self) -> str:
        self.process.send_signal(signal.SIGINT)
        said = self.read("")
        assert self.process.wait(30) == 0
        os.close(self._fd)
        return said


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "colour"), [(80, True), (200, False)])
async def test_on_a_terminal_a_text_grows_in_its_line_and_a_failure_is_red(
    tmp_path: Path, columns: int, colour: bool
) -> None:
    environment = {} if colour else {"NO_COLOR": "1"}
    grown = asyncio.Event()
    async with Upstream(partial(talk, grown=grown)) as upstream:
        terminal = Terminal(upstream.url, tmp_path / "a.db", columns, **environment)
        url = (await asyncio.to_thread(terminal.read, " into ")).split(" at ")[1].split(" into ")[0]
        async with connected(url, get("/v1/sessions/s/stream")) as client:
            await asyncio.to_thread(terminal.read, "assistant  ")
            grown.set()
            await client.until(wire.END)
        async with connected(url, get("/v1/sessions/gone")) as client:
            await client.head()
        await asyncio.to_thread(terminal.read, "not_found")
        said = await asyncio.to_thread(terminal.close)
    assert re.search(r"assistant  \d+ deltas?(, \d+/s)?: [^\n]*\r", said), "it grows"
    assert said.count('"w0 w1') == 1, "it is printed once when it is over"
    red = [line for line in said.split("\r\n") if "404 GET" in line]
    assert [line.startswith("\x1b[1;31m") for line in red] == [colour]
    assert "\x1b[31msession" not in said, "no control sequence of the upstream's passes"
    for line in re.sub(r"\x1b\[[0-9;]*[mK]", "", said).replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        assert len(line) < columns or line.startswith(("recording ", "recorded "))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["stream", "turn", "assistant", "turn", "stream"]),
        (["--quiet"], []),
        (["--type", "response.c*"], ["+0.000", "response.created", "response.completed"]),
    ],
)
async def test_in_a_pipe_there_are_finished_lines_without_control_characters(
    tmp_path: Path, options: list[str], words: list[str]
) -> None:
    async with (
        Upstream(talk) as upstream,
        ForkedProcess(upstream.url, tmp_path / "a.db", *options, json=False) as proxy,
    ):
        async with connected(proxy.url, get("/v1/sessions/s/stream")) as client:
            await client.until(wire.END)
        await frames_are_stored(tmp_path / "a.db")
        _, said = await proxy.end(signal.SIGINT)
    assert said.replace("\n", "").isprintable()
    assert all(word in said for word in words)
    assert len(said.splitlines()) == (2 if "--type" in options else len(words))


@pytest.mark.slow
async def test_a_program_that_reads_json_gets_nothing_on_stderr(tmp_path: Path) -> None:
    async with Upstream(talk) as upstream, ForkedProcess(upstream.url, tmp_path / "a.db") as proxy:
        async with connected(proxy.url, get("/v1/sessions/s/stream")) as client:
            await client.until(wire.END)
        await frames_are_stored(tmp_path / "a.db")
        assert (await proxy.end(signal.SIGINT))[1] == ""


async def frames_are_stored(db: Path) -> None:
    """Wait until a recorder that stops has nothing to say: on a busy machine its worker is late."""
    await wire.eventually(lambda: wire.ending(db) == "eof")
    await wire.eventually(lambda: wire.stored_frames(db, 1) == len(wire.frames(db, 1)))
