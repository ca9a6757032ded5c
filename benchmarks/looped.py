"""Run a module on the one event loop or on the other: `python -m benchmarks.looped asyncio|uvloop MODULE [ARG …]`.

On `asyncio`, uvloop cannot be imported, as where it is not installed; on `uvloop`, every new loop is one of its.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
import warnings


def main() -> None:
    loop, module, *arguments = sys.argv[1:]
    if loop == "asyncio":
        sys.modules["uvloop"] = None  # type: ignore[assignment]
    else:
        import uvloop

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
