"""`omnirecord` as a process of its own, forked from one that has loaded it: a tenth of the work of starting Python.

What a program shows by how it starts and ends is tested with `python -m omnirecord`.
"""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import os
import pty
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TextIO

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.support.loaded"])
_LONGEST = 60.0
"""Seconds that a command may take."""

Before = Sequence[Callable[[], object]]
"""What the forked process calls before the command begins. It is pickled: a `partial` of a function of the library, or
`patched`. A function of a test file would import that file there."""


def patched(name: str, value: object) -> Callable[[], object]:
    """Give this name of a module another value, such as `omnirecord.recorder.queue.BUFFER`."""
    return partial(_patch, *name.rsplit(".", 1), value)


def _patch(module: str, name: str, value: object) -> None:
    loaded = import_module(module)
    assert hasattr(loaded, name)
    setattr(loaded, name, value)


@dataclass(frozen=True)
class Done:
    code: int | None
    out: bytes
    errors: bytes


class Running:
    """A command that runs, with the members of `asyncio.subprocess.Process` that tests use."""

    def __init__(
        self, words: Sequence[str | Path], environment: Mapping[str, str] = os.environ, before: Before = ()
    ) -> None:
        self._aside = tempfile.TemporaryDirectory()
        self._out, self._errors = (Path(self._aside.name, name) for name in ("out", "errors"))
        self._out.touch()
        self._read = 0
        self._rest: tuple[bytes, bytes] | None = None
        self._process = _started(words, self._out, self._errors, None, environment, before=before)
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, how: int) -> None:
        if self._process.is_alive():
            os.kill(self.pid, how)

    def kill(self) -> None:
        self._process.kill()

    async def readline(self) -> bytes:
        """Return the next line of stdout; an empty one if the process has ended without it."""
        while True:
            is_alive = self._process.is_alive()
            with self._out.open("rb") as file:
                file.seek(self._read)
                line = file.readline()
            if line.endswith(b"\n"):
                self._read += len(line)
                return line
            if not is_alive:
                return b""
            await asyncio.sleep(0.01)

    async def wait(self) -> int | None:
        """Return the exit code, once it has ended. Raises `AssertionError` if that takes five times as long as a
        command may take: some tests stop it much later than they begin to wait."""
        await asyncio.to_thread(self._process.join, 5 * _LONGEST)
        _is_over(self._process)
        return self._process.exitcode

    def join(self) -> int | None:
        """Wait for the end, as `communicate` does, in this thread; return the exit code."""
        self._process.join(5 * _LONGEST)
        _is_over(self._process)
        self._read_rest()
        return self._process.exitcode

    def errors(self) -> str:
        """Return all that it has written to stderr so far."""
        if self._rest is not None:
            return self._rest[1].decode()
        return self._errors.read_text() if self._errors.exists() else ""

    async def communicate(self) -> tuple[bytes, bytes]:
        """Wait for the end; return what was not read yet of stdout, and stderr."""
        await self.wait()
        return self._read_rest()

    def _read_rest(self) -> tuple[bytes, bytes]:
        if self._rest is None:
            errors = self._errors.read_bytes() if self._errors.exists() else b""
            self._rest = self._out.read_bytes()[self._read :], errors
            self._aside.cleanup()
        return self._rest


def run(
    words: Sequence[str | Path], folder: Path | None = None, stopped_by: signal.Signals | None = None, *,
    has_stdout: bool = True, stdout: Path | None = None, stdin: Path | None = None,
    environment: Mapping[str, str] = os.environ, before: Before = (),
) -> Done:  # fmt: skip
    """What it prints, and its exit code; once it has printed a line it is sent `stopped_by`, if that is given. `stdin`:
    the file that it reads there. `stdout`: a file that it appends to, instead of one that is read here."""
    with tempfile.TemporaryDirectory() as aside:
        out, errors = Path(aside, "out"), Path(aside, "errors")
        out.touch()
        process = _started(words, (stdout or out) if has_stdout else None, errors, folder, environment, stdin, before)
        if stopped_by is not None:
            _until_a_line(out, process)
            assert process.pid is not None
            os.kill(process.pid, stopped_by)
        process.join(_LONGEST)
        _is_over(process)
        return Done(process.exitcode, out.read_bytes(), errors.read_bytes())


def on_a_terminal(
    *words: str | Path, stopped_behind: bytes | None = None, errors: Path | None = None, **environment: str
) -> tuple[str, int | None]:
    """All that it writes to a terminal, `errors` elsewhere if that is given, and its exit code.

    It is terminated once it has written what it is to be `stopped_behind`.
    """
    ours, theirs = pty.openpty()
    terminal, shown = Path(os.ttyname(theirs)), b""
    around = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = _started(words, terminal, errors or terminal, None, {**around, "TERM": "xterm-256color", **environment})
    while ours in select.select([ours, process.sentinel], [], [], _LONGEST)[0]:  # till there is no more, and it is over
        shown += os.read(ours, 65536)
        if stopped_behind is not None and stopped_behind in shown:
            process.terminate()
    os.close(ours)
    os.close(theirs)
    process.join(_LONGEST)
    _is_over(process)
    return shown.decode(), process.exitcode


def _started(
    words: Sequence[str | Path], out: Path | None, errors: Path, folder: Path | None, environment: Mapping[str, str],
    stdin: Path | None = None, before: Before = (),
) -> BaseProcess:  # fmt: skip
    files = out and str(out), str(errors), str(folder or Path.cwd())
    given = [str(word) for word in words], *files, dict(environment), stdin and str(stdin), before
    process = _CONTEXT.Process(target=_omnirecord, args=given)
    process.start()
    return process


def _until_a_line(out: Path, process: BaseProcess) -> None:
    until = time.monotonic() + _LONGEST
    while process.is_alive() and b"\n" not in out.read_bytes():
        assert time.monotonic() < until, "it printed nothing"
        time.sleep(0.005)


def _is_over(process: BaseProcess) -> None:
    if process.is_alive():
        process.kill()
        raise AssertionError("it did not end")


def _omnirecord(
    words: list[str], out: str | None, errors: str, folder: str, environment: dict[str, str], stdin: str | None,
    before: Before,
) -> None:  # fmt: skip
    """Runs in the forked process."""
    if stdin is not None:
        opened = os.open(stdin, os.O_RDONLY)
        os.dup2(opened, 0)
        os.close(opened)
        sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # TMPDIR decides again
    os.chdir(folder)
    sys.stderr = _written_to(errors, 2)
    if out is not None:
        sys.stdout = _written_to(out, 1)
    else:
        os.close(1)
        sys.stdout = None  # type: ignore[assignment]  # as Python has it then
    for call in before:
        call()
    sys.argv = ["omnirecord", *words]
    from omnirecord.__main__ import run

    try:
        run()
    finally:
        atexit._run_exitfuncs()


def _written_to(path: str, fd: int) -> TextIO:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY, 0o600)
    os.dup2(opened, fd)
    os.close(opened)
    return os.fdopen(fd, "w", buffering=1, closefd=False)
