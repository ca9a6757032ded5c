"""A server of ours is not stopped to look at what it has loaded."""

from __future__ import annotations

import subprocess
import sys

SETTLED = """
import gc
from omnirecord.server.timers import GC_THRESHOLD, reduce_gc
loaded = [[] for _ in range(1000)]
reduce_gc()
print(any(found is loaded for found in gc.get_objects()), gc.get_threshold()[0] == GC_THRESHOLD)
circle = []; circle.append(circle); del circle
print(gc.collect())
"""


def test_what_was_there_is_not_looked_at_again_and_new_circles_are_found() -> None:
    done = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "1"]
