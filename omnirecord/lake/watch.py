"""Ships cassettes as recorders close them, and goes on trying while the lake fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..cassette.files import stamp_of
from ..cassette.sqlite.lock import recorder_is_alive
from ..errors import LakeError
from .ship import Shipped, Shipper

Stamp = tuple[int, list[int] | None]
"""What `stamp_of` returns."""
EVERY = 1.0
"""Seconds between two looks for closed cassettes."""
SETTLES_IN = 0.15
"""Seconds after which the time of a file shows a further change."""
AGAIN_AFTER = 1.0
AGAIN_AT_MOST = 60.0
"""Seconds between two attempts while the lake fails, the first and the longest: the time doubles."""


class Watcher:
    """Ships the cassettes that `find` returns, again and again.

    `make` returns a shipper, or raises `LakeError`. `tell` is called with each result, `say` with a sentence when the
    lake fails and when it works again. A cassette that is being recorded is waited for and is no result.
    """

    def __init__(
        self, make: Callable[[], Shipper], find: Callable[[], list[Path]], tell: Callable[[Shipped], None],
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._make, self._find, self._tell, self._say = make, find, tell, say
        self._shipper: Shipper | None = None
        self._done: dict[Path, Stamp] = {}
        self._pause = AGAIN_AFTER
        self.trouble: str | None = None
        """Why the lake fails; None if it works."""

    @property
    def left(self) -> list[Path]:
        """The closed cassettes that are not done."""
        return list(self._closed())

    @property
    def is_recorded(self) -> bool:
        """Whether one of the cassettes is being recorded."""
        return any(map(recorder_is_alive, self._find()))

    def look(self) -> float:
        """Ship what is closed; return the seconds until the next look."""
        closed = self._closed()
        settled = {path: stamp for path, stamp in closed.items() if stamp[1] is not None}
        try:
            if self._shipper is None:
                self._shipper = self._make()
            busy = {one.path for one in map(self._told, self._shipper.ship(settled)) if one.status == "busy"}
        except LakeError as error:
            return self._fails(str(error))
        self._done |= {path: stamp for path, stamp in settled.items() if path not in busy}
        self._works()
        return EVERY if len(settled) == len(closed) else SETTLES_IN

    def _told(self, one: Shipped) -> Shipped:
        is_news = one.status != "there already" or one.path not in self._done
        if one.status != "busy" and is_news:
            self._tell(one)
        return one

    def close(self) -> None:
        """Wait for what is in flight."""
        if self._shipper is not None:
            self._shipper.close()

    def _closed(self) -> dict[Path, Stamp]:
        """Return the cassettes that are not being recorded and have changed since they were shipped."""
        stamps = {path: stamp_of(path) for path in self._find()}
        return {
            path: stamp for path, stamp in stamps.items()
            if self._done.get(path) != stamp and not recorder_is_alive(path)
        }  # fmt: skip

    def _fails(self, why: str) -> float:
        if self.trouble is None:
            self._say(f"{why}; trying again")
        self.trouble = why
        pause, self._pause = self._pause, min(2 * self._pause, AGAIN_AT_MOST)
        return pause

    def _works(self) -> None:
        if self.trouble is not None:
            self._say("the lake works again")
        self.trouble, self._pause = None, AGAIN_AFTER
