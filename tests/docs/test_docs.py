"""The documentation is true: every command is in it, and every example in it runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
import tomllib
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

import omnirecord
from omnirecord.cassette.open import import_file
from omnirecord.cli import main
from omnirecord.lake.location import Lake
from omnirecord.server.listener import Background
from tests.support import forked
from tests.support.command import invoke
from tests.support.examples import each
from tests.support.lakes import shipped, split
from tests.support.providers import ModelApis

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = ("cassettes", "examples/chat-client")
EXAMPLE = re.compile(r"^\$ (omnirecord .+)$", re.MULTILINE)
SERVERS = ("proxy", "serve", "ui")
AGENT = """
import json, os, urllib.request
body = json.dumps({"model": "m", "input": "Hello"}).encode()
url = os.environ["OPENAI_BASE_URL"] + "/responses"
urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}))
print("Done.")
"""
"""The program of a reader who records it."""


def examples() -> list[tuple[str, str]]:
    return [(page.name, line) for page in PAGES for line in EXAMPLE.findall(page.read_text())]


def help_examples() -> list[tuple[str, str]]:
    found = []
    for name, command in main.commands.items():
        found += [
            (name, line.strip()) for line in (command.help or "").splitlines() if line.strip().startswith("omnirecord ")
        ]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader of the documentation would be: with a recorded session in both forms."""
    folder = tmp_path_factory.mktemp("docs")
    pages = "".join(page.read_text() for page in PAGES)
    for cassette in (ROOT / "cassettes").rglob("*.jsonl"):
        if cassette.name in pages or cassette.stem in ("both_tool", "failed"):
            shutil.copy(cassette, folder)
    shutil.copy(ROOT / "cassettes" / "approval.jsonl", folder / "session.jsonl")
    import_file(folder / "session.jsonl", folder / "session.db")
    import_file(folder / "both_tool.jsonl", folder / "agent.db")
    import_file(folder / "text.jsonl", folder / "server.db")
    import_file(folder / "tool.jsonl", folder / "laptop.db")
    Lake(str(folder / "lake")).init()
    for name in ("agents", "troubled"):
        shutil.copytree(ROOT / "cassettes" / name, folder / "cassettes" / name)
    (folder / "recordings").mkdir()
    for name in ("session.db", "turns.jsonl", "tool_hangs.jsonl", "subagent.jsonl", "failed.jsonl", "agent.db"):
        shutil.copy(folder / name, folder / "recordings")
    split(folder / "text.jsonl", folder / "recordings")
    shipped(str(folder / "lake"), *sorted((folder / "recordings").iterdir()))
    (folder / "cassettes" / "test_answers").mkdir()
    shutil.copy(folder / "session.jsonl", folder / "cassettes" / "test_answers" / "test_an_answer_comes_whole.jsonl")
    (folder / "agent.py").write_text(AGENT)
    assert run("omnirecord run -o weather.db -- python agent.py", folder).code == 0
    return folder


def run(line: str, folder: Path) -> forked.Done:
    """Run an example as it stands; a server until it is ready, on a free port, then stopped with Ctrl-C."""
    words = shlex.split(line.partition("  # ")[0])[1:]
    if words[0] in ("run", "fork"):
        return run_a_program(words, folder)
    if words[0] not in SERVERS:
        with chdir(folder):
            done = invoke(*words, catch_exceptions=False)
        return forked.Done(done.exit_code, done.stdout_bytes, done.stderr_bytes)
    words += [] if "--listen" in words else ["--listen", "127.0.0.1:0"]
    return forked.run(words, folder, stopped_by=signal.SIGINT)


