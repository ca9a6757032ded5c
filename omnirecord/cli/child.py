"""Runs a command as a child process, with our stdin, stdout, stderr and process group.

Signals are blocked in our process and read one by one, so that each reaches the command once. A terminal sends Ctrl-C
to the whole process group, so the command has it already. A signal from another process is passed on.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .group import Failure

_PASSED_ON = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_OF_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
"""The signals after which no further command starts."""
_WAITED_FOR = {*_PASSED_ON, signal.SIGCHLD}


@dataclass(slots=True)
class Held:
    """The signals that `run` reads."""

    before: set[signal.Signals]
    """The signals that the thread blocked before."""
    received: signal.Signals | None = None
    """The first signal that `run` read of those that end a process."""
    outlived_by: int = 0
    """The number of processes that outlived the last command."""

    @property
    def ended_by(self) -> signal.Signals | None:
        """The signal that ends this process; None if there was none. It may have arrived between two commands."""
        return self.received or min((signal.Signals(one) for one in signal.sigpending() & _ENDING), default=None)


class NotFound(Failure):
    """There is no such command. The exit code is that of a shell."""

    exit_code = 127


class NotExecutable(Failure):
    """The command cannot be executed. The exit code is that of a shell."""

    exit_code = 126


def check(command: Sequence[str]) -> None:
    """Raise `NotFound` or `NotExecutable` if there is no such command."""
    name = command[0]
    if not name:
        raise NotFound("the command is an empty text: name a program behind --")
    if shutil.which(name) is not None:
        return
    path = Path(name)
    if path.is_dir():
        raise NotExecutable(f"{name} is a folder: name a command behind --")
    if path.is_file() and (os.sep in name or path.suffix == ".py"):
        how = f": write python {name}" if path.suffix == ".py" else ": name the program that runs it, as in sh FILE"
        raise NotExecutable(f"{name} is no program that can be executed{how}")
    where = "it does not exist" if os.sep in name else "it is not on the PATH"
    raise NotFound(f"the command {name} was not found: {where}")


@contextmanager
def signals_held() -> Iterator[Held]:
    """Block the signals that `run` reads, in this thread and in those that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    try:
        yield Held({one for one in before if isinstance(one, signal.Signals)})
    finally:
        # Those for the command that has ended. Another thread may take one that is pending, and `sigwait` would wait.
        if hasattr(signal, "sigtimedwait"):
            while signal.sigtimedwait(_WAITED_FOR, 0) is not None:
                pass
        else:
            while signal.sigpending() & _WAITED_FOR:
                signal.sigwait(_WAITED_FOR)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run(command: Sequence[str], environment: Mapping[str, str], held: Held) -> int:
    """Run a command to its end, within `signals_held`, which yields `held`. Return its exit code; 128 + N if the signal
    N ended it. Raises `NotFound` or `NotExecutable`."""
    defaults = [
        getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)
    ]  # Python ignores them
    try:
        child = os.posix_spawnp(command[0], [*command], environment, setsigmask=held.before, setsigdef=defaults)
    except OSError as error:
        raise _refusal(command[0], error) from error
    statuses = list[int]()
    waiting = threading.Thread(target=_wait_for, args=(child, threading.get_ident(), statuses), daemon=True)
    waiting.start()
    while True:
        number, is_of_terminal = _next_signal()
        if number in _ENDING:
            held.received = held.received or signal.Signals(number)
        if statuses:
            code = os.waitstatus_to_exitcode(statuses[0])
            return code if code >= 0 else 128 - code
        if number != signal.SIGCHLD and not is_of_terminal:
            with suppress(ProcessLookupError):
                os.kill(child, number)


def _refusal(name: str, error: OSError) -> Failure:
    """Return the error for a command that exists, but did not start."""
    if error.errno == errno.ENOENT:
        return NotFound(f"cannot run {name}: the program that its first line names does not exist")
    if error.errno == errno.ENOEXEC:
        return NotExecutable(f"cannot run {name}: its first line names no program: write for instance sh {name}")
    return NotExecutable(f"cannot run {name}: {error.strerror or error}")


def _wait_for(child: int, thread: int, statuses: list[int]) -> None:
    """Append the wait status of a process when it has ended, then send SIGCHLD to a thread that blocks it. The kernel's
    own SIGCHLD is lost if it goes to another thread, which does not block it."""
    _, status = os.waitpid(child, 0)
    statuses.append(status)
    signal.pthread_kill(thread, signal.SIGCHLD)


def wait_for_end() -> None:
    """Wait for a signal that ends a process, within `signals_held`."""
    while _next_signal()[0] in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        pass


def _next_signal() -> tuple[int, bool]:
    """Wait for a signal. Return it, and whether the terminal sent it to the whole process group."""
    if hasattr(signal, "sigwaitinfo"):
        told = signal.sigwaitinfo(_WAITED_FOR)
        return told.si_signo, told.si_code > 0 and told.si_signo != signal.SIGCHLD  # the kernel sent it
    number = signal.sigwait(_WAITED_FOR)
    return number, number in _OF_TERMINAL and os.isatty(0)
