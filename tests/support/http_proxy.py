"""A real HTTP proxy (`proxy.py`) as a process, before upstreams whose names only this proxy can resolve."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAME = "api.example.test"
"""A name that has no address. The proxy takes it for this machine."""
USER, PASSWORD = "me", "pass word"
CREDENTIALS = "me:pass%20word"

_PLUGIN = """
from proxy.http.proxy import HttpProxyBasePlugin

class OnThisMachine(HttpProxyBasePlugin):
    def resolve_dns(self, host, port):
        return "127.0.0.1", None
"""
_STARTS_WITHIN = 60.0


@contextmanager
def http_proxy(folder: Path, *options: str) -> Iterator[str]:
    """The host and port of a running proxy that asks for the credentials."""
    if importlib.util.find_spec("proxy") is None:
        pytest.skip("could not import 'proxy': install proxy.py")
    (folder / "on_this_machine.py").write_text(_PLUGIN)
    port = folder / "port"
    command = [sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", "0", "--port-file", str(port)]
    command += ["--basic-auth", f"{USER}:{PASSWORD}", "--plugins", "on_this_machine.OnThisMachine"]
    command += ["--num-workers", "1", "--num-acceptors", "1", "--log-level", "e", "--timeout", "300", *options]
    around = {**os.environ, "PYTHONPATH": str(folder)}
    process = subprocess.Popen(command, env=around, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + _STARTS_WITHIN
        while not (port.exists() and port.read_text().strip()):
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.monotonic() < until
            time.sleep(0.02)
        yield f"127.0.0.1:{port.read_text().strip()}"
    finally:
        process.terminate()
        process.communicate()
