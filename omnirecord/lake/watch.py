"""Ships cassettes as recorders close them, and goes on trying while the lake fails: `ship --watch` and `proxy --ship`.

`main` is the process of `proxy --ship`. It watches the recorder's files. Its input ends when the recorder has ended or
was killed; then it ships what is closed, and ends. It also ends when another recorder takes over the files. Its output
has a JSON object per line: `{"left": N}`, the closed cassettes that are not shipped yet, or `{"said": …}`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from ..cassette.files import stamp_of
from ..cassette.rotation import RotatedCassettes
from ..cassette.sqlite.lock import recorder_is_alive
from ..errors import LakeError, OmnirecordError
from ..text import dumps
from ..wire.limits import Retention, max_decoded
from .location import Lake
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
        self,
        make: Callable[[], Shipper],
        find: Callable[[], list[Path]],
        tell: Callable[[Shipped], None],
        say: Callable[[str], None],
    ) -> None:
        self._make = make
        self._find = find
        self._tell = tell
        self._say = say
        self._shipper: Shipper | None = None
        self._done: dict[Path, Stamp] = {}
        self._pause = AGAIN_AFTER
        self._has_warned = False
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
            busy = set[Path]()
            for one in self._shipper.ship(settled):
                if one.status == "busy":
                    busy.add(one.path)
                elif one.status != "there already" or one.path not in self._done:
                    self._tell(one)
        except LakeError as error:
            if self.trouble is None:
                self._say(f"{error}; trying again")
            self.trouble = str(error)
            pause, self._pause = self._pause, min(2 * self._pause, AGAIN_AT_MOST)
            return pause
        for warning in () if self._has_warned else self._shipper.warnings():
            self._say(warning)
            self._has_warned = True
        self._done |= {path: stamp for path, stamp in settled.items() if path not in busy}
        if self.trouble is not None:
            self._say("the lake works again")
        self.trouble = None
        self._pause = AGAIN_AFTER
        return EVERY if len(settled) == len(closed) else SETTLES_IN

    def close(self) -> None:
        """Wait for what is in flight."""
        if self._shipper is not None:
            self._shipper.close()

    def _closed(self) -> dict[Path, Stamp]:
        """Return the cassettes that are not being recorded and have changed since they were shipped."""
        stamps = {path: stamp_of(path) for path in self._find()}
        return {
            path: stamp
            for path, stamp in stamps.items()
            if self._done.get(path) != stamp and not recorder_is_alive(path)
        }


ALONE_AT_MOST = 600
"""Seconds for which it goes on without its recorder, at most."""
UNHURRIED = 1.0
"""Seconds of these in which it gets no more CPU time than others leave. A recorder that is gone has released its files
by then."""
_NICE = 19
"""It takes only CPU time that the recorder leaves."""


def main() -> None:
    """Run the process.

    Arguments: URL; cassette, or the link of a rotation; `rotates` or `one`; `null`, or without a recorder the JSON list
    of further cassettes; `max_decoded`.
    """
    _, url, db, kind, also, limit = sys.argv
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the recorder
    max_decoded(int(limit))
    lake = Lake(url)
    files = Files(Path(db), rotates=kind == "rotates")
    further = json.loads(also)
    more = [Path(one) for one in further or ()]
    watcher = Watcher(lambda: Shipper(lake), lambda: [*files.all(), *more], _tell, _say)
    over = threading.Event()
    threading.Thread(target=_work, args=[watcher, over, further is None], daemon=True).start()
    with suppress(OSError, ValueError):
        for line in sys.stdin:
            more.append(Path(json.loads(line)))
    signal.alarm(ALONE_AT_MOST)
    over.set()
    time.sleep(UNHURRIED)
    if further is None and hasattr(os, "SCHED_IDLE") and not recorder_is_alive(Path(db)):
        _hurry(more)
    while not recorder_is_alive(Path(db)):
        time.sleep(SETTLES_IN)
    os._exit(0)  # the other recorder has a process of its own for the rest


def _work(watcher: Watcher, over: threading.Event, stands_back: bool) -> None:
    """Ship, and end the process."""
    if stands_back:
        _stand_back()
    try:
        run(watcher, over)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # no wait for a store that does not answer


def _hurry(more: list[Path]) -> None:
    """Start the process again, with the CPU time of any process. A shipper that is killed loses nothing.

    On a busy machine a thread that stands back may get no CPU time at all, and it cannot take its priority back.
    """
    *words, _, limit, path = sys.orig_argv
    os.execv(sys.executable, [*words, json.dumps([str(one) for one in more]), limit, path])


def _stand_back() -> None:
    """Leave CPU time to the recorder.

    On Linux, SCHED_IDLE lets the recorder's threads run as soon as they wake up. A nice value does not: a running
    process keeps its time slice. Both count within a scheduling group only, and this process is in the recorder's. On
    Linux, they are of this thread and of those that it starts.
    """
    with suppress(OSError):
        os.nice(_NICE)
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.environ.setdefault("TOKIO_WORKER_THREADS", "1")  # of deltalake and obstore, which start them later
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def run(watcher: Watcher, over: threading.Event) -> None:
    """Ship until `over` is set, and then what is closed, or is closed soon by a recorder that ends."""
    while not over.is_set():
        pause = watcher.look()
        _print({"left": len(watcher.left)})
        over.wait(pause)
    while (left := watcher.left) or watcher.is_recorded:
        _print({"left": len(left)})
        pause = watcher.look() if left else SETTLES_IN
        if not left or watcher.left:
            time.sleep(pause)
    _print({"left": len(watcher.left)})


class Files:
    """The cassettes of a recorder."""

    def __init__(self, db: Path, *, rotates: bool) -> None:
        self._db = db
        self._rotates = rotates
        self._rotated: RotatedCassettes | None = None

    def all(self) -> list[Path]:
        """Return them, the oldest first; none while the folder is away."""
        if not self._rotates:
            return [self._db] if self._db.exists() else []
        with suppress(OmnirecordError):
            self._rotated = self._rotated or RotatedCassettes(self._db, Retention())
            return self._rotated.all()
        return []


def _tell(one: Shipped) -> None:
    if one.status == "failed":
        _say(f"{one.path} is not shipped: {one.message}")


def _say(sentence: str) -> None:
    _print({"said": sentence})


def _print(value: dict[str, object]) -> None:
    with suppress(OSError, ValueError):  # the recorder is gone
        sys.stdout.write(dumps(value) + "\n")
        sys.stdout.flush()
