"""A process of the rig: it dies with the process that started it (Linux), and its group is killed with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

START_TIMEOUT_S = 90.0

# Asks the kernel to kill this process with its parent, then becomes the program. Not a `preexec_fn`: Python
# code in a fork of a process that has threads can hang.
_SHIM = """\
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class StackError(Exception):
    """A process did not start; the message ends with what it logged."""


class Process:
    """One process in a session of its own, with its output in one file."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @classmethod
    async def spawn(
        cls, name: str, args: list[str], env: dict[str, str], cwd: Path, log: Path, python: str = sys.executable,
        pass_fds: tuple[int, ...] = (),
    ) -> Self:  # fmt: skip
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                python,
                "-c",
                _SHIM,
                *args,
                env=env,
                cwd=cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait_until(self, ready: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await ready():
            if (code := await self.code()) is not None:
                raise StackError(f"{self.name} exited with {code}:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} was not ready after {START_TIMEOUT_S:.0f} s:\n{self.last_words()}")
            await asyncio.sleep(0.05)

    async def stop(self, how: signal.Signals) -> int:
        """Signal the process itself and wait up to ten seconds; then what is left of its group is killed."""
        if self._process.returncode is None:
            self._process.send_signal(how)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return await self._process.wait()

    async def code(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._process.returncode

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.wait_for(self._process.wait(), START_TIMEOUT_S)

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]
