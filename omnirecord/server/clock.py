"""The kernel's steady clock. It goes on where a test has frozen those of Python: servers of ours run beside such tests,
and a recording made beside one has its times."""

from __future__ import annotations

import time


def monotonic() -> float:
    """Seconds."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def monotonic_ns() -> int:
    """Nanoseconds, of the same clock."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
