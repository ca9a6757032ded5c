"""The view of a recording on the terminal of `proxy`, and the output that it shares with `tail`.

`Screen` prints final lines, and on a terminal one line below them that still changes. The changing line is drawn
without a line end, and the cursor returns to its start, so that other output overwrites it. Output that is no terminal
gets only final lines, without control characters.

In `Live`, a thread reads the cassette after each commit, at most four times a second, and prints what happened. It
sleeps while nothing is new. It holds nothing that a stream or the recorder waits for. After each read it sleeps for
several times as long as that took, so that it takes a small part of one processor. When more events come than a person
can read, it leaves the older ones out, and says how many.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from ..analysis.follow import Batch
from ..analysis.follow.rows import Wanted, rows_of
from ..analysis.listing import Row
from ..analysis.live import Line, LiveView
from ..errors import OmnirecordError
from ..server.timers import fault_of, monotonic
from ..text import visible
from .common import console
from .stderr import write_all
from .styles import STYLES

_WIDEST = 120
"""Columns that a line uses at most."""
_DRAW_EVERY = 0.1
"""Seconds between two drawings of a line that grows."""
_ERASE = Control((ControlType.ERASE_IN_LINE, 2))


class _Unbuffered:
    """A file that writes to a descriptor itself: a thread that hangs in it does not keep the process from ending."""

    encoding = "utf-8"

    def __init__(self, file: IO[str]) -> None:
        self._fd = file.fileno()
        self._is_terminal = file.isatty()
        self._encoding = getattr(file, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        with suppress(BrokenPipeError):
            write_all(self._fd, text.encode(self._encoding, "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Nothing is held."""

    def isatty(self) -> bool:
        return self._is_terminal

    def fileno(self) -> int:
        return self._fd


class Screen:
    """Prints on stdout, or with `stderr` there, unbuffered. `clear` may be called by any thread."""

    def __init__(self, *, stderr: bool = False) -> None:
        self._console = console(stderr=stderr)
        if stderr:
            with suppress(OSError, ValueError, AttributeError):
                self._console.file = _Unbuffered(self._console.file)  # type: ignore[assignment]
        self._grows = self._console.is_terminal and not self._console.is_dumb_terminal
        self._lock = threading.RLock()
        self._drawn_at = 0.0
        self._is_drawn = False

    @property
    def _width(self) -> int | None:
        return min(self._console.width - 1, _WIDEST) if self._console.is_terminal else None

    def print(self, lines: Iterable[Line]) -> None:
        width = self._width
        made = [Text(line, style=STYLES[told.kind]) for told in lines for line in told.lines(width)]
        if made:
            self._print(Text("\n").join(made))

    def say(self, sentence: str) -> None:
        """A sentence about the view itself."""
        self._print(Text(visible(sentence), style="dim"))

    def _print(self, text: Text) -> None:
        with self._lock, self._console:
            self._erase()
            self._console.print(text, soft_wrap=True)

    def draw(self, told: Line | None, *, now: bool = False) -> None:
        """Show the line that grows, ten times a second at most; at once with `now`."""
        if not self._grows or not (now or monotonic() - self._drawn_at >= _DRAW_EVERY):
            return
        with self._lock, self._console:
            self._drawn_at = monotonic()
            self._erase()
            if told is not None:
                text = Text(told.line(self._width), style=STYLES[told.kind])
                self._console.print(text, soft_wrap=True, end="\r")
                self._is_drawn = True

    def clear(self) -> None:
        """Take away the line that grows."""
        with self._lock, self._console:
            self._erase()

    def _erase(self) -> None:
        if self._is_drawn:
            self._console.control(_ERASE)
            self._is_drawn = False


_EVERY = 0.25
"""Seconds between two reads, at least."""
_SHARE = 100
"""The sleep after a read, as a multiple of its CPU time."""
_LONGEST = 2.0
"""Longest sleep after a read, in seconds."""
_MOST = 100
"""Most new events of which a read takes all: more in a second than a person can read."""
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
        self,
        screen: Screen,
        db: Callable[[], Path],
        dropped: Callable[[], int],
        *,
        type_glob: str | None = None,
        every: bool = False,
    ) -> None:
        self._screen = screen
        self._db = db
        self._count_dropped = dropped
        self._wanted = Wanted(type=type_glob, requests=True)
        self._view = LiveView(every=every or type_glob is not None)
        self._path = db()
        self._follower = rows_of(self._path, self._wanted, last=0, most=_MOST)
        self._dropped = self._left_out = 0
        self._told_at = monotonic()
        self._stop = threading.Event()
        self._news = threading.Event()
        self._is_told = False
        with suppress(OmnirecordError, OSError):
            self._read()  # skip earlier events
        self._thread = threading.Thread(target=self._run, name="omnirecord-live", daemon=True)
        self._thread.start()

    def announce(self) -> None:
        """Wake the view: the cassette has new rows. Any thread may call it."""
        self._news.set()

    def close(self) -> None:
        self._stop.set()
        self._news.set()
        self._thread.join(timeout=_LAST)

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            is_last = self._stop.is_set()
            begun = time.thread_time()
            has_more = self._show()
            if is_last and not has_more:
                break
            if has_more:
                self._news.set()
            took = time.thread_time() - begun
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
            batch = self._read()
            if batch.left_out:
                self._left_out += batch.left_out
                self._view.lacks_some()
            self._screen.print([one for row in batch.rows for one in self._view.lines_of(row)])
            self._screen.draw(self._view.growing(), now=True)
            return batch.has_more
        except (OmnirecordError, OSError):  # the recorder says on stderr what is wrong with the file
            return False
        except Exception as error:  # the view must not end the recording, nor fill the terminal
            if not self._is_told:
                self._is_told = True
                log.warning("the live view does not show everything: %s", fault_of(error))
            return False

    def _read(self) -> Batch[Row]:
        if self._db() != self._path:  # another file took its place
            self._path = self._db()
            self._follower = rows_of(self._path, self._wanted, last=0, most=_MOST)
        return self._follower.read()

    def _tell_what_lacks(self) -> None:
        """Print how many events the view left out, and how many bytes the recording lacks."""
        if self._left_out:
            self._screen.say(f"… {self._left_out:,} events are recorded, but not shown: too many at once")
            self._left_out = 0
        dropped = self._count_dropped()
        if dropped > self._dropped:
            self._dropped = dropped
            self._screen.say(f"… {dropped / 1e6:.1f} MB are not recorded so far")
