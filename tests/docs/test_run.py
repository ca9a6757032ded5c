"""The page on `omnirecord run` is true: its commands print what it says."""

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
PAGE = (ROOT / "docs" / "run.md").read_text()
BLOCKS = re.findall(r"^```\n(omnirecord run .+)\n([^`]+)```$", PAGE, re.MULTILINE)
TIME = re.compile(r"\d+\.\d+ s +|\d\d-\d\d \d\d:\d\d|\d\d:\d\d:\d\d")

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in (ROOT / "cassettes" / "cities").glob("*.*"):
        shutil.copy(file, tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "test_agent.py").write_text(code)
    return tmp_path


def lines(text: str) -> list[str]:
    return TIME.sub("", text).splitlines()


def test_the_page_has_three_recipes() -> None:
    assert [line.split()[2] for line, _ in BLOCKS] == ["-o", "--replay", "--replay"]


@pytest.mark.parametrize(("number", "code"), [(0, 0), (1, 1), (2, 0)], ids=["record", "another question", "CI"])
async def test_a_recipe_prints_what_the_page_says(number: int, code: int, folder: Path) -> None:
    line, said = BLOCKS[number]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    async with CitiesApi() as provider:
        is_recording = number == 0
        server = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "key"} if is_recording else {}
        agent = folder / "agent.py"
        if number == 1:
            agent.write_text(agent.read_text().replace("warmest", "coldest"))
        words = [*shlex.split(line)[1:], *(["-p", "no:cacheprovider"] if number == 2 else [])]
        done = await asyncio.to_thread(forked.run, words, folder, environment=variables(PATH=path, **server))
        assert bool(provider.requests) == is_recording

    assert done.code == code, done.errors.decode()
    printed = lines((done.out + done.errors).decode())
    missing = [one for one in lines(said) if not any(other.startswith(one) for other in printed)]
    assert missing == []
    if is_recording:
        assert printed[-len(lines(said)[-4:]) :] == lines(said)[-4:]
