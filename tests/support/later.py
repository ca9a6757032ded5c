"""Packages that few test files need and that take long to import. Each worker of pytest-xdist collects all files."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest

_ASKED = frozenset({"_mock_name", "__bases__", "__test__", "__wrapped__"})
"""Attributes that pytest looks for in each value of a test module."""


class _Later:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name in _ASKED:
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)


def later(name: str, reason: str | None = None) -> Any:
    """Return a module that is imported when a test uses it. Without its package, the calling test file is skipped."""
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(reason or f"could not import {package!r}", allow_module_level=True)
    return _Later(name)
