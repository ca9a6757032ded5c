"""Waits in a replay: until a part is due, at closed gates, and while paused.

A long wait inserts heartbeats, is logged, and ends after `--skip-gates-after`. `player` decides when a part is due.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

from ..errors import ServerError
from ..server.timers import Timers, wake
from .player import Answering, Playing
from .player.timeline import NS, Gate, Timeline

log = logging.getLogger("omnirecord")

HEARTBEAT_EVERY = 15.0
"""Seconds of silence before a heartbeat is inserted: clients take 45 s without a byte for a dead stream."""
REPORT_AFTER = 5.0
"""Seconds at a gate after which the wait is logged."""

Beat = Callable[[], Awaitable[None]]
"""Inserts a heartbeat; called after each `HEARTBEAT_EVERY` of silence."""


class Waiting:
    """All waits of one replay. `now` returns the kernel's monotonic clock, in ns."""

    def __init__(self, now: Callable[[], int], skip_gates_after: float | None) -> None:
        self._now = now
        self._skip_gates_after = skip_gates_after
        self._sleepers: set[asyncio.Future[None]] = set()
        self._timers = Timers()
        self._reported: Counter[str] = Counter()
        self._at_gates: list[tuple[Gate, Timeline]] = []
        self._timed = 0  # number of waits for a known time
        self._stopped = False

    @property
    def reported(self) -> list[str]:
        """The requests of waits that were logged and still last."""
        return list(+self._reported)

    @property
    def awaited(self) -> str | None:
        """The request that every response waits for. None while any response waits for a time, a playhead is paused, or
        no response waits at a gate."""
        if self._timed or any(timeline.paused for _, timeline in self._at_gates):
            return None
        return next((gate.what for gate, _ in self._at_gates if not gate.open), None)

    def announce(self) -> None:
        """Wake all waits after a change: a gate may have opened, a playhead may have moved."""
        sleepers, self._sleepers = self._sleepers, set()
        for sleeper in sleepers:
            wake(sleeper)

    async def until_due(self, what: Playing | Answering, beat: Beat | None = None) -> None:
        """Wait until the next part, or the answer, may be sent."""
        quiet_since = self._now()
        while (due := what.due(now := self._now())) is None or due > now:
            if due is not None:
                await self._changed(at_ns=due)
                continue
            gate = what.waits_for()
            if gate is not None and what.timeline is not None:
                await self._at(gate, what.timeline, beat)
            else:
                quiet_since = await self._held(quiet_since, beat)

    async def sleep_until(self, due: int) -> None:
        """Wait for a time, in ns, whatever changes meanwhile."""
        await asyncio.sleep(max(0, due - self._now()) / NS)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for a condition that `announce` may change. Raises `ServerError` after the server has stopped."""
        while not is_so():
            if self._stopped:
                raise ServerError("the replay was stopped, nothing comes any more")
            await self._changed()

    def stop(self) -> None:
        self._stopped = True
        self.announce()
        self._timers.close()

    async def _changed(self, seconds: float | None = None, at_ns: int | None = None) -> None:
        """Wait for a change, at most for about so many seconds, or until a precise time, in ns."""
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, wake, sleeper)
        if at_ns is not None:
            self._timers.wake(sleeper, at_ns)
        self._timed += at_ns is not None
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            self._sleepers.discard(sleeper)
            self._timed -= at_ns is not None
            if timer is not None:
                timer.cancel()

    async def _held(self, quiet_since: int, beat: Beat | None) -> int:
        """Wait for a change, at most until the next heartbeat. Return the start of the silence, in ns."""
        left = HEARTBEAT_EVERY - (self._now() - quiet_since) / NS
        if left <= 0:
            if beat is not None:
                await beat()
            return self._now()
        await self._changed(left)
        return quiet_since

    async def _at(self, gate: Gate, timeline: Timeline, beat: Beat | None) -> None:
        place = gate, timeline
        self._at_gates.append(place)
        try:
            skip = partial(self._skip, gate, timeline)
            with self._reporting(gate), _after(self._skip_gates_after, skip):
                quiet_since = self._now()
                while not gate.open:
                    quiet_since = await self._held(quiet_since, beat)
        finally:
            self._at_gates.remove(place)

    @contextmanager
    def _reporting(self, gate: Gate) -> Iterator[None]:
        """Log a long wait for a gate, once for all clients that wait for it."""
        what = f"{gate.what} (recorded at {gate.at_ns / NS:.1f} s)"
        reported = False

        def report() -> None:
            nonlocal reported
            reported = True
            if not self._reported[what]:
                log.warning("waiting for %s", what)
            self._reported[what] += 1

        with _after(REPORT_AFTER, report):
            try:
                yield
            finally:
                self._reported[what] -= reported

    def _skip(self, gate: Gate, timeline: Timeline) -> None:
        """Open a gate without its request."""
        if not gate.open:
            log.warning("went on without %s: --skip-gates-after is over", gate.what)
            timeline.open(gate, self._now())
            self.announce()


@contextmanager
def _after(seconds: float | None, call: Callable[[], None]) -> Iterator[None]:
    """Call `call` after so many seconds, unless the block ends before; None: never."""
    timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, call)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
