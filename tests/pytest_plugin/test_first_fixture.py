"""What the first `omnirecord_server` of a run imports: names, since milliseconds depend on the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from omnirecord.cassette.open import import_file
from tests.support.cassettes import HEALTHY

TEST = """
import sys
from pathlib import Path

import pytest


@pytest.mark.omnirecord("talk{suffix}", allow_no_requests=True)
def test_it(omnirecord_server):
    Path("modules").write_text(" ".join(sys.modules))
"""
NOT_NEEDED = (
    "jsonpath", "jsonschema_rs", "multiprocessing", "omnirecord.analysis", "omnirecord.contract.base",
    "omnirecord.omnigent.contract", "omnirecord.recorder", "rich", "sqlite_utils", "uvloop", "wsproto",
)  # fmt: skip
"""The recorder, the models of events and the analyses, and what they import."""
OF_JSONL = ("omnirecord.cassette.jsonl", "pydantic")


@pytest.mark.parametrize(("suffix", "more"), [(".jsonl", ()), (".db", OF_JSONL)])
def test_a_replay_imports_no_recorder_no_models_of_events_and_no_analysis(
    suffix: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "cassettes").mkdir()
    cassette = tmp_path / "cassettes" / f"talk{suffix}"
    if suffix == ".jsonl":
        shutil.copy(HEALTHY["text"], cassette)
    else:
        import_file(HEALTHY["text"], cassette)
    (tmp_path / "test_it.py").write_text(TEST.format(suffix=suffix))
    command = [sys.executable, "-m", "pytest", "-p", "omnirecord.pytest_plugin", "-p", "no:cacheprovider"]
    without_others = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run(command, cwd=tmp_path, env=without_others, check=True, capture_output=True)
    modules = (tmp_path / "modules").read_text().split()
    assert "aiohttp" in modules
    unneeded = (*NOT_NEEDED, *more)
    assert [name for name in modules if any(name == one or name.startswith(f"{one}.") for one in unneeded)] == []
