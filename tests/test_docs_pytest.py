"""docs/pytest.md is true: its files are written, its commands are run, in the order of the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import omnirecord
from omnirecord.testing.settings import KEYS
from tests.pytest_suite import OPTIONS

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "pytest.md").read_text()
STEP = re.compile(r"```python\n# (\S+)\n(.*?)```|^\$ pytest (.+?)$", re.DOTALL | re.MULTILINE)


def test_the_trip_from_nothing_to_a_faulted_test_can_be_made(pytester: pytest.Pytester) -> None:
    """The server that is recorded from is a replay of the session that the page was written with."""
    pytester.syspathinsert()
    runs = 0
    with omnirecord.replay(ROOT / "cassettes" / "text.jsonl", timing="instant") as upstream:
        for name, code, command in STEP.findall(PAGE):
            if name:
                (pytester.path / name).write_text(code)
            else:
                words = shlex.split(command.replace("http://127.0.0.1:6767", upstream.url))
                result = pytester.runpytest_inprocess(*OPTIONS, *words)
                assert result.ret == 0
                runs += 1
            if "upstream" in command:
                asked = len(upstream.requests)
        assert len(upstream.requests) == asked > 0  # never again after it was recorded
    assert runs == 4
    kept = pytester.path / "cassettes" / "test_answers" / "test_an_answer_comes_whole.jsonl"
    assert str(kept.relative_to(pytester.path)) in PAGE
    assert kept.exists()


def test_every_keyword_option_and_fixture_is_on_the_page() -> None:
    names = ["record", "upstream", "cassettes", "timing"]
    for word in [*KEYS, *(f"--omnirecord-{one}" for one in names), *(f"omnirecord_{one}" for one in names)]:
        assert f"`{word}`" in PAGE, word
    for button in ("pause", "play", "set_speed", "step", "run_until", "jump", "position", "reset"):
        assert f"`{button}(" in PAGE, button
