"""Memory that a virtual machine does not give back to its host while something is measured.

Some hosts take back what a guest has freed, in blocks of some MiB (free page reporting, balloons), and have to find a
page again when it is used anew: 9 µs instead of 0.3 where that was measured, so that a new file could not be written at
more than 440 MB/s. A page that is kept of each MiB keeps the blocks from being whole, and so with the guest.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PAGE = mmap.PAGESIZE
BLOCK = 1 << 20
_TRIED = 32 * BLOCK


@contextmanager
def kept(gib: float) -> Iterator[None]:
    """Let go of so much memory, but for one page in each MiB, until the end. To get it takes a few seconds a GiB."""
    if not gib:
        yield
        return
    with _anonymous(int(gib * 1024) * BLOCK) as held:
        _touch(held)
        for start in range(0, len(held), BLOCK):
            held.madvise(mmap.MADV_DONTNEED, start + PAGE, BLOCK - PAGE)
        yield


def new_page_us() -> float:
    """Microseconds until a page is there that was not used before."""
    with _anonymous(_TRIED) as tried:
        begun = time.perf_counter()
        _touch(tried)
        return (time.perf_counter() - begun) * 1e6 / (_TRIED // PAGE)


def _anonymous(size: int) -> mmap.mmap:
    made = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel that has no large pages
        made.madvise(mmap.MADV_NOHUGEPAGE)
    return made


def _touch(memory: mmap.mmap) -> None:
    full = b"\1" * BLOCK
    for start in range(0, len(memory), BLOCK):
        memory[start : start + BLOCK] = full
