"""The page on forks is true: its commands print what it says."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.cli.test_run import variables
from tests.support import forked
from tests.support.cities import CitiesApi

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "fork.md").read_text()
BLOCK = re.compile(r"^```\n(?:(omnirecord fork .+(?:\n {4}.+)*)\n)?([^`]+)```$", re.MULTILINE)
_TIME = re.compile(r"\d+\.\d\d s +")

pytestmark = pytest.mark.slow


def timeless(text: str) -> str:
    return _TIME.sub("", text)


async def test_the_page_prints_what_the_commands_print(tmp_path: Path) -> None:
    for file in (ROOT / "cassettes" / "cities").glob("*.*"):
        shutil.copy(file, tmp_path)
    blocks = BLOCK.findall(PAGE)
    assert [bool(line) for line, _ in blocks] == [False, True, False, False, True, True]
    shown = forked.run(["show", "cities.jsonl"], tmp_path).out.decode()
    assert timeless(blocks[0][1].rstrip()) in timeless(shown)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line, said in (blocks[1], blocks[4]):
        async with CitiesApi() as provider:
            around = variables(OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="key", PATH=path)
            words = shlex.split(line.replace("\\\n", ""))[1:]
            done = await asyncio.to_thread(forked.run, words, tmp_path, environment=around)
        assert done.code == 0, done.errors.decode()
        printed = timeless((done.out + done.errors).decode()).splitlines()
        assert [one for one in timeless(said).splitlines() if one not in printed] == []
    drawn = forked.run(["show", "prompt.db"], tmp_path).out.decode()
    assert blocks[2][1] in drawn
    differences = forked.run(["diff", "cities.jsonl", "prompt.db"], tmp_path).out.decode()
    assert differences.startswith(blocks[3][1])
