"""The documented lines of shell completion, in the shells themselves where they are installed."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from omnirecord.cassette.open import open_store
from omnirecord.cassette.select import session_ids
from omnirecord.cli import main

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "commands.md").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a cassette, and an `omnirecord` on PATH."""
    program = tmp_path / "bin" / "omnirecord"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom omnirecord.cli import main\n\nmain()\n")
    program.chmod(0o755)
    (tmp_path / "recorded-session.jsonl").write_bytes((ROOT / "cassettes" / "text.jsonl").read_bytes())
    return tmp_path


def session_of(cassette: Path) -> str:
    with closing(open_store(cassette)) as store:
        (session,) = session_ids(store)
    return session


def environment(folder: Path) -> dict[str, str]:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    python_path = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONPATH": python_path, "TERM": "dumb", "PS1": "$ "}


def documented(shell: str) -> str:
    """The line that the page gives for a shell."""
    found = re.search(rf"^\| {shell}.*\| `([^|`]*(?:\\\|[^|`]*)?)` \|$", PAGE, re.MULTILINE)
    assert found is not None
    return found[1].replace("\\|", "|")


def test_readme_has_the_line_for_bash_too() -> None:
    assert documented("bash") in (ROOT / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_line_of_each_shell_runs(shell: str, folder: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    before = "autoload -Uz compinit && compinit -u\n" if shell == "zsh" else ""
    done = subprocess.run(
        [shell, "-c", f"{before}{documented(shell)}\necho ready"], env=environment(folder), cwd=folder, timeout=60,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("ready\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str) -> None:
    environment = {"_OMNIRECORD_COMPLETE": f"{shell}_source"}
    done = CliRunner().invoke(main, [], prog_name="omnirecord", env=environment)
    assert done.exit_code == 0
    assert f"_OMNIRECORD_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.slow
def test_the_tab_key_completes_commands_options_and_files_in_bash(folder: Path) -> None:
    ours, its = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"], stdin=its, stdout=its, stderr=its, env=environment(folder), cwd=folder,
        start_new_session=True,
    )  # fmt: skip
    os.close(its)
    said, session = "", session_of(folder / "recorded-session.jsonl")

    def until(text: str) -> None:
        nonlocal said
        deadline = time.monotonic() + 60
        while text not in said:
            assert time.monotonic() < deadline, said
            if select.select([ours], [], [], 0.5)[0]:
                said += os.read(ours, 65536).decode()

    try:
        os.write(ours, f"{documented('bash')}; echo re''ady\n".encode())
        until("ready")
        for typed, completed in (
            ("omnirecord valid", "omnirecord validate "),
            ("omnirecord proxy --upst", "omnirecord proxy --upstream "),
            ("omnirecord show recor", "omnirecord show recorded-session.jsonl"),
            ("omnirecord doctor recorded-session.jsonl#", f"omnirecord doctor recorded-session.jsonl#{session} "),
        ):
            os.write(ours, f"{typed}\t".encode())
            until(completed)
            os.write(ours, b"\x15")  # forget the line
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
