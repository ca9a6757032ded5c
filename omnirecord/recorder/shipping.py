"""The process that ships the recorder's files to a lake: starts it, and another one when it dies.

It finds the files by itself. No stream and no write waits for it.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from ..server.timers import Complaint, monotonic
from ..text import counted
from ..wire.limits import max_decoded
from .intervals import RESTART_AFTER, RESTART_AT_MOST

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


class Shipping:
    """Ships the files of one recorder to the lake at `url`. `rotates`: `db` is the link of a rotation."""

    def __init__(self, url: str, db: Path, *, rotates: bool) -> None:
        self.url = url
        self._db = db.absolute()
        self._rotates = rotates
        self._process: subprocess.Popen[str] | None = None
        self._is_ending = threading.Event()
        self._lock = threading.Lock()
        self._trouble = Complaint()
        self.left: int | None = None
        """The closed files that are not shipped, as the process last said; None before that."""
        self._thread = threading.Thread(target=self._keep_one_running, name="omnirecord-shipping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _keep_one_running(self) -> None:
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
        rotates = "rotates" if self._rotates else "one"
        try:
            with self._lock:
                if self._is_ending.is_set():
                    return ""
                words = child("omnirecord.lake.watch", self.url, str(self._db), rotates, "null")
                self._process = process = subprocess.Popen(
                    words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
                )
        except (OSError, RuntimeError) as error:
            return f"the process that ships cannot be started: {error}"
        assert process.stdout is not None
        with suppress(OSError, ValueError), process:  # it closes the pipes
            for line in process.stdout:
                self._hear(line)
        code = process.wait()
        if code != 0 and self.left == 0:
            self.left = None  # a file may have been closed since it said so
        return f"the process that ships ended ({how_it_ended(code)})"

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
            if self._process is None:
                return
            assert self._process.stdin is not None
            with suppress(OSError, ValueError):
                if also is not None and also.absolute() != self._db:
                    self._process.stdin.write(json.dumps(str(also)) + "\n")
                self._process.stdin.close()

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
        with self._lock:
            if self._process is not None:
                self._process.kill()
        self._thread.join(5.0)
        if self.left == 0:
            self.left = None  # a process that stands back may need more than that to die on a busy machine
