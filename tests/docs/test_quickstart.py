"""The commands of the quickstart start a real Omnigent, and a recorder records its session."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from tests.cli.test_run import variables
from tests.omnigent_rig.provider import Answer
from tests.support import forked
from tests.support.providers import ModelApis
from tests.support.stores import accepting

PAGE = (Path(__file__).parent.parent.parent / "docs" / "quickstart.md").read_text()
AGENT = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)

pytestmark = [pytest.mark.real, pytest.mark.slow]


def command(start: str, ports: dict[str, int]) -> list[str]:
    """Return the words of a command of the page, with the ports of this test."""
    (line,) = re.findall(rf"^(?:OPENAI_API_KEY=KEY )?({start} .*)$", PAGE, re.MULTILINE)
    return shlex.split(re.sub("|".join(ports), lambda found: str(ports[found[0]]), line))


@asynccontextmanager
async def running(words: list[str], folder: Path, around: dict[str, str], port: int) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(*words, cwd=folder, env=around, stderr=asyncio.subprocess.DEVNULL)
    try:
        await accepting(port, process, 90)
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def stop_hosts(around: dict[str, str]) -> None:
    """Stop the daemon that `omnigent server` leaves behind."""
    stop = await asyncio.create_subprocess_exec("omnigent", "stop", env=around, stdout=asyncio.subprocess.DEVNULL)
    assert await asyncio.wait_for(stop.wait(), 60) == 0


async def test_the_commands_record_a_session_of_a_new_omnigent(tmp_path: Path) -> None:
    pytest.importorskip("omnigent")
    ports = {"6767": free_port(), "6868": free_port()}
    (tmp_path / "hello.yaml").write_text(AGENT.findall(PAGE)[0])
    async with ModelApis({"Hello!": Answer("Hi there.")}) as provider, AsyncExitStack() as started:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        around = variables(OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="key", PATH=path, HOME=str(tmp_path))
        server = [*command("omnigent server", ports), "--port", str(ports["6767"])]
        recorder = [*command("omnirecord proxy", ports), "--listen", f"127.0.0.1:{ports['6868']}"]
        await started.enter_async_context(running(server, tmp_path, around, ports["6767"]))
        await started.enter_async_context(running(recorder, tmp_path, around, ports["6868"]))
        started.push_async_callback(stop_hosts, around)
        client = await asyncio.create_subprocess_exec(
            *command("omnigent run", ports), cwd=tmp_path, env=around, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(client.communicate(), 120)

    assert b"Hi there." in out
    shown = forked.run(["show", "session.db"], tmp_path).out.decode()
    assert "You: Hello!" in shown
    assert "Assistant: Hi there." in shown
