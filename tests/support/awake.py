"""Runs a command (`python -m tests.support.awake COMMAND…`) beside processes of the lowest priority, which keep the
processors awake.

On a virtual machine, code that runs after a pause can take nine times its CPU time, and tests that hold the clock wait
most of the time.
"""

from __future__ import annotations

import os
import subprocess
import sys

_BUSY = "import os\nparent = os.getppid()\nos.nice(19)\nwhile os.getppid() == parent:\n    sum(range(1_000_000))\n"


def main() -> int:
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        return subprocess.run(sys.argv[1:], check=False).returncode
    finally:
        for process in busy:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
