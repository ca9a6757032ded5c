"""Processes that are measured: started, watched through /proc, and stopped. A process is its whole tree."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from .errors import Unusable
from .ports import listens

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Process:
    """A server, once it listens at its port. Use it with `with`: leaving stops it, and all that it started."""

    def __init__(self, command: list[str], port: int, *, cpu: int | None = None, starts_in: float = 120) -> None:
        self.port = port
        self.ports: tuple[int, ...] = (port,)
        """Where it accepts streams: one for each hop of a recorder."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=None if cpu is None else lambda: os.sched_setaffinity(0, {cpu}),
        )
        self.pid = self._process.pid
        try:
            self._wait(starts_in)
        except BaseException:
            self.__exit__()
            raise

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._process.poll() is None:
            if listens(self.pid, self.port):
                return
            time.sleep(0.02)
        raise Unusable(f"{' '.join(self._process.args)} does not listen: {self.said()}")  # type: ignore[arg-type]

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._log.close()

    def said(self) -> str:
        """The end of what it wrote."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip()[-800:]

    def stop(self, seconds: float = 60) -> int:
        """Ask it to end; return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return int(self._process.wait())

    def kill(self) -> None:
        """kill -9 it, with every process that it started."""
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def cpu_s(self) -> float:
        """Processor seconds of its tree so far: to the nanosecond for threads that live, else to the clock tick."""
        ticks, live_ns = 0, 0
        for pid in tree(self.pid):
            fields = _stat(pid)
            if fields:
                ticks += sum(
                    map(int, fields[11 : 13 if pid != self.pid else 15])
                )  # its own, and of children that ended
            live_ns += sum(_ran_ns(task) for task in Path(f"/proc/{pid}/task").glob("*"))
        return max(ticks * TICK_S, live_ns / 1e9)

    def memory(self, field: str) -> float:
        """KiB of its tree: `VmRSS`, now, or `VmHWM`, the most of each process so far."""
        return float(sum(_kib(pid, field) for pid in tree(self.pid)))

    def rests_after(self, limit_s: float = 120, quiet_s: float = 0.25) -> float:
        """Wait until it does next to nothing for a while; return in how many seconds from now that while began."""
        begun = time.monotonic()
        since, cpu = begun, self.cpu_s()
        while (now := time.monotonic()) < begun + limit_s:
            time.sleep(0.05)
            more = self.cpu_s()
            if more - cpu > 0.05 * (time.monotonic() - now):  # a busy machine may give it little
                since = time.monotonic()
            cpu = more
            if now - since > quiet_s:
                break
        return since - begun


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            below.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += below.get(one, [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields behind the name of /proc/PID/stat; none where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _ran_ns(task: Path) -> int:
    try:
        return int((task / "schedstat").read_text().split()[0])
    except (OSError, IndexError):
        return 0


def _kib(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
