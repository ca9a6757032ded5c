"""The number of examples that Hypothesis tries in a test."""

from __future__ import annotations

from hypothesis import settings

SHARE = 30
"""Per cent of the examples that are tried without `--long`."""


def examples(most: int) -> int:
    """Returns `most` with `--long`, and otherwise the share of the profile that `tests/conftest.py` loads, at least
    10."""
    return max(10, most * settings.default.max_examples // 100)
