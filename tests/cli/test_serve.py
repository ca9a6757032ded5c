"""The keys of `serve` on a terminal: a real one, with `serve` behind it as a process."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.replayer.test_server import STREAM, heard
from tests.support.cassettes import Made, delta, event, heartbeat
from tests.support.wire import connected, eventually, get


def letters() -> Made:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), *((100.0 + n, delta(letter)) for n, letter in enumerate("abc")))
    return tape


class Terminal:
    """A `serve` whose stdin and stderr are a terminal; stdout is a pipe."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process, self._master, self.shown = process, master, ""
        line = process.stdout.readline() if process.stdout else b""
        self.url = json.loads(line)["url"]

    def types(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    async def shows(self, what: str) -> None:
        async with asyncio.timeout(10):
            while not re.search(what, self.shown):
                self.shown += (await asyncio.to_thread(os.read, self._master, 4096)).decode()


@asynccontextmanager
async def serving(folder: Path, *options: str, tape: Made | None = None) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "omnirecord", "serve", str((tape or letters()).save(folder / "t.db"))]
    process = subprocess.Popen(  # noqa: ASYNC220  # it starts in no time; its output is awaited in a thread
        [*command, "--listen", "127.0.0.1:0", "--json", *options],
        stdin=slave, stderr=slave, stdout=subprocess.PIPE, preexec_fn=lambda: _control(slave),
    )  # fmt: skip
    try:
        yield Terminal(process, master)
        assert termios.tcgetattr(slave)[3] & termios.ECHO, "the terminal is as it was"
    finally:
        process.kill()
        process.communicate()
        os.close(master)
        os.close(slave)


def _control(slave: int) -> None:
    """Make it the terminal of a session of its own, as a shell does."""
    os.setsid()
    import fcntl

    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


async def test_space_pauses_the_dot_steps_and_plus_and_minus_change_the_speed(tmp_path: Path) -> None:
    async with serving(tmp_path) as terminal, connected(terminal.url, get(STREAM)) as wire:
        await terminal.shows("space pauses")
        await wire.head()
        assert await heard(wire, 1) == ["heartbeat"]
        terminal.types(" ")
        await terminal.shows("paused")
        terminal.types(".")
        assert await heard(wire, 1) == ["a"]
        await terminal.shows(r"99\.00 s: response\.output_text\.delta \(1:2\), then response\.output_text\.delta")
        terminal.types("+")
        await terminal.shows("speed 2")
        terminal.types("--")
        await terminal.shows("speed 0.5")
        terminal.types("x\x1b[A")
        terminal.types(" ")
        await terminal.shows("playing")
        assert await heard(wire, 1) == ["b"]
        terminal.types("\x03")
        await terminal.shows("1 request, 0 unmatched")
        assert await asyncio.to_thread(terminal.process.wait, 10) == 0


async def test_a_key_that_can_do_nothing_says_why(tmp_path: Path) -> None:
    async with serving(tmp_path, "--timing", "instant") as terminal:
        await terminal.shows("space pauses")
        terminal.types("+")
        await terminal.shows("no gaps")
        terminal.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(terminal.process.wait, 10) == 0


async def test_after_control_z_and_bg_it_serves_on_and_leaves_the_terminal_alone(tmp_path: Path) -> None:
    """A shell with job control, in which somebody types on while the replay is in the background."""
    master, slave = pty.openpty()
    command = shlex.join([sys.executable, "-m", "omnirecord", "serve", str(letters().save(tmp_path / "t.db"))])
    out = tmp_path / "out"
    shell = subprocess.Popen(  # noqa: ASYNC220  # it starts in no time
        ["bash", "--norc", "--noprofile", "-i"], stdin=slave, stderr=slave, stdout=slave,
        preexec_fn=lambda: _control(slave),
    )  # fmt: skip

    def types(keys: str) -> None:
        os.write(master, keys.encode())

    def says(name: str) -> Callable[[], bool]:
        return lambda: (tmp_path / name).exists() and (tmp_path / name).read_text() != ""

    try:
        types(f"cd {tmp_path}; {command} --listen 127.0.0.1:0 --json >out\n")
        await eventually(says("out"))
        url = json.loads(out.read_text())["url"]
        await eventually(lambda: not termios.tcgetattr(slave)[3] & termios.ECHO)
        types("\x1a")
        types("jobs >stopped\n")
        await eventually(says("stopped"))
        types("bg\n")
        types("echo typed >typed\n")
        await eventually(says("typed"))
        async with asyncio.timeout(5), connected(url, get(STREAM)) as wire:
            await wire.head()
            assert await heard(wire, 1) == ["heartbeat"]
        types("kill %1; wait %1; echo $? >ended\n")
        await eventually(says("ended"))
        assert (tmp_path / "ended").read_text().strip() == "0"
    finally:
        shell.kill()
        shell.communicate()
        os.close(master)
        os.close(slave)


async def test_what_a_cassette_says_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 1.0, (1.0, heartbeat()), (100.0, event("\x1b[2Jgone")))
    async with serving(tmp_path, tape=tape) as terminal, connected(terminal.url, get(STREAM)) as wire:
        await terminal.shows("space pauses")
        await wire.head()
        assert await heard(wire, 1) == ["heartbeat"]
        terminal.types(".")
        await terminal.shows("gone")
        assert "\x1b" not in terminal.shown
        terminal.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(terminal.process.wait, 10) == 0
