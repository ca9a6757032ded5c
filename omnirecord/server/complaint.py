"""Something that goes on being wrong, said when it begins, once a minute at the most, and when it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .clock import monotonic

EVERY = 60.0
"""Seconds."""

log = logging.getLogger("omnirecord")


class Complaint:
    """One kind of trouble. What comes and goes within a minute is told once, and so is its end."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._told_at: float | None = None
        self._is_told = False

    def say(self, sentence: str) -> bool:
        """It is wrong, or still is. Returns whether that is said now."""
        now = self._clock()
        if self._told_at is not None and now - self._told_at < EVERY:
            return False
        self._told_at, self._is_told = now, True
        log.warning("%s", sentence)
        return True

    def over(self, sentence: str) -> bool:
        """It is no longer. Returns whether that is said now."""
        if not self._is_told:
            return False
        self._is_told = False
        log.warning("%s", sentence)
        return True


def fault_of(error: Exception) -> str:
    """Why a step of the recording failed, in words."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    return f"a fault of omnirecord: {type(error).__name__}: {error}"
