"""Fuzz one target for as long as you like: `python -m tests.support.fuzz NAME --seconds N [--seed N]`.

Prints how many inputs were tried, and ends with 1 at the first that omnirecord was wrong about, made as small as it
can be. Put that into a test before it is mended.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
import traceback
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.support.fuzzing import SLOWEST, TARGETS, Target

BATCH = 1000
"""Inputs before hypothesis forgets what it has tried: its memory of them grows."""


def fuzz(target: Target, seconds: float, first_seed: int) -> tuple[int, Exception | None]:
    """How many inputs were tried in so many seconds, and what the first wrong one raised."""
    tried, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        ran, error = _batch(target, first_seed, until)
        tried, first_seed = tried + ran, first_seed + 1
        if error is not None:
            return tried, error
    return tried, None


def _batch(target: Target, number: int, until: float) -> tuple[int, Exception | None]:
    tried = 0

    @seed(number)
    @settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def run(value: Any) -> None:
        nonlocal tried
        if time.monotonic() > until:
            return
        tried += 1
        faulthandler.dump_traceback_later(10 * SLOWEST, exit=True)  # where a signal does not reach
        target.check(value)

    try:
        run()
    except Exception as error:
        return tried, error
    finally:
        faulthandler.cancel_dump_traceback_later()
    return tried, None


def main() -> int:
    asks = argparse.ArgumentParser(prog="python -m tests.support.fuzz")
    asks.add_argument("name", choices=[*TARGETS, "all"])
    asks.add_argument("--seconds", type=float, default=60.0)
    asks.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    chosen = asks.parse_args()
    for name in TARGETS if chosen.name == "all" else [chosen.name]:
        tried, error = fuzz(TARGETS[name], chosen.seconds, chosen.seed)
        print(f"{name}: {tried} inputs in {chosen.seconds:g} s, seed {chosen.seed}", flush=True)  # noqa: T201
        if error is not None:
            traceback.print_exception(error)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
