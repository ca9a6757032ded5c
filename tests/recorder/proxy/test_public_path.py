"""Where aiohttp lacks the private names of the fast path, clients and cassettes get the same bytes and endings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import Process
from tests.support.renamed_aiohttp import renamed
from tests.support.wire import nobody_listens


@pytest.fixture(scope="module")
def other_aiohttp(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a process whose aiohttp lacks the private names."""
    return {**os.environ, "PYTHONPATH": str(renamed(tmp_path_factory.mktemp("renamed")))}


def scenarios(folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    folder.mkdir()
    command = [sys.executable, "-m", "tests.support.path_scenarios", str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def read(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=240)
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.slow
def test_both_paths_give_the_same_bytes_and_endings(tmp_path: Path, other_aiohttp: Mapping[str, str]) -> None:
    running = [scenarios(tmp_path / "fast", os.environ), scenarios(tmp_path / "public", other_aiohttp)]
    try:
        fast, public = map(read, running)
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert fast.pop("slower because") is None
    assert public.pop("slower because").startswith("aiohttp ")
    assert len(fast) > 25
    assert public == fast


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--verbose"], []])
async def test_verbose_says_once_why_streams_take_the_slower_path(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_aiohttp: Mapping[str, str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", other_aiohttp["PYTHONPATH"])
    async with Process(nobody_listens(), tmp_path / "run.db", *options) as proxy:
        code, errors = await proxy.end(signal.SIGINT)
    assert code == 0, errors
    assert errors.count(" lacks ResponseHandler._payload, ") == len(options)
    assert errors.count(": streams pass unchanged, and take more CPU time") == len(options)


@pytest.mark.slow
async def test_verbose_says_nothing_of_it_on_the_fast_path(tmp_path: Path) -> None:
    async with Process(nobody_listens(), tmp_path / "run.db", "--verbose") as proxy:
        _, errors = await proxy.end(signal.SIGINT)
    assert "lacks" not in errors
