"""Entry point of `omnirecord` and `python -m omnirecord`. A light import, so an early Ctrl-C prints no traceback."""

from __future__ import annotations

import sys


def run() -> None:
    try:
        from .cli import main

        main(prog_name="omnirecord")
    except KeyboardInterrupt:
        sys.exit(130)  # the exit code of a program that SIGINT ends


if __name__ == "__main__":
    run()
