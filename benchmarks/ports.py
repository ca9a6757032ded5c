"""Ports for servers that have to be told theirs, and the process that listens at one."""

from __future__ import annotations

import atexit
import random
import socket
from contextlib import ExitStack, closing, suppress
from pathlib import Path

_RANGE = range(20_000, 32_000)
"""Linux gives ports from 32768 on to sockets that ask for any port, macOS from 49152 on."""
_held = ExitStack()
"""UDP sockets at the returned ports, as locks until this process ends."""
atexit.register(_held.close)


def free_port(count: int = 1) -> int:
    """Return the first of `count` free ports in a row. No other process gets them as long as this one runs: the kernel
    chooses none of them, and each call of this function in any process returns other ports."""
    for _ in range(1000):
        port = random.SystemRandom().choice(_RANGE)
        if _is_held(range(port, port + count)):
            return port
    raise OSError(f"there are no {count} free ports in a row from {_RANGE.start} to {_RANGE.stop}")


def _is_held(ports: range) -> bool:
    """Hold these ports for this process; return False if one of them is in use."""
    locks: list[socket.socket] = []
    try:
        for port in ports:
            locks.append(socket.socket(type=socket.SOCK_DGRAM))
            locks[-1].bind(("127.0.0.1", port))
            with closing(socket.socket()) as probe:
                probe.bind(("", port))
    except OSError:
        for lock in locks:
            lock.close()
        return False
    for lock in locks:
        _held.enter_context(lock)
    return True


def listens(pid: int, port: int) -> bool:
    """Return whether a process, or one of its descendants, accepts TCP connections at a port of 127.0.0.1. On systems
    without Linux's /proc, any process counts."""
    with closing(socket.socket()) as probe:  # cheap, unlike the list of all connections
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return False
    if not Path("/proc/net/tcp").exists():
        return True
    return not _open_files(pid).isdisjoint(f"socket:[{inode}]" for inode in _listening(port))


def _listening(port: int) -> list[str]:
    """The inodes of the sockets that listen at a port, on any address."""
    found = []
    for name in ("tcp", "tcp6"):
        path = Path("/proc/net", name)
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            _, local, _, state, *more = line.split()
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                found.append(more[5])
    return found


def _open_files(pid: int) -> set[str]:
    """What the file descriptors of a process and of its descendants are open on."""
    found, below = set[str](), list[str]()
    with suppress(OSError):  # the process has ended
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # it has closed the file
                found.add(str(path.readlink()))
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            below += path.read_text().split()
    return found.union(*(_open_files(int(child)) for child in below))
