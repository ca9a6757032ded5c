"""A contract that is chosen for each exchange by the path of its request."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ..wire.sse import Frame
from .judge import Contract, Judgement

_MOST = 1000
"""Number of paths whose contract is kept."""


class ByPath(Contract):
    """`find` returns the contract for a path. `otherwise` judges a stream for which it is None, and a single frame."""

    def __init__(self, name: str, find: Callable[[str], Contract | None], otherwise: Contract) -> None:
        super().__init__(name, otherwise.types, lambda _type, _data: (), api=otherwise.api)
        self._find, self._otherwise = lru_cache(_MOST)(find), otherwise

    def of(self, target: str) -> Contract:
        return self._find(target.partition("?")[0]) or self._otherwise

    def examine(self, frame: Frame) -> Judgement:
        return self._otherwise.examine(frame)
