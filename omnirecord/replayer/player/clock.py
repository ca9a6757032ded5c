"""Played time: it goes by at a speed, and can be stopped. Pure: `now` is told, in ns on any steady clock."""

from __future__ import annotations


class Clock:
    """Stands at 0 until it is first set. `speed`: played ns for each ns of `now`."""

    def __init__(self, speed: float = 1.0, *, paused: bool = False) -> None:
        self.speed = speed
        self.paused = paused
        self._anchor: tuple[int, int] | None = None  # (now, played), from which time goes by

    @property
    def started(self) -> bool:
        return self._anchor is not None

    @property
    def set_at(self) -> int:
        """The played time at which it was last set."""
        return self._anchor[1] if self._anchor else 0

    def at(self, now: int) -> int:
        """Played ns."""
        if self._anchor is None:
            return 0
        since, played = self._anchor
        return played if self.paused else played + int(max(0, now - since) * self.speed)

    def set(self, played: int, now: int) -> None:
        self._anchor = now, played

    def lasts(self, played: int) -> int:
        """How long so much played time takes, in ns of `now`."""
        return int(played / self.speed)
