"""The proxy as a process of its own: one that can be killed, and whose files can be limited; and room in our own."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any, Self

from tests.support.forked import Before, Running

_STARTS_WITHIN = 120.0
"""Seconds that a process may take to start, on a machine with twenty others that compute."""


class Process:
    """A running `omnirecord proxy`; `url` is where it listens."""

    def __init__(self, upstream: str, db: Path, *options: str, json: bool = True) -> None:
        self.command = [
            sys.executable, "-c", "from omnirecord.cli import main; main()", "proxy", "--upstream", upstream,
            "--listen", "127.0.0.1:0", "--db", str(db), *(["--json"] if json else []), *options,
        ]  # fmt: skip
        self._is_json = json
        self.url = ""
        self.line, self.ready = "", dict[str, Any]()
        self.urls: dict[str, str] = {}
        """Where clients of the upstreams with a name connect, with `json`."""

    process: asyncio.subprocess.Process | Running

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        process = self.process = await asyncio.create_subprocess_exec(*self.command, stdout=pipe, stderr=pipe)
        assert process.stdout is not None
        async with asyncio.timeout(_STARTS_WITHIN):
            line = await process.stdout.readline()
        assert line, (await self.process.communicate())[1].decode()
        self._has_begun(line)
        return self

    def _has_begun(self, line: bytes) -> None:
        """Take the URLs from the first line of stdout."""
        self.line = line.decode()
        if self._is_json:
            self.ready = json.loads(line)
            self.url, self.urls = self.ready["url"], self.ready.get("urls", {})
        else:
            self.url = line.decode().split(" at ")[1].split(" into ")[0]

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()

    def errors(self) -> str:
        """Return all of stderr so far, of a forked process."""
        assert isinstance(self.process, Running)
        return self.process.errors()

    async def end(self, how: signal.Signals) -> tuple[int | None, str]:
        """Send a signal; return the exit code and all of stderr."""
        self.process.send_signal(how)
        async with asyncio.timeout(30):
            _, errors = await self.process.communicate()
        return self.process.returncode, errors.decode()


class ForkedProcess(Process):
    """The same, forked from a process that has loaded omnirecord: for tests of a recorder that runs.

    `before`: what that process calls first."""

    def __init__(self, upstream: str, db: Path, *options: str, json: bool = True, before: Before = ()) -> None:
        super().__init__(upstream, db, *options, json=json)
        self._before = before

    async def __aenter__(self) -> Self:
        process = self.process = Running(self.command[3:], before=self._before)
        async with asyncio.timeout(_STARTS_WITHIN):
            line = await process.readline()
        assert line, (await process.communicate())[1].decode()
        self._has_begun(line)
        return self


def children(pid: int) -> list[int]:
    """The processes that this one has begun."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def allow_many_files() -> None:
    """Let this process open as many as it may, for a test that starts hundreds of servers."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
