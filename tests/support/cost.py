"""What a piece of Python costs in a process of its own: processor time, and the most memory that it held."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent
_SCRIPT = """
from tests.support.cost import tell
try:
{}
finally:
    tell()
"""


@dataclass(frozen=True)
class Cost:
    """`seconds` of processor time; `megabytes`; what it printed."""

    seconds: float
    megabytes: float
    stdout: str


def cost(code: str, *args: str | Path) -> Cost:
    """Run `code`, with `args` in `sys.argv`."""
    script = _SCRIPT.format(textwrap.indent(textwrap.dedent(code), "    "))
    command = [sys.executable, "-c", script, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=_ROOT)
    seconds, megabytes = json.loads(done.stderr.splitlines()[-1])
    return Cost(seconds, megabytes, done.stdout)


def tell() -> None:
    """What this process has cost so far, on stderr."""
    sys.stderr.write(json.dumps([time.process_time(), peak()]) + "\n")


def begin_peak() -> None:
    """Let `peak` forget what this process has held so far (Linux)."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Return the most memory that this process has held, in MiB.

    Not `ru_maxrss` where there is better: on Linux that begins with what the process which started this one held."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024
