"""Runners as Omnigent's host starts them: forked, as their harnesses are, from a process that has imported everything.

Each session has a harness, and a harness that Python starts anew takes seconds of CPU time for its imports.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.omnigent_rig.process import START_TIMEOUT_S, Process, StackError

_FD = "OMNIGENT_RUNNER_ZYGOTE_CONTROL_FD"
_PROGRAM = """\
import importlib, pkgutil
import agents, openai.resources, omnigent.inner.openai_agents_sdk_harness, omnigent.runtime.workflow
for module in pkgutil.iter_modules(openai.resources.__path__, "openai.resources."):
    importlib.import_module(module.name)
from omnigent.runner._zygote import main
main()
"""
"""Omnigent's process for forks, with the modules that the harness of `agents.py` imports in addition."""


class Zygote(Process):
    """The process that forks runners and harnesses. It outlives them."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    @classmethod
    async def begin(cls, env: dict[str, str], cwd: Path, log: Path, also: Sequence[str] = ()) -> Zygote:
        """Start it. `also`: further modules that it imports."""
        ours, theirs = socket.socketpair()
        with theirs:
            program = "".join(f"import {name}\n" for name in also) + _PROGRAM
            environment = {**env, _FD: str(theirs.fileno())}
            self = await cls.spawn("zygote", ["-P", "-c", program], environment, cwd, log, pass_fds=(theirs.fileno(),))
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        return self

    async def fork(self, env: dict[str, str], cwd: Path, log: Path) -> ForkedRunner:
        pid = await self.ask(
            cmd="fork", env={**env, "RUNNER_PARENT_PID": str(self.pid)}, log_path=str(log), cwd=str(cwd)
        )
        return ForkedRunner(self, pid, log)

    async def stop(self, how: signal.Signals) -> int:
        self._writer.close()
        return await super().stop(how)

    async def ask(self, **request: Any) -> Any:
        """Return what it answers to a request."""
        self._writer.write(f"{json.dumps(request)}\n".encode())
        try:
            line = await asyncio.wait_for(self._reader.readline(), START_TIMEOUT_S)
        except TimeoutError:
            raise StackError(f"what forks the runner does not answer {request['cmd']}:\n{self.last_words()}") from None
        if not line:
            raise StackError(f"what forks the runner has ended:\n{self.last_words()}")
        ((name, value),) = json.loads(line).items()
        if name == "error":
            raise StackError(value)
        return value

    def group(self) -> Iterator[int]:
        """Yield the other processes of its group: the runner, its harnesses and what these have begun."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                _state, _parent, group = path.read_bytes().rpartition(b")")[2].split()[:3]
                if int(group) == self.pid != (pid := int(path.parent.name)):
                    yield pid


class ForkedRunner(Process):
    """A runner. Its harnesses end with it."""

    def __init__(self, zygote: Zygote, pid: int, log: Path) -> None:
        self.name, self.log = "runner", log
        self._zygote, self._pid = zygote, pid

    @property
    def pid(self) -> int:
        return self._pid

    async def stop(self, how: signal.Signals) -> int:
        """Signal the runner and wait up to ten seconds for its end; then kill what is left of it and its harnesses."""
        code = await self.code()
        if code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, how)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(10):
                    while (code := await self.code()) is None:  # noqa: ASYNC110  # its end is polled
                        await asyncio.sleep(0.02)
        for pid in self._zygote.group():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return -signal.SIGKILL if code is None else code

    async def code(self) -> int | None:
        """Return the exit code; None while it runs."""
        return await self._zygote.ask(cmd="poll", pid=self._pid)  # type: ignore[no-any-return]
