"""The view of a recording on the terminal of `proxy`.

A thread reads the cassette while it grows, and prints what happened. It holds nothing that a stream or the recorder
waits for. After each read it sleeps for several times as long as that took, so that it takes a small part of one
processor. When more events come than it can read, it leaves the older ones out, and says how many.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..analysis.follow import Batch, Follower, Wanted
from ..analysis.live import LiveView
from ..errors import OmnirecordError
from ..server.timers import fault_of, monotonic

if TYPE_CHECKING:
    from .screen import Screen

_EVERY = 0.1
"""Seconds between two reads, at least."""
_SHARE = 4
"""The sleep after a read, as a multiple of the read's duration."""
_LONGEST = 2.0
"""Longest sleep, in seconds."""
_MOST = 2000
"""Most new events of which a read takes all."""
_LAST = 1.0
"""Seconds that the close waits for the last lines."""
_TELL_EVERY = 1.0
"""Seconds between checks for dropped bytes."""

log = logging.getLogger("omnirecord")


class Live:
    """Watches the cassette at `db`, from now on until `close`. `dropped` returns how many bytes are not kept so far.

    `type_glob`: one line for each event of these types, and nothing else. `every`: one for each event and request.
    """

    def __init__(
        self, screen: Screen, db: Callable[[], Path], dropped: Callable[[], int], *, type_glob: str | None = None,
        every: bool = False,
    ) -> None:  # fmt: skip
        self._screen, self._db, self._count_dropped = screen, db, dropped
        self._wanted = Wanted(type=type_glob, requests=True)
        self._view = LiveView(every=every or type_glob is not None)
        self._path = db()
        self._follower = Follower(self._path, self._wanted, last=0, most=_MOST)
        self._dropped = self._left_out = 0
        self._told_at = monotonic()
        self._stop = threading.Event()
        self._is_told = False
        with suppress(OmnirecordError, OSError):
            self._read()  # skip earlier events
        self._thread = threading.Thread(target=self._run, name="omnirecord-live", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Print the rest, and end."""
        self._stop.set()
        self._thread.join(timeout=_LAST)

    def _run(self) -> None:
        while True:
            is_last = self._stop.is_set()
            begun = monotonic()
            has_more = self._show()
            if is_last and not has_more:
                break
            took = monotonic() - begun
            if not is_last:
                self._stop.wait(min(max(_EVERY, _SHARE * took), _LONGEST))
        self._screen.print(self._view.rest())
        self._tell_what_lacks()
        self._screen.clear()

    def _show(self) -> bool:
        """Print what is new; return whether there is more."""
        if monotonic() - self._told_at >= _TELL_EVERY:
            self._told_at = monotonic()
            self._tell_what_lacks()
        try:
            return self._print(self._read())
        except (OmnirecordError, OSError):  # the recorder says on stderr what is wrong with the file
            return False
        except Exception as error:  # the view must not end the recording, nor fill the terminal
            if not self._is_told:
                self._is_told = True
                log.warning("the live view does not show everything: %s", fault_of(error))
            return False

    def _print(self, batch: Batch) -> bool:
        if batch.left_out:
            self._left_out += batch.left_out
            self._view.lacks_some()
        for row in batch.happenings:
            self._screen.print(self._view.lines_of(row))
        self._screen.draw(self._view.growing(), now=True)
        return batch.has_more

    def _read(self) -> Batch:
        if self._db() != self._path:  # another file took its place
            self._path = self._db()
            self._follower = Follower(self._path, self._wanted, last=0, most=_MOST)
        return self._follower.read()

    def _tell_what_lacks(self) -> None:
        """Print how many events the view left out, and how many bytes the recording lacks."""
        if self._left_out:
            self._screen.say(f"… {self._left_out:,} events are recorded, but not shown: too many at once")
            self._left_out = 0
        dropped = self._count_dropped()
        if dropped > self._dropped:
            self._dropped = dropped
            self._screen.say(f"… {dropped / 1e6:.1f} MB are not recorded so far: the disk is too slow")
