"""The example project as somebody else would have it: our wheel, everything else from PyPI, and no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from omnirecord.cassette.open import open_store
from tests.end_to_end.test_cassettes import LOCAL_PATH

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "chat-client"
CASSETTES = sorted((EXAMPLE / "tests" / "cassettes").glob("*.jsonl"))
TESTS = 19
NO_NETWORK = """
import sys

def refuse(event, args):
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    if host not in ("127.0.0.1", "::1", "localhost", None):
        raise PermissionError(f"{event} to {host!r}: there is no network here")

sys.addaudithook(refuse)
"""
DIALS_OUT = """
import socket
import pytest

def test_there_is_no_network():
    with pytest.raises(PermissionError):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(PermissionError):
        socket.getaddrinfo("pypi.org", 443)
"""


def missing(what: str) -> NoReturn:
    """Skip, but for where CI runs it: there it has to be there."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what} is not there")


def run(*command: str | Path, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def uv() -> str:
    return shutil.which("uv") or shutil.which("uv", path=ROOT / ".tools" / "bin") or missing("uv")


@pytest.fixture
def python() -> str:
    """A Python that omnigent-client runs on."""
    if sys.version_info >= (3, 12):
        return sys.executable
    return next(filter(None, map(shutil.which, ("python3.13", "python3.12"))), None) or missing("Python 3.12 or newer")


@pytest.mark.slow
def test_its_tests_pass_with_our_wheel_and_without_a_network(uv: str, python: str, tmp_path: Path) -> None:
    project, venv = tmp_path / "chat-client", tmp_path / "venv"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns(".*", "__pycache__", "uv.lock"))
    run(uv, "build", "--quiet", "--wheel", ROOT, "--out-dir", tmp_path, cwd=tmp_path)
    (wheel,) = tmp_path.glob("omnirecord-*.whl")
    run(uv, "venv", "--quiet", "--python", python, venv, cwd=tmp_path)
    install = (uv, "pip", "install", "--quiet", "--python", venv, "--constraint", ROOT / "requirements-dev.lock")
    run(*install, "--no-sources", "-r", "pyproject.toml", "--group", "dev", wheel, cwd=project)

    (project / "no_network.py").write_text(NO_NETWORK)
    (project / "tests" / "test_no_network.py").write_text(DIALS_OUT)
    told = run(venv / "bin" / "python", "-m", "pytest", "-p", "no_network", "-W", "error", "-v", cwd=project)
    assert f"= {TESTS + 1} passed in" in told


def test_its_cassettes_are_valid_and_nobodys() -> None:
    assert {path.stem for path in CASSETTES} == {"turn", "approval", "reconnect", "failed"}
    for path in CASSETTES:
        assert LOCAL_PATH.search(path.read_bytes()) is None
        store = open_store(path)
        assert {verdict for stream in store.streams() for verdict in store.tally(stream)[0]} == {"valid"}
        store.close()