def run_a_program(words: list[str], folder: Path) -> forked.Done:
    """Run a program with a scripted provider as the server that it would use."""
    provider = ModelApis({})
    serving = Background(provider)
    serving.start()
    try:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        around = {**os.environ, "PATH": path, "OPENAI_BASE_URL": provider.url}
        done = forked.run(words, folder, environment=around)
    finally:
        serving.stop()
    is_replay = "--replay" in words and "--record" not in words
    replayed, forked_ = b"replayed weather.db: 1 request expected, 1 made", b"1 live, 0 missing"
    said = replayed if is_replay else forked_ if words[0] == "fork" else b"look at it with"
    return replace(done, errors=b"") if said in done.errors else done


@each(("line", "page"), {line: page for page, line in [*examples(), *help_examples()]}.items())
def test_an_example_runs(page: str, line: str, folder: Path) -> None:
    done = run(line, folder)
    assert done.code == (1 if line.endswith("# exits with 1") else 0), f"{page}: {done.errors!r}"
    said = (b"no connection to the upstream", b", recorded into ")  # of an example
    assert [one for one in done.errors.splitlines() if not any(words in one for words in said)] == []
    assert done.out or " -o " in line or " --output " in line


def test_every_command_is_documented_with_an_example() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    for name in main.commands:
        section = page.partition(f"## omnirecord {name}\n")[2].partition("\n## ")[0]
        assert f"$ omnirecord {name} " in section, name


def test_every_option_is_documented() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    for command in main.commands.values():
        for option in command.params:
            if isinstance(option, click.Option) and option.name != "help":
                assert any(name in page for name in option.opts), f"{command.name} {option.opts}"


def test_every_command_has_help_that_ends_with_an_example() -> None:
    assert {name for name, _ in help_examples()} == set(main.commands)


def test_no_link_in_the_documentation_is_broken() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", *(ROOT / folder / "README.md" for folder in FOLDERS)]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page without repeated headings."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", re.sub(r"\]\(.*?\)", "", head)).lower().replace(" ", "-") for head in heads}


def test_no_link_to_a_heading_is_broken() -> None:
    for page in [*PAGES, *(ROOT / "docs" / "doctor").glob("*.md")]:
        for path, anchor in re.findall(r"\]\(([\w./-]*)#([^)]+)\)", page.read_text()):
            assert anchor in anchors(page.parent / path if path else page), f"{page.name}: {path}#{anchor}"


def test_the_index_links_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    linked = set(re.findall(r"\]\(([\w-]+\.md)", index.read_text()))
    assert linked | {index.name} == {page.name for page in (ROOT / "docs").glob("*.md")}


def test_every_row_about_security_names_tests_that_are_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    heads = [line for line in rows if line == "| promise | test |"]
    named = [
        re.findall(r"`([\w/]*test_\w+\.py)`", row.rpartition("|")[0].rpartition("|")[2])
        for row in rows
        if row not in heads
    ]
    assert len(heads) >= 4
    assert all(named)
    there = {str(path.relative_to(ROOT / "tests")) for path in (ROOT / "tests").rglob("test_*.py")}
    assert {name for names in named for name in names} <= there


async def test_the_python_of_the_documentation_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block of docs/python.md, one after the other, against a replay in the place of the server."""
    monkeypatch.chdir(folder)
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    async with omnirecord.replay("session.jsonl", allow_no_requests=True) as upstream:
        code = "\n".join(blocks).replace("http://127.0.0.1:6767", upstream.url)
        code = code.replace('timing="instant"', 'timing="instant", allow_no_requests=True')  # its clients are `...`
        body = "async def page():\n" + "".join(f"    {line}\n" for line in code.splitlines())
        space: dict[str, Any] = {}
        exec(compile(body, "docs/python.md", "exec"), space)
        await space["page"]()
    assert len(blocks) > 5
    assert (folder / "run.db").exists()


def test_the_architecture_page_has_the_layers_that_are_checked() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## The files")[2]
    told = [set(re.findall(r"`(\w+)`", line.split("|")[1])) for line in page.splitlines() if line.startswith("| `")]
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    assert told == [set(re.split(" [|:] ", layer)) for layer in contract["layers"]]
