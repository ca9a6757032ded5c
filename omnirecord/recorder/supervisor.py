"""The recorder's side of the worker: starts the process, sends it messages, and starts another one when it dies."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from ..cassette.sqlite import Writer
from ..server.timers import Complaint, monotonic
from ..wire.limits import max_decoded
from .intervals import RESTART_AFTER, RESTART_AT_MOST, FrameSchedule
from .operations import Frames
from .worker import Answer, File, Heard, Logged, Made, Stream, Told, Trouble

_FIRST_FREE = 3
"""Descriptors below are those of a program's own input and output."""

log = logging.getLogger("omnirecord")


def child(module: str, *arguments: str) -> list[str]:
    """Return the command of a process that calls `main` of a module. Further arguments: `max_decoded`, in bytes."""
    boot = f"import json, sys; sys.path[:] = json.loads(sys.argv.pop()); from {module} import main; main()"
    return [sys.executable, "-P", "-c", boot, *arguments, str(max_decoded()), json.dumps(sys.path)]


def how_it_ended(code: int) -> str:
    """Return the exit code of a process, or its signal, in words."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


class WorkerFrames(Frames):
    """The `Frames` of one file, made by the worker: collects the news of its streams. `recording`: the number of the
    file's first recording."""

    def __init__(self, supervisor: WorkerSupervisor, path: Path, recording: int) -> None:
        self._supervisor, self.key, self._path, self._recording = supervisor, 0, path, recording
        self._open: dict[int, Stream] = {}
        self._news: dict[int, None] = {}  # exchanges with news, in order
        self._told = 0
        self.left = 0
        """The number of streams that wait for frames in the worker, by its last answer."""

    @property
    def waiting(self) -> int:
        return len(self._news)

    @property
    def behind(self) -> bool:
        return bool(self._news or self.left) or self._told > self._supervisor.made

    def begin(self, exchange: int, stream: int, coding: str | None, target: str, hop: int = 0) -> None:
        self._open[exchange] = Stream(exchange, stream, coding, target, hop)

    def arrived(self, exchange: int, until: int | None = None) -> None:
        if exchange in self._open:
            self._open[exchange].until = until
            self._news[exchange] = None

    def ended(self, exchange: int) -> None:
        if exchange in self._open:
            self._open[exchange].ended = True
            self._news[exchange] = None

    def move(self, writer: Writer) -> None:
        assert writer.path is not None
        self._path = writer.path
        self._open.clear()
        self._news.clear()
        self.left = 0
        self._supervisor.renew(self)

    def release(self) -> bool:
        return self._supervisor.release(self)

    def news(self, number: int) -> File:
        """Return the news, for the message of that number."""
        streams = [replace(self._open[exchange]) for exchange in self._news if exchange in self._open]
        for exchange in self._news:
            if exchange in self._open:
                self._open[exchange].begins = False
        self._news.clear()
        self._told = number
        return File(self.key, str(self._path), self._recording, streams)

    def finished(self, exchange: int) -> None:
        self._open.pop(exchange, None)

    def begin_again(self) -> None:
        """Collect all news again, for another worker."""
        self.left = self._told = 0
        for exchange, stream in self._open.items():
            stream.begins = True
            self._news[exchange] = None


