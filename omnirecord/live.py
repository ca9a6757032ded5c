"""What a person sees while `proxy` records: a line an event, on stderr.

The lines are printed by a thread of their own, from a short queue: a terminal that is slow, or stopped with Ctrl-S,
delays neither the stream nor the recording. Lines that find the queue full are counted instead.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from .framing import Framed
from .gist import gist, visible
from .recorder import NewFrames
from .steady import monotonic

_QUEUE = 2000
_TELL_EVERY = 1.0
"""Seconds between looks whether bytes are dropped."""
_NOTHING = Text
"""In the place of a line: there is none."""
_COLOURS = {"valid": "green", "comment": "dim", "sentinel": "cyan", "unknown": "yellow"}


class Live:
    """Prints what `watch` is given, until `close`."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._queue: queue.Queue[Callable[[], Text] | None] = queue.Queue(_QUEUE)
        self._skipped = self._dropped = 0
        self.dropped: Callable[[], int] = int
        """Returns how many bytes are not kept so far, since too much waits for the disk."""
        self._last: dict[int, int] = {}
        self._thread = threading.Thread(target=self._print, name="omnirecord-live", daemon=True)
        self._thread.start()

    def watch(self, frames: NewFrames) -> None:
        """Called in a thread of the recorder, which waits for it: only puts things in the queue."""
        self._skipped += frames.left_out
        before = self._last.get(frames.stream, frames.times[0])
        for seq, (framed, at_ns) in enumerate(zip(frames.framed, frames.times, strict=True), frames.first_seq):
            try:
                self._queue.put_nowait(_line(frames.stream, seq, framed, at_ns, before))
            except queue.Full:
                self._skipped += 1
            before = at_ns
        self._last[frames.stream] = before

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join(timeout=1.0)

    def _print(self) -> None:
        told_at = monotonic()
        while (line := self._next()) is not None:
            if line is not _NOTHING:
                self._console.print(line(), no_wrap=True, overflow="ellipsis")
            if self._queue.empty():
                self._tell_skipped()
            if monotonic() - told_at >= _TELL_EVERY:
                told_at = monotonic()
                self._tell_dropped()
        self._tell_skipped()
        self._tell_dropped()

    def _next(self) -> Callable[[], Text] | None:
        try:
            return self._queue.get(timeout=_TELL_EVERY)
        except queue.Empty:
            return _NOTHING

    def _tell_dropped(self) -> None:
        dropped = self.dropped()
        if dropped > self._dropped:
            self._dropped = dropped
            told = f"… {dropped / 1e6:.1f} MB are not kept so far: too much waits for the disk"
            self._console.print(told, style="bold red")

    def _tell_skipped(self) -> None:
        if self._skipped:
            self._console.print(f"… and {self._skipped} more, recorded but too many to show", style="dim")
            self._skipped = 0


def _line(stream: int, seq: int, framed: Framed, at_ns: int, before: int) -> Callable[[], Text]:
    def line() -> Text:
        judgement = framed.judgement
        what = judgement.type or judgement.verdict
        text = Text(f"{at_ns / 1e9:9.3f}s {(at_ns - before) / 1e9:+8.3f}  {stream}.{seq:<5} ")
        text.append(f"{judgement.verdict:<9} ", style=_COLOURS.get(judgement.verdict, "bold red"))
        text.append(f"{visible(what):<34} ", style="bold")
        text.append(visible(gist(judgement.type, judgement.data)))
        for issue in judgement.issues[:3]:
            text.append(f"\n{'':>30}{visible(issue.path)}: {visible(issue.message)}", style="red")
        return text

    return line
