"""The worker process makes the frames, so that cutting and validating them takes no GIL time of the event loop.

The recording thread commits bytes as usual, and then tells the worker which streams have new bytes in the file
(`supervisor`). The worker reads them there, makes frames and writes them on its own connection. No bytes pass between
the two processes. Both can die at any moment. The worker has no state of its own: its successor, or the next recorder,
begins again from the state of the file. It ends with the recorder.

The messages between the two processes are pickled dataclasses: both run the same code.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from ..cassette.contracts import load
from ..cassette.sqlite import Writer
from ..cassette.sqlite.writer import is_transient
from ..contract.judge import Contract
from ..model import Headers
from ..server.timers import fault_of, monotonic, reduce_gc
from ..wire.limits import max_decoded
from .frames import FrameMaker
from .intervals import LONG_STEP, RETRY_EVERY, FrameSchedule, breath
from .operations import Rest


@dataclass(slots=True)
class Stream:
    """News of a stream: the arguments of `Frames`. `begins`: it is new to the worker."""

    exchange: int
    stream: int
    coding: str | None
    target: str
    hop: int = 0
    headers: Headers = ()
    until: int | None = None
    ended: bool = False
    begins: bool = True


@dataclass(slots=True)
class File:
    """News of the streams in one file."""

    key: int
    path: str
    recording: int
    streams: list[Stream]


@dataclass(slots=True)
class Told:
    """A message to the worker. `release`: files to close; `hurry`: make all frames now, since the recording stops;
    `hold`: make no frames until the next message, since commits lag."""

    number: int
    files: list[File]
    release: list[int]
    hurry: bool
    hold: bool


@dataclass(slots=True)
class Made:
    """The progress with all messages up to `number`.

    `waiting`: the number of waiting streams by file key; `finished`: file key and exchange; `is_new`: there are new
    frames; `trouble`: why none can be made at the moment.
    """

    number: int
    waiting: dict[int, int]
    finished: list[tuple[int, int]]
    is_new: bool
    trouble: str | None


@dataclass(slots=True)
class Logged:
    """A log record of the worker."""

    level: int
    message: str


Answer = int | Made | Logged
"""A number: the worker has read that message, and expects the next one. 0: it is ready for the first one."""


_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_ROOM = 256 * 1024 * 1024
"""Bytes that the allocator keeps for the next large frame: to request them from the system each time takes longer than
to make the frame."""
_GC_THRESHOLD = 50_000
"""New objects before a garbage collection: frames have no reference cycles."""

log = logging.getLogger("omnirecord")


class _Forwarded(logging.Handler):
    """Sends log records to the recorder, which logs them."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        self._pipe.send(Logged(record.levelno, record.getMessage()))


class _Cassette:
    """A file and its `FrameMaker`. The file is opened in `make`, so that a failing disk costs an attempt only."""

    def __init__(self, file: File, contracts: Sequence[Contract]) -> None:
        self._path, self._recording, self._contracts = Path(file.path), file.recording, contracts
        self._writer: Writer | None = None
        self.told: deque[Stream] = deque()
        """News that `make` has not taken yet."""
        self._known: set[int] = set()
        self._maker: FrameMaker | None = None

    @property
    def waiting(self) -> int:
        return len(self.told) + (self._maker.waiting if self._maker else 0)

    def make(self, rest: Rest) -> Iterator[int]:
        if (maker := self._maker) is None:
            self._writer = Writer(self._path, beside=True)
            maker = self._maker = FrameMaker(self._writer, self._recording, *self._contracts, step=LONG_STEP)
        while self.told:
            of = self.told[0]
            if of.begins:
                maker.begin(of.exchange, of.stream, of.coding, of.target, of.hop, of.headers)
                self._known.add(of.exchange)
            if of.ended:
                maker.ended(of.exchange)
            else:
                maker.arrived(of.exchange, of.until)
            self.told.popleft()
        yield from maker.make(rest)

    def finished(self) -> set[int]:
        """Return the newly finished exchanges."""
        done = self._known.difference(self._maker.open) if self._maker else set()
        self._known -= done
        return done

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Worker:
    """Makes frames as the messages from the recorder say. `contracts`: one for each hop."""

    def __init__(self, pipe: Connection, contracts: Sequence[Contract]) -> None:
        self._pipe, self._contracts = pipe, contracts
        self._cassettes: dict[int, _Cassette] = {}
        self._pace = FrameSchedule()
        self._number, self._parent = 0, os.getppid()
        self._hurries = self._holds = self._is_new = False
        self._again_at = 0.0
        self._trouble: str | None = None

    def run(self) -> None:
        """Run until the recorder says stop. Raises `EOFError` or `OSError` if the recorder is gone."""
        self._pipe.send(0)
        while True:
            pause = max(0.0, self._again_at - monotonic()) if self._waiting() and not self._holds else None
            if not self._pipe.poll(pause):
                self._attempt()
            elif (told := self._pipe.recv()) is not None:
                self._hear(told)
            else:
                return

    def _waiting(self) -> dict[int, int]:
        return {key: one.waiting for key, one in self._cassettes.items() if one.waiting}

    def _hear(self, told: Told) -> None:
        self._pipe.send(told.number)
        self._number, self._hurries, self._holds = told.number, told.hurry, told.hold
        for file in told.files:
            if file.key not in self._cassettes:
                self._cassettes[file.key] = _Cassette(file, self._contracts)
            self._cassettes[file.key].told += file.streams
        for key in told.release:
            if key in self._cassettes:
                self._cassettes.pop(key).close()
        if told.release or not self._waiting():
            self._report()

    def _report(self) -> None:
        finished = [(key, exchange) for key, one in self._cassettes.items() for exchange in one.finished()]
        self._pipe.send(Made(self._number, self._waiting(), finished, self._is_new, self._trouble))
        self._is_new = False

    def _attempt(self) -> None:
        try:
            self._make()
            self._trouble = None
        except Exception as error:
            self._again_at = monotonic() + RETRY_EVERY
            self._trouble = str(error) if is_transient(error) else fault_of(error)
        self._report()

    def _rest(self, waiting: int) -> None:
        """Leave CPU time to the recorder."""
        if not self._hurries:
            time.sleep(breath(waiting))

    def _make(self) -> None:
        self._pace.begin(monotonic())
        for cassette in self._cassettes.values():
            if not cassette.waiting:
                continue
            for made in cassette.make(self._rest):
                self._is_new = self._is_new or made > 0
                if self._pace.is_long(monotonic()) or os.getppid() != self._parent:
                    return


def main() -> None:
    """Run the worker. Arguments: descriptor of the pipe, the contract of each hop as JSON, `max_decoded` in bytes."""
    _, fd, contracts, limit = sys.argv
    max_decoded(int(limit))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the recorder, which ends the worker
    with suppress(OSError, AttributeError):  # without these calls, it is slower and ends a little later
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.mallopt(_M_TRIM_THRESHOLD, _ROOM)
        libc.mallopt(_M_MMAP_THRESHOLD, _ROOM)
    pipe = Connection(int(fd))
    log.addHandler(_Forwarded(pipe))
    log.propagate = False
    try:
        worker = Worker(pipe, [load(one) for one in json.loads(contracts)])
        reduce_gc(_GC_THRESHOLD)
        worker.run()
    except (EOFError, OSError):
        pass  # the recorder is gone
    except Exception as error:
        log.error("frames cannot be made: %s: %s", type(error).__name__, error)
    os._exit(0)  # without a checkpoint: the file is the recorder's