class WorkerSupervisor:
    """Runs the worker of one recorder. Its methods are called in the recording thread.

    `contracts`: name or path of the contract of each hop. `news` is called after new frames, `wake` after each answer
    of the worker, both in a third thread.
    """

    def __init__(self, contracts: Sequence[str], news: Callable[[], None], wake: Callable[[], None]) -> None:
        self._contracts, self._news, self._wake = contracts, news, wake
        self._files: dict[int, WorkerFrames] = {}
        self._keys = 0
        self._releasing: dict[int, int] = {}  # file keys, and the message that said so; 0: none yet
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._answers: deque[Answer | None] = deque()
        self.is_loaded = threading.Event()
        """Set once the first worker is ready, or could not be started."""
        self._number = self._heard = 0
        self.made = 0
        """The last message that the worker has completed."""
        self._hurries = self._holds = False
        self._pace = FrameSchedule()
        self._begin_at, self._pause = 0.0, RESTART_AFTER
        self._trouble = Complaint()
        self._lacks: str | None = None  # why there is no worker
        self._fails: str | None = None  # why the worker makes no frames

    @property
    def trouble(self) -> str | None:
        """Why no frames are made at the moment; None if all is well."""
        return self._lacks or self._fails

    def frames(self, writer: Writer, recording: int) -> WorkerFrames:
        """Return the `Frames` of that file. `recording`: the number of its first recording."""
        assert writer.path is not None
        made = WorkerFrames(self, writer.path, recording)
        self.renew(made)
        return made

    def renew(self, frames: WorkerFrames) -> None:
        """Treat it as a new file from now on."""
        self._files.pop(frames.key, None)
        self._keys += 1
        frames.key = self._keys
        self._files[frames.key] = frames

    def release(self, frames: WorkerFrames) -> bool:
        """Let the worker close that file, and return whether it has."""
        told = self._releasing.setdefault(frames.key, 0)
        self.tell()
        if self._process is not None and not 0 < told <= self.made:
            return False
        self._releasing.pop(frames.key, None)
        self._files.pop(frames.key, None)
        return True

    def tell(self, *, hurry: bool = False, hold: bool = False) -> None:
        """Send the news if there is any and the worker has read the last message. Call it after a commit. `hurry`,
        `hold`: see `Told`."""
        self._hear()
        hurries = hurry and not self._hurries
        untold = [key for key, number in self._releasing.items() if not number]
        if not self._is_there() or self._heard < self._number:
            return
        if not (untold or hurries or hold is not self._holds or self.pause() == 0):
            return
        self._pace.begin(monotonic())
        news = [frames for frames in self._files.values() if frames.waiting]
        self._number, self._hurries, self._holds = self._number + 1, hurry, hold
        self._releasing |= dict.fromkeys(untold, self._number)
        told = Told(self._number, [frames.news(self._number) for frames in news], untold, hurry, hold)
        assert self._pipe is not None
        with suppress(OSError):  # it is gone, and `_listen` says so
            self._pipe.send(told)

    def pause(self) -> float:
        """Return the seconds until the next message is due. Infinite if there is no news, or the worker is not ready:
        `wake` is called when it is."""
        self._hear()
        waiting = sum(frames.waiting for frames in self._files.values())
        if not waiting or self._process is None or self._heard < self._number:
            return math.inf
        return 0.0 if self._hurries else self._pace.pause(waiting, monotonic())

    def _is_there(self) -> bool:
        """Return whether there is a worker. Start one if it is time."""
        if self._process is None and monotonic() >= self._begin_at:
            try:
                self._begin()
            except (OSError, RuntimeError) as error:  # no process, or no thread, can be begun
                self._failed(f"a process that makes frames cannot be begun: {error}")
        return self._process is not None

    def _begin(self) -> None:
        ours, its = socket.socketpair()
        with ours, its:
            fd = fcntl.fcntl(its.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
            words = child("omnirecord.recorder.worker", str(fd), json.dumps(self._contracts))
            quiet = subprocess.DEVNULL
            pipe = Connection(ours.detach())
            listener = threading.Thread(target=self._listen, args=[pipe], name="omnirecord-frames", daemon=True)
            try:
                process = subprocess.Popen(words, pass_fds=[fd], stdin=quiet, stdout=quiet)
            except BaseException:
                pipe.close()
                raise
            finally:
                os.close(fd)
        try:
            listener.start()
        except BaseException:
            pipe.close()
            process.kill()
            process.wait()
            raise
        self._process, self._pipe, self._listener = process, pipe, listener
        self._number = self._heard = self.made = 0
        self._hurries = self._holds = False

    def _listen(self, pipe: Connection) -> None:
        """Receive answers until the worker is gone."""
        try:
            while True:
                answer = pipe.recv()
                if isinstance(answer, Made) and answer.is_new:
                    self._news()
                self._answers.append(answer)
                self._wake()
        except (EOFError, OSError):
            self._answers.append(None)
            self._wake()

    def _hear(self) -> None:
        while self._answers:
            match self._answers.popleft():
                case Heard(number):
                    self._heard = number
                    self.is_loaded.set()
                case Made() as made:
                    self._goes_on(made)
                case Trouble(message):
                    self._tell_trouble(message)
                case Logged(level, message):
                    log.log(level, "%s", message)
                case None:
                    self._lost()

    def _goes_on(self, made: Made) -> None:
        self.made = made.number
        for key, frames in self._files.items():
            frames.left = made.waiting.get(key, 0)
        for key, exchange in made.finished:
            if key in self._files:
                self._files[key].finished(exchange)
        if self._lacks is not None:
            self._lacks, self._pause = None, RESTART_AFTER
            self._trouble.over("frames are made again")

    def _tell_trouble(self, message: str | None) -> None:
        self._fails = message
        if message is not None:
            self._trouble.say(f"recording degraded: frames: {message}; streams go on and are recorded, trying again")
        else:
            self._trouble.over("frames are made again")

    def _lost(self) -> None:
        assert self._process is not None
        assert self._pipe is not None
        self._pipe.close()
        code = self._process.wait()
        self._process = self._pipe = self._fails = None
        self._releasing.clear()
        for frames in self._files.values():
            frames.begin_again()
        self._failed(f"the process that makes frames ended ({how_it_ended(code)})")

    def _failed(self, what: str) -> None:
        self._begin_at = monotonic() + self._pause
        again = f"another one begins in {self._pause:.0f} s"
        self._pause = min(2 * self._pause, RESTART_AT_MOST)
        self._lacks = what
        self.is_loaded.set()
        self._trouble.say(f"recording degraded: {what}; streams go on and are recorded, {again}")

    def stop(self, seconds: float) -> None:
        """End the worker, within so many seconds."""
        if self._process is None or self._pipe is None:
            return
        with suppress(OSError):
            self._pipe.send(None)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        self._pipe.close()
        self._process = self._pipe = None
