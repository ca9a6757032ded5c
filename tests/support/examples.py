"""The part of the examples and of the cases that is tried without `--long`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings

SHARE = 30
"""Per cent of the examples that are tried without `--long`."""


def examples(most: int) -> int:
    """Returns `most` with `--long`, and otherwise the share of the profile that `tests/conftest.py` loads, at least
    10."""
    return max(10, most * settings.default.max_examples // 100)


def a_third(values: Iterable[Any], first: int = 0) -> list[Any]:
    """Returns all values as parameters of a test. Without `--long`, every third one is tested, from `first` on."""
    return [one if n % 3 == first else pytest.param(one, marks=pytest.mark.long) for n, one in enumerate(values)]
