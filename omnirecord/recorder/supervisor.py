"""The recorder's two other processes: starts the worker and the shipper, and another one when one of them dies.

The shipper finds the files by itself. No stream and no write waits for it.
"""

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
from contextlib import ExitStack, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from ..cassette.sqlite import Writer
from ..model import Headers
from ..server.timers import Complaint, monotonic
from ..text import counted
from ..wire.limits import max_decoded
from .intervals import RESTART_AFTER, RESTART_AT_MOST, FrameSchedule
from .operations import Frames
from .worker import Answer, File, Logged, Made, Stream, Told

SHIP_WITHIN = 60.0
"""Seconds for which an ending recorder waits for its last files to be shipped."""
_STAYS = 30.0
"""Seconds after which a process that ships counts as well."""

log = logging.getLogger("omnirecord")


def child(module: str, *arguments: str) -> list[str]:
    """Return the command of a process that calls `main` of a module. Further arguments: `max_decoded`, in bytes."""
    boot = (  # no garbage collection during the imports: almost all that they make stays
        "import gc, json, sys; gc.disable(); sys.path[:] = json.loads(sys.argv.pop());"
        f" from {module} import main; gc.enable(); main()"
    )
    return [sys.executable, "-P", "-c", boot, *arguments, str(max_decoded()), json.dumps(sys.path)]


