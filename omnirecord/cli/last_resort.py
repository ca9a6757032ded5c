"""The kernel ends a process 10 s after SIGINT or another handled signal, even in C code that never returns.

A handler in Python runs only between two steps of Python. A thread does not help while C code holds the GIL. So this
uses only system calls: the handler of Python, in C, writes a byte to a pipe at once. The kernel reports this byte as
`SIGUSR1`, whose handler is the function `alarm` of libc. Handlers get the number of their signal: `alarm(10)` sends
`SIGALRM` after 10 s, which ends the process.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

_is_installed = False
"""Whether this process is a command of omnirecord, not a program that calls it, such as a test."""


def install(carrier: int = signal.SIGUSR1) -> None:
    """Let the kernel end this process after a signal. `carrier`: the signal whose number is the time in seconds."""
    global _is_installed
    import fcntl

    _is_installed = True
    if not hasattr(fcntl, "F_SETSIG"):  # only Linux has it
        return
    with suppress(OSError, ValueError):  # a system without these calls, or another thread than the main one
        import ctypes

        libc = ctypes.CDLL(None)
        libc.signal(carrier, ctypes.cast(libc.alarm, ctypes.c_void_p))
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(reading, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(reading, fcntl.F_SETSIG, carrier)
        fcntl.fcntl(reading, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)


def ignore_ctrl_c() -> None:
    """Let a further Ctrl-C not disturb the end of this process. Does nothing in the process of another program."""
    if _is_installed:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def call_off() -> None:
    """Let the process go on after a signal."""
    signal.alarm(0)
