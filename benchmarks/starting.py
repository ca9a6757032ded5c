"""What it takes to start: `import omnirecord`, `omnirecord --help`, and each command on a small cassette."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

from .measure import Benchmark, Contender, Figures, Metric, Settings
from .reading import spent

CASSETTE = str(Path(__file__).parent.parent / "cassettes" / "text.jsonl")
BARE = "python -c pass"
COMMANDS = {
    "ls": ["ls", CASSETTE],
    "events": ["events", CASSETTE],
    "show": ["show", CASSETTE],
    "doctor": ["doctor", CASSETTE],
    "validate": ["validate", CASSETTE],
    "stats": ["stats", CASSETTE],
    "diff": ["diff", CASSETTE, CASSETTE],
    "search": ["search", CASSETTE, "tide"],
    "export": ["export", CASSETTE, "--format", "jsonl"],
    "scrub": ["scrub", CASSETTE, "--check"],
    "proxy --help": ["proxy", "--help"],
    "serve --help": ["serve", "--help"],
}


def contenders(_: Settings) -> list[Contender]:
    made = [
        Contender(BARE, partial(started, "-", [sys.executable, "-c", "pass"])),
        Contender(
            "import omnirecord", partial(started, "import", [sys.executable, "-c", "import omnirecord"]), (BARE,)
        ),
        Contender(
            "omnirecord --help", partial(started, "--help", [sys.executable, "-m", "omnirecord", "--help"]), (BARE,)
        ),
    ]
    for name, words in COMMANDS.items():
        made.append(
            Contender(f"omnirecord {name}", partial(started, "command", [sys.executable, "-m", "omnirecord", *words]))
        )
    return made


def started(metric: str, command: list[str], faults: list[str]) -> Figures:
    """The whole process, from outside: ms by the clock on the wall, and of a processor."""
    begun = time.monotonic()
    code, cpu_s, _ = spent(command)
    if code not in (0, 1):
        faults.append(f"exit code {code}")
    return {metric: (time.monotonic() - begun) * 1e3, "CPU": cpu_s * 1e3}


BENCHMARKS = (
    Benchmark(
        "start",
        "from the start of a process to its end, in wall-clock time; the cassette has 73 events",
        (
            Metric("-", "ms"),
            Metric("import", "ms", most=50, absolute=True),
            Metric("--help", "ms", most=150, absolute=True),
            Metric("command", "ms"),
            Metric("CPU", "ms"),
        ),
        contenders,
    ),
)
