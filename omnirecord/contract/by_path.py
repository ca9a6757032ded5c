"""A contract that is chosen for each exchange by the path of its request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..wire.sse import Frame
from .judge import Contract, Judgement

_MOST = 1000
"""Number of paths whose contract is kept."""


class ByPath(Contract):
    """`endings`: the contract for a path that ends with these segments, or with these and an id; made when it is first
    needed. `otherwise`: the contract for every other path, and for a frame without a request."""

    def __init__(
        self, name: str, endings: Mapping[tuple[str, ...], Callable[[], Contract]], otherwise: Contract
    ) -> None:
        super().__init__(name, otherwise.types, lambda _type, _data: (), api=otherwise.api)
        self._endings, self._otherwise = endings, otherwise
        self._chosen: dict[str, Contract] = {}

    def of(self, target: str) -> Contract:
        path = target.partition("?")[0]
        found = self._chosen.get(path)
        if found is None:
            found = self._choose(tuple(filter(None, path.split("/"))))
            if len(self._chosen) < _MOST:
                self._chosen[path] = found
        return found

    def _choose(self, segments: tuple[str, ...]) -> Contract:
        for ending, make in self._endings.items():
            if ending in (segments[-len(ending) :], segments[-len(ending) - 1 : -1]):
                return make()
        return self._otherwise

    def examine(self, frame: Frame) -> Judgement:
        return self._otherwise.examine(frame)
