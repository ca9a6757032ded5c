"""Whether a stream is alive, and whether anything happens on it.

A server that is alive sends something every 15 s at least, if only a heartbeat. A session that runs and of which
nothing but heartbeats comes is silent. A raw body that was imported has no times, and nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .event import HEARTBEATS, SECOND, Event, Group, Place, counted, seconds, sign_at
from .finding import Severity, Sign

LATE = 22 * SECOND
"""A heartbeat is late when nothing came for this long: half of another interval."""
STOPPED = 44 * SECOND
"""The web UI reconnects after 45 s without a byte: a stream that is quiet for about that long is dead."""
SILENT = 30 * SECOND
"""A silence that is worth a word: two heartbeats, and nothing else."""
QUIET = 20 * SECOND
"""How long nothing but a heartbeat came, where nobody knows whether it would have gone on."""
LONG = 60 * SECOND
"""A model may think for as long as this."""
_MOST = 20


class Silence(NamedTuple):
    before: Place
    after: Place
    heartbeats: int
    waits_for: str | None


class Pulse:
    """When the frames of one stream came."""

    def __init__(self, begun_ns: int = 0, *, beats: bool) -> None:
        """`begun_ns`: when the response began; `beats`: whether heartbeats are to be expected."""
        self._begun_ns = begun_ns
        self._beats = beats
        self.last: Place | None = None
        """The last frame of any kind."""
        self.active: Place | None = None
        """The last one that was no heartbeat."""
        self.heartbeats = 0
        """How many came since then."""
        self.runner_ns = 0
        """When the runner last gave a heartbeat: those of a response are its own, those of a session the server's."""
        self._late = Group()
        self._longest = 0
        self.silences: list[Silence] = []

    def frame(self, event: Event) -> None:
        """Any frame at all."""
        quiet = event.at_ns - (self.last.at_ns if self.last is not None else self._begun_ns)
        if quiet > LATE:
            self._late.add(event)
            self._longest = max(self._longest, quiet)
        self.last = event.place
        if event.type in HEARTBEATS:
            self.heartbeats += 1
            if event.type == "response.heartbeat":
                self.runner_ns = event.at_ns

    def happened(self, event: Event, waits_for: str | None, *, works: bool) -> None:
        """Something that is no heartbeat. `works`: the session was said to run until then."""
        before = self.active
        if works and before is not None and event.at_ns - before.at_ns > SILENT and len(self.silences) < _MOST:
            self.silences.append(Silence(before, event.place, self.heartbeats, waits_for))
        self.active, self.heartbeats = event.place, 0

    def signs(self, end_ns: int | None) -> Iterator[Sign]:
        """`end_ns`: until when somebody listened; None where nobody knows."""
        if self._beats and self._late.count:
            times = counted(self._late.count, "time")
            message = f"heartbeats are due every 15 s, but {times} no event came for up to {seconds(self._longest)}"
            severity: Severity = "warning" if self._longest < STOPPED else "error"
            yield self._late.sign("heartbeats-late", message, severity=severity)
        yield from map(_silent, self.silences)
        if self._beats and self.last and end_ns is not None and end_ns - self.last.at_ns > LATE:
            yield self._stopped(self.last, end_ns)

    def _stopped(self, last: Place, end_ns: int) -> Sign:
        quiet = end_ns - last.at_ns
        message = f"for the last {seconds(quiet)} of the stream no event came, not even a heartbeat"
        severity: Severity = "error" if quiet > STOPPED else "warning"
        return sign_at("heartbeats-stopped", message, [last], until_ns=end_ns, severity=severity)


def _silent(silence: Silence) -> Sign:
    """An approval or a tool that takes its time is told of elsewhere, and no more than a note."""
    quiet = silence.after.at_ns - silence.before.at_ns
    why = {None: "", "approval": ", waiting for an approval"}.get(
        silence.waits_for, f", waiting for {silence.waits_for}"
    )
    message = (
        f"nothing but {counted(silence.heartbeats, 'heartbeat')} came for {seconds(quiet)} while the session ran{why}"
    )
    severity: Severity = "note" if silence.waits_for or quiet < LONG else "warning"
    return sign_at("silent-while-running", message, [silence.before, silence.after], severity=severity)
