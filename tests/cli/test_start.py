"""What a command imports: names, since milliseconds depend on the machine (`python -m benchmarks start` has those)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from omnirecord.cli import main
from tests.support.cassettes import HEALTHY

CODE = """
import json, os, sys
from omnirecord.cli import main
shown, sys.stdout = sys.stdout, open(os.devnull, "w")
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as left:
        assert left.code in (0, 1, None), (words, left)
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=shown)
"""
HEAVY = {
    "aiohttp", "asyncio", "brotli", "concurrent", "jiter", "jsonpath", "jsonschema_rs", "multidict", "multiprocessing",
    "pydantic", "pygments", "pytest", "rich", "sqlite3", "sqlite_utils", "ssl", "uvloop", "wsproto", "yarl",
}  # fmt: skip
"""What takes long enough to be there for a reason."""

A_CASSETTE = {"brotli", "jiter", "pydantic", "sqlite3"}
"""It is opened, and frames are judged where no recorder has done so."""


def imported(*commands: list[str]) -> set[str]:
    """What of that is there once these commands have run, in a process of their own."""
    command = [sys.executable, "-c", CODE, json.dumps(commands)]
    return HEAVY & set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.fixture
def cassette(tmp_path: Path) -> str:
    return str(shutil.copy(HEALTHY["text"], tmp_path / "text.jsonl"))


def test_help_imports_none_of_it() -> None:
    assert imported(["--help"], ["proxy", "--help"], ["show", "--help"]) == set()


@pytest.mark.parametrize(("words", "commands"), [(["--help"], set()), (["ls", "--help"], {"ls"})])
def test_a_command_imports_no_other_command(words: list[str], commands: set[str]) -> None:
    code = f"import sys; from omnirecord.cli import main; main({words}, standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name.rpartition(".")[2] for name in done.stdout.split() if name.startswith("omnirecord.cli.")}
    assert modules & set(main.commands) == commands


def test_the_codes_of_findings_are_imported_without_the_checks() -> None:
    code = "import sys; import omnirecord.analysis.codes; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydantic", "sqlite3", "omnirecord.analysis.doctor.stream"} & set(done.stdout.split())


def test_what_prints_rows_imports_what_reads_a_cassette_and_nothing_more(cassette: str) -> None:
    rows = [[name, cassette] for name in ("ls", "events", "validate", "stats")]
    assert imported(*rows, ["search", cassette, "a"], ["diff", cassette, cassette]) == A_CASSETTE


def test_sqlite_utils_is_imported_by_query_alone(cassette: str) -> None:
    query = ["query", cassette, "SELECT * FROM sessions"]
    theirs = {"sqlite_utils", *(["concurrent"] if find_spec("pandas") else [])}  # it imports an installed pandas
    assert imported(query) - theirs == A_CASSETTE
    assert "sqlite_utils" not in imported(["query", "--help"], ["sessions", cassette])


@pytest.mark.skipif(not find_spec("pandas"), reason="needs pandas")
def test_an_installed_pandas_is_imported_by_no_command(cassette: str, tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    commands = [["query", cassette, "SELECT 1"], ["lake", "init", lake], ["ship", cassette, "--lake", lake]]
    for words in (*commands, ["lake", "sql", lake, "SELECT count(*) FROM recordings"]):
        command = [sys.executable, "-X", "importtime", "-m", "omnirecord", *words]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        assert "pandas." not in told, words


def test_what_makes_another_file_of_a_cassette_imports_nothing_more_either(cassette: str) -> None:
    export = ["export", cassette, "--format", "sse", "-o", f"{cassette}.sse"]
    assert (
        imported(export, ["import", cassette, "--db", f"{cassette}.db"], ["scrub", cassette, "--check"]) == A_CASSETTE
    )


def test_what_tells_a_story_imports_what_draws_it_too(cassette: str) -> None:
    assert imported(["show", cassette], ["doctor", cassette]) == A_CASSETTE | {"rich"}
