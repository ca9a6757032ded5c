"""`import omnirecord`: what is there, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import omnirecord
from omnirecord import errors
from tests.support.examples import each

HEAVY = {"aiohttp", "pydantic", "sqlite3", "sqlite_utils", "rich", "click", "asyncio", "jsonschema_rs"}


def test_all_is_sorted_and_is_what_can_be_imported() -> None:
    assert omnirecord.__all__ == sorted(omnirecord.__all__)
    assert all(getattr(omnirecord, name) is not None for name in omnirecord.__all__)


def test_every_error_is_exported_and_is_one_of_ours() -> None:
    ours = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert ours <= set(omnirecord.__all__)
    assert all(issubclass(getattr(errors, name), omnirecord.OmnirecordError) for name in ours)


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, omnirecord; print(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) & HEAVY == set()


def test_help_imports_no_server_and_no_model() -> None:
    code = (
        "import sys, omnirecord.cli as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sorted(m for m in sys.modules if '.' not in m))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Usage:" in out
    assert set(out.splitlines()[-1].split()) & {"aiohttp", "pydantic", "sqlite3", "rich"} == set()


@each("name", ["record", "replay", "open_cassette", "validate", "diff", "doctor", "stats"])
def test_each_way_in_says_what_it_raises(name: str) -> None:
    assert "raises" in (getattr(omnirecord, name).__doc__ or "").lower()
