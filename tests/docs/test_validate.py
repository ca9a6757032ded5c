"""The page about contracts is true: what it shows is printed, and what it lists is what was found by hand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import omnirecord
from omnirecord.contract import ProblemKind
from tests.analysis.test_validate import BY_HAND, CASSETTES
from tests.support.command import invoke

PAGE = (Path(__file__).parent.parent.parent / "docs" / "validate.md").read_text()


def rows(head: str) -> list[list[str]]:
    """The cells of the table with that head."""
    table = PAGE.partition(f"\n{head}\n")[2].partition("\n\n")[0]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in table.splitlines()[1:]]


def test_the_differences_on_the_page_are_those_that_were_found_by_hand() -> None:
    told = {
        (type_, path, problem): int(count)
        for type_, path, problem, count, _ in rows("| type | path | problem | events | the page, and the wire |")
    }
    counted = re.findall(r"`([\w.]+)`\s+(\d+)\b", PAGE.partition("The number of these events by type:\n")[2])
    numbers = {(type_, "sequence_number", "wrong kind"): int(count) for type_, count in counted}
    assert told | numbers == BY_HAND
    assert not told.keys() & numbers.keys()


def test_the_output_on_the_page_is_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(CASSETTES / "approval.jsonl", "session.jsonl")
    shown = re.findall(r"```console\n\$ omnirecord (.*?)  # exits with 1\n(.*?)```", PAGE, re.DOTALL)
    assert len(shown) == 1
    for words, output in shown:
        done = invoke(*words.split())
        assert (done.exit_code, done.stdout) == (1, output)


def test_every_kind_of_problem_is_explained() -> None:
    kinds = [row[0] for row in rows("| problem | meaning | verdict on the event |")]
    assert kinds == list(ProblemKind.__args__)  # type: ignore[attr-defined]


def test_the_python_on_the_page_asserts_what_it_says() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    space = {"omnirecord": omnirecord}
    exec(compile(code.replace("session.jsonl", str(CASSETTES / "responses.jsonl")), "validate.md", "exec"), space)
    with pytest.raises(AssertionError):
        exec(compile(code.replace("session.jsonl", str(CASSETTES / "text.jsonl")), "validate.md", "exec"), space)


@pytest.mark.real
def test_the_document_that_an_installed_server_makes_is_a_contract(tmp_path: Path) -> None:
    pytest.importorskip("omnigent")
    (code,) = re.findall(r"```sh\npython -c '(.*?)' > events.json\n```", PAGE, re.DOTALL)
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    path = tmp_path / "events.json"
    path.write_text(made.stdout)
    assert len(json.loads(made.stdout)["oneOf"]) >= 55
    assert omnirecord.validate(CASSETTES / "text.jsonl", path).problems == ()
