"""`omnirecord`, and `python -m omnirecord`. Light to import: Ctrl-C is no traceback, however soon it comes."""

from __future__ import annotations

import sys


def run() -> None:
    try:
        from .cli import main

        main(prog_name="omnirecord")
    except KeyboardInterrupt:
        sys.exit(130)  # as SIGINT ends a program


if __name__ == "__main__":
    run()
