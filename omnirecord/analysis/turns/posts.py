"""The messages that clients posted, until each is found to be part of a turn. Every look-up takes constant time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from .client_actions import Act


class Posts:
    """Iterating gives what is not part of a turn, oldest first."""

    def __init__(self, acts: Iterable[Act] = ()) -> None:
        self._left: dict[int, Act] = {}
        self._claimed: set[int] = set()
        self._by_item: dict[str, int] = {}
        self._by_text: dict[str, deque[int]] = {}
        for number, act in enumerate(sorted((act for act in acts if act.kind == "message"), key=lambda act: act.at_ns)):
            self.add(number, act)

    def add(self, number: int, act: Act) -> None:
        """One that was posted; what was added under that number before is known better now."""
        if number in self._claimed:
            return
        if number not in self._left:
            self._by_text.setdefault(act.text, deque()).append(number)
        self._left[number] = act
        if act.item_id is not None:
            self._by_item[act.item_id] = number

    def __iter__(self) -> Iterator[Act]:
        return iter(self._left.values())

    def claim(self, text: str | None, at_ns: int, item_id: str | None = None) -> Act | None:
        """The one that posted this, before `at_ns`: by its item, else by its text; the oldest, for no text."""
        by_item = self._by_item.get(item_id or "")
        if by_item in self._left:
            return self._taken(by_item)
        number = next(iter(self._left), None) if text is None else self._oldest(text)
        if number is None or self._left[number].at_ns > at_ns:
            return None
        return self._taken(number)

    def _taken(self, number: int) -> Act:
        self._claimed.add(number)
        return self._left.pop(number)

    def _oldest(self, text: str) -> int | None:
        numbers = self._by_text.get(text, deque())
        while numbers and numbers[0] not in self._left:
            numbers.popleft()
        return numbers[0] if numbers else None
