"""A real Omnigent server and runner on loopback, started and stopped as separate processes.

Everything they write goes below one `home`: database, artifacts, working folder, temporary files, logs. Their
environment is made here and not inherited, so that a recording shows nothing of the machine it was made on,
and nothing is dialled but loopback. No process outlives the stack: each is killed with its group on exit, and
so is everything that carries the stack's marker in its environment; and all of them die should this process
die (the marker and the last point: on Linux).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Self

import httpx
from omnigent.runner.identity import token_bound_runner_id

from benchmarks.ports import free_port, listens
from tests.omnigent_rig.process import Process, StackError
from tests.omnigent_rig.zygote import Zygote

LONGEST_HOME = 27
MARKER = "OMNIRECORD_RIG"

_QUIET = {
    "OMNIGENT_ANALYTICS": "0",
    "OMNIGENT_DISABLE_TELEMETRY": "1",
    "OMNIGENT_NO_UPDATE_CHECK": "1",
    "OMNIGENT_DISABLE_CATALOG_LOOKUP": "1",
    "OMNIGENT_DISABLE_KEYRING": "1",
    "OMNIGENT_SKIP_ONBOARD": "1",
    "OMNIGENT_HOST_NO_OPEN": "1",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "DO_NOT_TRACK": "1",
    "NO_PROXY": "*",
}


class Stack:
    """`async with Stack(provider_url=…) as stack:` has a server at `stack.url`; then `start_runner()`.

    A given `home` is made if it is not there and left behind; without one a folder is made and removed. It
    has to be short: the runner talks to its harnesses over Unix sockets in it, whose paths have 107 bytes.
    `env` is for the server and the runner, beside what they always get. `python`: the interpreter that runs them, for
    another version of Omnigent. `imports`: modules that each harness would import, imported once for all of them.
    """

    def __init__(
        self,
        provider_url: str,
        *,
        server_port: int = 0,
        home: Path | None = None,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        imports: Sequence[str] = (),
    ) -> None:
        self.port = server_port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.home = home or Path(tempfile.mkdtemp(prefix="omnirecord-", dir="/tmp"))
        if len(str(self.home)) > LONGEST_HOME:
            raise StackError(f"{self.home} is too long; choose one of up to {LONGEST_HOME} characters")
        self.work = self.home / "work"
        self.runner_id = ""
        self.server: Process | None = None
        self.runner: Process | None = None
        self.host: Process | None = None
        self._zygote: Zygote | None = None
        self._removes_home = home is None
        self._provider_url = provider_url
        self._env = dict(env or {})
        self._python, self._imports = python, imports
        self._token = token_hex(24)
        self._marker = token_hex(8)

    async def __aenter__(self) -> Self:
        try:
            await self.start_server()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in (self.host, self.runner, self._zygote, self.server):
            if process is not None:
                await process.stop(signal.SIGKILL)
        kill_marked(self._marker)
        if self._removes_home:
            shutil.rmtree(self.home, ignore_errors=True)

    async def start_server(self) -> None:
        """Also starts it again, on the same port and database, after `stop_server`."""
        for folder in (self.work, self.home / "tmp", self.home / "h", self.home / "artifacts"):
            folder.mkdir(parents=True, exist_ok=True)
        args = ["-m", "omnigent.cli", "server", "--port", str(self.port), "--no-open"]
        args += ["--database-uri", f"sqlite:///{self.home / 'chat.db'}"]
        args += ["--artifact-location", str(self.home / "artifacts")]
        self.server = await self._spawn("server", args, {"OMNIGENT_RUNNER_TUNNEL_TOKEN": self._token})
        pid = self.server.pid
        async with _http() as http:
            await self.server.wait_until(lambda: _is_healthy(http, self.url, pid))

    async def stop_server(self, how: signal.Signals = signal.SIGTERM) -> int:
        server, self.server = self.server, None
        return await server.stop(how) if server else 0

    async def start_runner(self, server_url: str | None = None, env: Mapping[str, str] | None = None) -> str:
        """Start the runner, dialling the server by way of `server_url`; answers its id once it is online. `env` is for
        this runner only."""
        self.runner_id = token_bound_runner_id(self._token)
        env = {
            **(env or {}),
            "OMNIGENT_RUNNER_ID": self.runner_id,
            "OMNIGENT_RUNNER_TUNNEL_BINDING_TOKEN": self._token,
            "OMNIGENT_RUNNER_WORKSPACE": str(self.work),
            "RUNNER_SERVER_URL": server_url or self.url,
        }
        if self._python == sys.executable:
            if self._zygote is None:
                self._zygote = await Zygote.begin(self._base_env(), self.work, self.home / "zygote.log", self._imports)
            self.runner = await self._zygote.fork(self._base_env() | env, self.work, self.home / "runner.log")
        else:
            self.runner = await self._spawn("runner", ["-m", "omnigent.runner._entry"], env)
        async with _http() as http:
            await self.runner.wait_until(lambda: _is_online(http, self.url, self.runner_id))
        return self.runner_id

    async def start_host(self, agent: str) -> None:
        """Have a host, on which the web UI can start sessions, and an installed agent, given as YAML, to start them
        with."""
        file = self.work / "agent.yaml"
        file.write_text(agent)
        add = await self._spawn("agent", ["-m", "omnigent.cli", "agent", "add", str(file), "--server", self.url], {})
        if await add.ended():
            raise StackError(f"the agent was not installed:\n{add.last_words()}")
        args = ["-m", "omnigent.cli", "host", "--server", self.url, "--no-open", "--non-interactive"]
        self.host = await self._spawn("host", args, {})
        async with _http() as http:
            await self.host.wait_until(lambda: _has_hosts(http, self.url))

    async def stop_host(self) -> None:
        host, self.host = self.host, None
        if host is not None:
            await host.stop(signal.SIGTERM)

    async def stop_runner(self) -> int:
        return await self._end_runner(signal.SIGTERM)

    async def kill_runner(self) -> int:
        return await self._end_runner(signal.SIGKILL)

    async def _end_runner(self, how: signal.Signals) -> int:
        runner, self.runner = self.runner, None
        return await runner.stop(how) if runner else 0

    async def _spawn(self, name: str, args: list[str], env: dict[str, str]) -> Process:
        log = self.home / f"{name}.log"
        return await Process.spawn(name, args, self._base_env() | env, self.work, log, self._python)

    def _base_env(self) -> dict[str, str]:
        return _QUIET | {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "OMNIGENT_HARNESS_TMP_PARENT": str(self.home / "h"),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "OPENAI_BASE_URL": self._provider_url,
            "OPENAI_API_KEY": "not-a-key",
            MARKER: self._marker,
            **self._env,
        }


def _http() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=5)


async def _is_healthy(http: httpx.AsyncClient, url: str, pid: int) -> bool:
    """Whether this process, and no other that took its port, is a server that works."""
    try:
        is_healthy = (await http.get(f"{url}/health")).status_code == 200
        return is_healthy and listens(pid, int(url.rpartition(":")[2]))
    except httpx.TransportError:
        return False


async def _is_online(http: httpx.AsyncClient, url: str, runner_id: str) -> bool:
    answer = await http.get(f"{url}/v1/runners/{runner_id}/status")
    return answer.status_code == 200 and answer.json().get("online") is True


async def _has_hosts(http: httpx.AsyncClient, url: str) -> bool:
    answer = await http.get(f"{url}/v1/hosts")
    return answer.status_code == 200 and bool(answer.json()["hosts"])


def _marked(marker: str) -> Iterable[int]:
    """The processes that inherited the marker, also those that left their group (Linux; elsewhere none)."""
    needle = f"{MARKER}={marker}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if needle in path.read_bytes().split(b"\0"):
                yield int(path.parent.name)


def kill_marked(marker: str) -> None:
    """Kill every other process that has this marker in its environment (Linux)."""
    for pid in _marked(marker):
        if pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