def how_it_ended(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


class WorkerFrames(Frames[Stream]):
    """Collects the news of the streams of one file for the worker. `recording`: the number of its first recording."""

    def __init__(self, supervisor: WorkerSupervisor, path: Path, recording: int) -> None:
        super().__init__()
        self._supervisor, self.key, self._path, self._recording = supervisor, 0, path, recording
        self._told = 0
        self.left = 0
        """The number of streams that wait for frames in the worker, by its last answer."""

    @property
    def behind(self) -> bool:
        return bool(self._waiting or self.left) or self._told > self._supervisor.made

    def begin(
        self, exchange: int, stream: int, coding: str | None, target: str, hop: int = 0, headers: Headers = ()
    ) -> None:
        self._streaming[exchange] = Stream(exchange, stream, coding, target, hop, headers)

    def move(self, writer: Writer) -> None:
        assert writer.path is not None
        super().move(writer)
        self._path, self.left = writer.path, 0
        self._supervisor.renew(self)

    def release(self) -> bool:
        return self._supervisor.release(self)

    def news(self, number: int) -> File:
        streams = [self._streaming[exchange] for exchange in self._waiting if exchange in self._streaming]
        told = File(self.key, str(self._path), self._recording, list(map(replace, streams)))
        for stream in streams:
            stream.begins = False
        self._waiting.clear()
        self._told = number
        return told

    def finished(self, exchange: int) -> None:
        self._streaming.pop(exchange, None)

    def begin_again(self) -> None:
        """Collect all news again, for another worker."""
        self.left = self._told = 0
        for exchange, stream in self._streaming.items():
            stream.begins = True
            self._waiting[exchange] = None


class WorkerSupervisor:
    """Runs the worker of one recorder. Its methods are called in the recording thread.

    `contracts`: name or path of the contract of each hop. `news` is called after new frames, `wake` after each answer
    of the worker, both in a third thread.
    """

    def __init__(self, contracts: Sequence[str], news: Callable[[], object], wake: Callable[[], None]) -> None:
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
        return self.renew(WorkerFrames(self, writer.path, recording))

    def renew(self, frames: WorkerFrames) -> WorkerFrames:
        """Treat it as a new file from now on."""
        self._files.pop(frames.key, None)
        self._keys += 1
        frames.key = self._keys
        self._files[frames.key] = frames
        return frames

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
        """Send news, if the worker has read the last message. Call it after a commit. `hurry`, `hold`: see `Told`."""
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
        """Return the seconds until the next message is due; infinite without news, or while the worker is not ready."""
        self._hear()
        waiting = sum(frames.waiting for frames in self._files.values())
        if not waiting or self._process is None or self._heard < self._number:
            return math.inf
        return 0.0 if self._hurries else self._pace.pause(waiting, monotonic())

    def _is_there(self) -> bool:
        """Return whether there is a worker. Start one if it is time."""
        try:
            if self._process is None and monotonic() >= self._begin_at:
                self._begin()
        except (OSError, RuntimeError) as error:  # no process, or no thread, can be begun
            self._failed(f"a process that makes frames cannot be begun: {error}")
        return self._process is not None

    def _begin(self) -> None:
        ours, its = socket.socketpair()
        with ExitStack() as undo, ours, its:
            fd = fcntl.fcntl(its.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)  # 0 to 2 are a program's own input and output
            undo.callback(os.close, fd)
            words = child("omnirecord.recorder.worker", str(fd), json.dumps(self._contracts))
            pipe = Connection(ours.detach())
            undo.callback(pipe.close)
            process = subprocess.Popen(words, pass_fds=[fd], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            undo.callback(process.wait)
            undo.callback(process.kill)
            listener = threading.Thread(target=self._listen, args=[pipe], name="omnirecord-frames", daemon=True)
            listener.start()
            undo.pop_all()
            os.close(fd)
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
                case int(number):
                    self._heard = number
                    self.is_loaded.set()
                case Made() as made:
                    self._goes_on(made)
                case Logged(level, message):
                    log.log(level, "%s", message)
                case None:
                    self._lost()

    def _goes_on(self, made: Made) -> None:
        self.made = made.number
        if made.trouble != self._fails and made.trouble is not None:
            self._trouble.say(
                f"recording degraded: frames: {made.trouble}; streams go on and are recorded, trying again"
            )
        elif made.trouble != self._fails:
            self._trouble.over("frames are made again")
        self._fails = made.trouble
        for key, frames in self._files.items():
            frames.left = made.waiting.get(key, 0)
        for key, exchange in made.finished:
            if key in self._files:
                self._files[key].finished(exchange)
        if self._lacks is not None:
            self._lacks, self._pause = None, RESTART_AFTER
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
        again = f"another one begins in {self._pause:.0f} s"
        self._begin_at, self._pause = monotonic() + self._pause, min(2 * self._pause, RESTART_AT_MOST)
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


class Shipping:
    """Ships the files of one recorder to the lake at `url`. `rotates`: `db` is the link of a rotation."""

    def __init__(self, url: str, db: Path, *, rotates: bool) -> None:
        self.url, self._db, self._rotates = url, db.absolute(), rotates
        self._process: subprocess.Popen[str] | None = None
        self._is_ending = threading.Event()
        self._lock = threading.Lock()
        self._trouble = Complaint()
        self.left: int | None = None
        """The closed files that are not shipped, as the process last said; None before that."""
        self._thread = threading.Thread(target=self._run, name="omnirecord-shipping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        pause = RESTART_AFTER
        while not self._is_ending.is_set():
            begun = monotonic()
            what = self._once()
            if self._is_ending.is_set():
                return
            pause = RESTART_AFTER if monotonic() - begun > _STAYS else pause
            self._trouble.say(f"{what}; the recording goes on, and another one begins in {pause:.0f} s")
            self._is_ending.wait(pause)
            pause = min(2 * pause, RESTART_AT_MOST)

    def _once(self) -> str:
        """Run a process to its end; return what happened to it."""
        words = child("omnirecord.lake.watch", self.url, str(self._db), "rotates" if self._rotates else "one")
        try:
            with self._lock:
                if self._is_ending.is_set():
                    return ""
                self._process = process = subprocess.Popen(
                    words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
                )
        except (OSError, RuntimeError) as error:
            return f"the process that ships cannot be started: {error}"
        assert process.stdout is not None
        with suppress(OSError, ValueError), process:  # it closes the pipes
            for line in process.stdout:
                self._hear(line)
        return f"the process that ships ended ({how_it_ended(process.wait())})"

    def _hear(self, line: str) -> None:
        said = json.loads(line)
        self.left = said.get("left", self.left)
        if "said" in said:
            log.warning("ship: %s", said["said"])
        if not self._is_ending.is_set():
            self._trouble.over("the process that ships runs again")

    def end(self, also: Path | None = None) -> None:
        """Let the process ship what is closed by now, and `also`, and then end. Does not wait."""
        with self._lock:
            self._is_ending.set()
            process = self._process
        if process is None or process.stdin is None:
            return
        with suppress(OSError, ValueError):
            if also is not None and also.absolute() != self._db:
                process.stdin.write(json.dumps(str(also)) + "\n")
            process.stdin.close()

    def wait(self, seconds: float) -> bool:
        """Wait until the process has ended; return whether it has. Call `end` first."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def finish(self, also: Path | None = None, within: float = SHIP_WITHIN) -> None:
        """Wait for what is left, up to `within` seconds. A warning names what is left after that."""
        self.end(also)
        if not self.wait(within):
            self.leave()
        if self.left != 0:
            log.warning("%s", self.remains)

    @property
    def remains(self) -> str:
        """A sentence about the files that are not shipped."""
        count = "files" if self.left is None else counted(self.left, "file")
        return f"{count} of {self._db} may not be in {self.url} yet: the next start ships the rest"

    def leave(self) -> None:
        """Kill the process: the next start ships what is left."""
        if self._process is not None:
            with suppress(OSError):
                self._process.kill()
        self._thread.join(5.0)
