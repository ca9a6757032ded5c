"""Who is measured: omnirecord, and what does the same and keeps nothing, each on both event loops."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from .ports import free_port
from .processes import Process

CPU = 0
"""Where they are with `--pin`."""
LOOPS = ("asyncio", "uvloop") if importlib.util.find_spec("uvloop") else ("asyncio",)


def start(loop: str, module: str, arguments: list[str], port: int, pinned: bool) -> Process:
    command = [sys.executable, "-m", "benchmarks.looped", loop, module, *arguments]
    return Process(command, port, cpu=CPU if pinned else None)


def bare_proxy(loop: str, upstream: str, pinned: bool = False) -> Process:
    port = free_port()
    return start(loop, "benchmarks.bare_proxy", [upstream, str(port)], port, pinned)


def recorder(loop: str, upstream: str, db: Path, pinned: bool = False, more: Sequence[str] = ()) -> Process:
    """Omnirecord's proxy, with the command of the README: its live view is on. `more`: further options of it."""
    port = free_port()
    arguments = ["proxy", "--upstream", upstream, "--listen", f"127.0.0.1:{port}", "--db", str(db), *more]
    return start(loop, "omnirecord", arguments, port, pinned)


def recorder_of_two(loop: str, upstream: str, db: Path, pinned: bool = False) -> Process:
    """A recorder with two hops, whose second listener is `ports[1]`. Both are judged alike."""
    ports = free_port(), free_port()
    arguments = ["proxy", "--upstream", upstream, "--listen", f"127.0.0.1:{ports[0]}", "--db", str(db)]
    arguments += ["--upstream", f"model={upstream}", "--listen", f"model=127.0.0.1:{ports[1]}"]
    made = start(loop, "omnirecord", [*arguments, "--contract", "model=omnigent"], ports[0], pinned)
    made.ports = ports
    return made


def bare_replay(loop: str, body: Path, offsets: Path | None = None, pinned: bool = False) -> Process:
    port = free_port()
    arguments = [str(body), str(port), *([str(offsets)] if offsets else [])]
    return start(loop, "benchmarks.bare_replay", arguments, port, pinned)


def replay(loop: str, cassette: Path, timing: str, pinned: bool = False) -> Process:
    port = free_port()
    arguments = ["serve", str(cassette), "--listen", f"127.0.0.1:{port}", "--timing", timing]
    return start(loop, "omnirecord", arguments, port, pinned)
