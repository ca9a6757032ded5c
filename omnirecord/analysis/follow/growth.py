"""The exchanges of a growing cassette: each as it begins, and again when it may have changed. `Tail` has the frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...cassette.sqlite import Store
from ...model import Exchange


class NewExchanges:
    """The exchanges of one file for one follower, which reads them again and again."""

    def __init__(self) -> None:
        self.open: dict[int, bool] = {}
        """The exchanges that go on, and whether only their end is of interest."""
        self._last = 0

    def skip(self, store: Store, *, but: Iterable[int] = ()) -> None:
        """Skip the exchanges that are in the file, except `but`."""
        self._last = store.newest()
        self.open = dict.fromkeys(but, False)

    def look(self, store: Store) -> Iterator[tuple[Exchange, bool]]:
        """Yield the new and the changed exchanges, each with whether it is over."""
        for x in store.newer(self._last, self._changed(store)):
            self._last = max(self._last, x.exchange)
            # `[DONE]` is in the file before the end of its exchange.
            goes_on = x.end_ns is None and (x.ending == "open" or (x.ending == "done" and store.is_being_recorded))
            if goes_on:
                self.open.setdefault(x.exchange, False)
            else:
                self.open.pop(x.exchange, None)
            yield x, not goes_on

    def wait_for_end(self, exchange: int) -> None:
        """Read an open exchange again only at its end."""
        self.open[exchange] = True

    def _changed(self, store: Store) -> list[int]:
        if not store.is_being_recorded:
            return list(self.open)
        waited_for = [number for number, is_settled in self.open.items() if is_settled]
        return [number for number, is_settled in self.open.items() if not is_settled] + store.ended(waited_for)
