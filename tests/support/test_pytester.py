"""What a suite leaves behind that `pytester` runs in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support.pytest_suite import OPTIONS

pytest_plugins = ["pytester"]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed module that this process has not imported. After the test, it has to be the one of the suite."""
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    yield "colorsys"
    assert hasattr(sys.modules["colorsys"], "seen")


def test_an_installed_module_that_a_suite_imports_first_is_not_imported_again(
    installed: str, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_it=f"import {installed}\n\ndef test_it(): {installed}.seen = True")
    pytester.runpytest_inprocess(*OPTIONS).assert_outcomes(passed=1)
    assert hasattr(sys.modules[installed], "seen")
    assert "test_it" not in sys.modules
