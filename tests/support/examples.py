"""Cases of a test: all of them in one item, and the part of them that is tried without `--long`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import settings

SHARE = 20
"""Per cent of the examples that are tried without `--long`."""


def examples(most: int) -> int:
    """Returns `most` with `--long`, and otherwise the share of the profile that `tests/conftest.py` loads, at least
    10."""
    return max(10, most * settings.default.max_examples // 100)


def a_third(values: Iterable[Any], first: int = 0) -> list[Any]:
    """Returns all values with `--long`, and otherwise every third one, from `first` on."""
    is_long = settings.default.max_examples > SHARE
    return list(values) if is_long else list(values)[first::3]


def each(names: str | tuple[str, ...], cases: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Like `pytest.mark.parametrize`, but all cases are one item, and a failure names its case. For cases that take
    less time than an item, which costs some milliseconds in each worker. Each case has a `tmp_path` of its own, and
    shares the other fixtures."""
    keys = [one.strip() for one in names.split(",")] if isinstance(names, str) else list(names)
    several = [case if len(keys) > 1 else (case,) for case in cases]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(**others: Any) -> None:
            folder = others.get("tmp_path")
            for number, case in enumerate(several):
                if folder is not None:
                    others["tmp_path"] = folder / str(number)
                    others["tmp_path"].mkdir()
                try:
                    test(**dict(zip(keys, case, strict=True)), **others)
                except (Exception, pytest.fail.Exception) as error:
                    error.add_note(f"The case: {', '.join(map(repr, case))}")
                    raise

        signature = inspect.signature(test)
        others = [one for name, one in signature.parameters.items() if name not in keys]
        run.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return run

    return decorate
