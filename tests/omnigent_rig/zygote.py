"""The runner as Omnigent's host starts it: forked, as its harnesses are, from a process that has imported everything.

Each session has a harness, and a harness that Python starts anew takes seconds of CPU time for its imports.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

from tests.omnigent_rig.process import Process, StackError

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


class ForkedRunner(Process):
    """A runner, and the process that forks it and its harnesses: they end together."""

    runner_pid = 0
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    @classmethod
    async def fork(cls, env: dict[str, str], cwd: Path, log: Path) -> ForkedRunner:
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = ["-P", "-c", _PROGRAM]
            environment = {**env, _FD: str(theirs.fileno())}
            self = await cls.spawn("runner", arguments, environment, cwd, log, pass_fds=(theirs.fileno(),))
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        runner_env = {**env, "RUNNER_PARENT_PID": str(self._process.pid)}
        self.runner_pid = await self._ask(cmd="fork", env=runner_env, log_path=str(log), cwd=str(cwd))
        return self

    @property
    def pid(self) -> int:
        return self.runner_pid

    async def stop(self, how: signal.Signals) -> int:
        """Signal the runner and wait up to ten seconds for its end; then kill its harnesses and what forked them."""
        code = await self.code()
        if code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.runner_pid, how)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(10):
                    while (code := await self.code()) is None:  # noqa: ASYNC110  # its end is polled
                        await asyncio.sleep(0.02)
        self._writer.close()
        await super().stop(signal.SIGKILL)
        return -signal.SIGKILL if code is None else code

    async def code(self) -> int | None:
        """Return the exit code of the runner; None while it runs."""
        return await self._ask(cmd="poll", pid=self.runner_pid)

    async def _ask(self, **request: Any) -> Any:
        self._writer.write(f"{json.dumps(request)}\n".encode())
        line = await self._reader.readline()
        if not line:
            raise StackError(f"what forks the runner has ended:\n{self.last_words()}")
        ((name, value),) = json.loads(line).items()
        if name == "error":
            raise StackError(value)
        return value
