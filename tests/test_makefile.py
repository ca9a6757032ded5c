"""`PYTHON=` decides which Python the environment of `make` has. The classifiers name the Pythons that CI runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UV = """#!/bin/sh
# Makes .venv on the command behind --python. There is no Python 3.13.
while [ "$1" != --python ]; do shift; done
[ "$2" != 3.13 ] && mkdir -p .venv/bin && ln -sf "$2" .venv/bin/python
"""
PYTHON = """#!/bin/sh
case "$2" in *base_prefix*) echo {name} ;; *sys.executable*) echo "$0" ;; *version_info*) {test} ;; esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile, with stand-ins for uv and for Pythons."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "requirements-dev.lock").touch()
    texts = {name: PYTHON.format(name=name, test="true") for name in ("python3", "other")}
    for name, text in {**texts, "uv": UV, "old": PYTHON.format(name="old", test="false")}.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return tmp_path


def venv_of(checkout: Path, *words: str, **environment: str) -> tuple[str, str]:
    """Make .venv; return the name of its Python, and what make prints."""
    around = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS", "MAKELEVEL")}
    around["PATH"] = f"{checkout / 'bin'}:{around['PATH']}"
    done = subprocess.run(
        ["make", ".venv/bin/python", *words],
        cwd=checkout,
        env={**around, **environment},
        capture_output=True,
        text=True,
    )
    python = checkout / ".venv" / "bin" / "python"
    return python.resolve().name if python.exists() else "", done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_given_python_is_the_one_of_the_environment(checkout: Path) -> None:
    other = str(checkout / "bin" / "other")
    python, said = venv_of(checkout)
    assert python == "python3"
    assert "no Python 3.13 to be had: taking python3" in said
    python, said = venv_of(checkout, f"PYTHON={other}")
    assert python == "other"
    assert f".venv is on another Python than {other}" in said
    assert "3.13" not in said
    assert venv_of(checkout, f"PYTHON={other}") == ("other", "make: '.venv/bin/python' is up to date.\n")
    assert venv_of(checkout) == ("other", "make: '.venv/bin/python' is up to date.\n")
    assert venv_of(checkout, PYTHON=str(checkout / "bin" / "python3"))[0] == "python3"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("name", ["old", "missing"])
def test_a_python_that_cannot_be_used_is_a_sentence(name: str, checkout: Path) -> None:
    python, said = venv_of(checkout, f"PYTHON=bin/{name}")
    assert python == ""
    assert said == f"bin/{name} is no Python >= 3.11: name one with PYTHON=COMMAND\n"


def test_the_classifiers_name_the_pythons_that_ci_runs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {one.rpartition(" ")[2] for one in project["classifiers"] if re.search(r"Python :: \d\.\d+$", one)}
    run = (ROOT / ".ci" / "run").read_text().splitlines()
    assert {"make test", "make test-python"} <= set(run)
    (newest,) = re.findall(r"venv .*--python (3\.\d+) \.venv", (ROOT / "Makefile").read_text())
    assert named == {project["requires-python"].removeprefix(">="), newest}
