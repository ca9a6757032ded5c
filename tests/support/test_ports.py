"""A port belongs to one process, and another server at the same port is not mistaken for ours."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from benchmarks.ports import free_port, listens

ROOT = Path(__file__).parent.parent.parent
SERVER = "import socket; server = socket.create_server(('127.0.0.1', 0)); print(server.getsockname()[1]); input()"


def test_no_two_processes_get_one_port_and_the_kernel_chooses_none_of_them() -> None:
    program = "from benchmarks.ports import free_port; print([free_port() for _ in range(500)], flush=True); input()"
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) for _ in range(2)]
    lines = [process.stdout.readline() for process in processes if process.stdout]
    for process in processes:
        process.communicate("\n")
    found = [int(port) for line in lines for port in line.strip("[]\n").split(",")]
    assert len(set(found)) == 1000
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        assert server.getsockname()[1] > max(found)


def test_a_row_of_ports_is_free_as_a_whole() -> None:
    port = free_port(3)
    for n in range(3):
        socket.create_server(("127.0.0.1", port + n)).close()


def test_a_process_listens_only_at_its_own_ports() -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as server,
        subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        ours, theirs = server.getsockname()[1], int(process.stdout.readline())
        assert listens(os.getpid(), ours)
        assert listens(os.getpid(), theirs), "a child counts"
        assert listens(process.pid, theirs)
        assert not listens(process.pid, ours)
        process.communicate(b"\n")
    assert not listens(os.getpid(), theirs)
