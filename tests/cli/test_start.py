"""What a command imports: names, since milliseconds depend on the machine (`python -m benchmarks start` has those)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from omnirecord.cli import main
from tests.support.cassettes import HEALTHY

CODE = """
import json, os, sys
steps = json.loads(sys.argv[1])
from omnirecord.__main__ import run
shown, sys.stdout = sys.stdout, open(os.devnull, "w")
for step in steps:
    for words in step:
        sys.argv = ["omnirecord", *words]
        try:
            run()
        except SystemExit as left:
            assert left.code in (0, 1, None), (words, left)
    print(*sys.modules, file=shown)
"""
HEAVY = {
    "aiohttp", "asyncio", "brotli", "concurrent", "jiter", "jsonpath", "jsonschema_rs", "multidict", "multiprocessing",
    "pydantic", "pygments", "pytest", "rich", "sqlite3", "sqlite_utils", "ssl", "uvloop", "wsproto", "yarl",
}  # fmt: skip
"""What takes long enough to be there for a reason."""

A_CASSETTE = {"brotli", "jiter", "pydantic", "sqlite3"}
"""It is opened, and frames are judged where no recorder has done so."""


def imported(*steps: list[list[str]]) -> list[set[str]]:
    """The modules that are there after the commands of each step, all of them in one new process."""
    command = [sys.executable, "-c", CODE, json.dumps(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.splitlines()]


def heavy(modules: set[str]) -> set[str]:
    return HEAVY & {name.partition(".")[0] for name in modules}


@pytest.fixture
def cassette(tmp_path: Path) -> str:
    return str(shutil.copy(HEALTHY["text"], tmp_path / "text.jsonl"))


def added_by(code: str) -> set[str]:
    """The modules that a program imports, without those of Python's start."""
    code = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_package_imports_no_other_module_than_its_errors() -> None:
    assert {name.partition(".")[0] for name in added_by("import omnirecord")} <= {"__future__", "omnirecord"}
    assert added_by("import omnirecord") >= {"omnirecord.errors"}


def test_help_imports_click_and_two_modules() -> None:
    run = "from omnirecord.__main__ import run; sys.argv = ['omnirecord', '--help']"
    added = added_by(f"{run}\ntry: run()\nexcept SystemExit: pass\nprint(end=chr(10))")
    assert {name for name in added if name.startswith("omnirecord")} == {
        "omnirecord", "omnirecord.__main__", "omnirecord.cli", "omnirecord.cli.group", "omnirecord.errors",
    }  # fmt: skip
    assert not {"ctypes", "difflib", "json", "pathlib", "unicodedata"} & added


def test_help_imports_none_of_it_and_no_other_command() -> None:
    alone, of_ls, of_others = imported([["--help"]], [["ls", "--help"]], [["proxy", "--help"], ["show", "--help"]])
    commands = [
        {name.rpartition(".")[2] for name in one if name.startswith("omnirecord.cli.")} for one in (alone, of_ls)
    ]
    assert [one & set(main.commands) for one in commands] == [set(), {"ls"}]
    assert heavy(of_others) == set()


def test_codes_of_findings_are_imported_without_the_checks() -> None:
    command = [sys.executable, "-c", "import sys, omnirecord.analysis.doctor.checks; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not {"pydantic", "sqlite3", "omnirecord.analysis.doctor.stream"} & set(done.stdout.split())


def test_a_command_that_reads_a_db_needs_no_models_of_lines_and_events(cassette: str) -> None:
    made = f"{cassette}.db"
    reading = [[name, made] for name in ("ls", "show", "doctor", "sessions", "stats")]
    before, after = imported([["import", cassette, "--db", made]]), imported([*reading, ["search", made, "a"]])
    assert "pydantic" in before[0]
    assert "pydantic" not in after[0]


def test_a_command_imports_what_it_needs_and_nothing_more(cassette: str) -> None:
    rows = [[name, cassette] for name in ("ls", "events", "validate", "stats")]
    another_file = [
        ["export", cassette, "--format", "sse", "-o", f"{cassette}.sse"],
        ["import", cassette, "--db", f"{cassette}.db"],
        ["scrub", cassette, "--check"],
    ]
    of = [
        heavy(modules)
        for modules in imported(
            [["query", "--help"]],
            [*rows, ["search", cassette, "a"], ["diff", cassette, cassette]],
            another_file,
            [["sessions", cassette]],
            [["query", cassette, "SELECT * FROM sessions"]],
            [["show", cassette], ["doctor", cassette]],
        )
    ]
    with_query = A_CASSETTE | {"sqlite_utils"}
    assert of == [set(), A_CASSETTE, A_CASSETTE, A_CASSETTE, with_query, with_query | {"rich"}]


@pytest.mark.skipif(not PathFinder.find_spec("pandas"), reason="needs pandas")
def test_an_installed_pandas_is_imported_by_no_command(cassette: str, tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    commands = [["query", cassette, "SELECT 1"], ["lake", "init", lake], ["ship", cassette, "--lake", lake]]
    (modules,) = imported([*commands, ["lake", "sql", lake, "SELECT count(*) FROM recordings"]])
    assert "pyarrow" in modules
    assert "pandas" not in modules
