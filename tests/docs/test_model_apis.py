"""`docs/model-apis.md` lists the contracts, with their ends; its Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from omnirecord import record
from omnirecord.cassette.contracts import NAMES, load
from tests.omnigent_rig.provider import Answer
from tests.support.examples import each
from tests.support.providers import ModelApis

PAGE = (Path(__file__).parent.parent.parent / "docs" / "model-apis.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]


def test_the_table_has_every_contract() -> None:
    assert [row[0].strip("`") for row in ROWS] == list(NAMES)


@each("row", [row for row in ROWS if row[0] not in ("`auto`", "`none`")])
def test_the_table_has_what_ends_a_stream(row: list[str]) -> None:
    api = load(row[0].strip("`")).api
    told = set(re.findall(r"`([^`]+)`", row[3])) - {"omnigent"}
    assert told <= {*api.ends, *([api.end_marker] if api.end_marker else [])}
    assert told or row[3] == "as `omnigent`"
    assert set(api.ends) <= told


def test_the_path_decides_as_the_page_says() -> None:
    for path in re.findall(r"`…(/[\w/]+)`", PAGE):
        assert load("auto").of(path).name == load("auto").of(f"/prefix{path}").name != "none"


async def test_its_python_prints_the_text_of_a_recorded_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ask = {"model": "claude", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    async with (
        ModelApis({"hello": Answer("Hello there.")}) as provider,
        record(provider.url.removesuffix("/v1"), "model.db", contract="auto") as proxy,
        httpx.AsyncClient() as client,
    ):
        await client.post(f"{proxy.url}/v1/messages", json=ask, headers={"anthropic-version": "2023-06-01"})
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "docs/model-apis.md", "exec"), {})
    assert capsys.readouterr().out == "Hello there."
