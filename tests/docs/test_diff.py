"""The page on differences is true: its examples print what it says, and its Python runs."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.support.command import invoke

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "diff.md").read_text()
EXAMPLE = re.compile(r"^    \$ omnirecord (.+)\n((?:    .+\n)+)", re.MULTILINE)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a reader would be: with a session, and with one in which the tool and the assistant count otherwise."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "cassettes" / "tool.jsonl", "before.jsonl")
    text = Path("before.jsonl").read_text()
    Path("after.jsonl").write_text(text.replace("3 poem.txt", "4 poem.txt").replace(" three", " seven"))


@pytest.mark.parametrize("example", EXAMPLE.findall(PAGE), ids=lambda example: example[0])
def test_an_example_prints_what_the_page_says(example: tuple[str, str]) -> None:
    line, said = example
    result = invoke(*shlex.split(line))
    assert result.exit_code == 1
    assert result.stdout == "".join(f"{line[4:]}\n" for line in said.splitlines())


def test_the_python_of_the_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 1
    exec(compile("\n".join(blocks), "docs/diff.md", "exec"), {})


def test_every_kind_has_a_row() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [
        "content",
        "order",
        "tools",
        "usage",
        "null",
        "calls",
        "timing",
    ]
