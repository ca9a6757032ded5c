"""Entry point of `omnirecord` and `python -m omnirecord`. A light import, so an early Ctrl-C prints no traceback."""

from __future__ import annotations

import sys


class WithoutPandas:
    """An import hook that hides an installed pandas: pyarrow and sqlite-utils would import it, which takes 0.3 s.

    No command needs it.
    """

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def run() -> None:
    try:
        sys.meta_path.insert(0, WithoutPandas)
        from .cli import last_resort, main

        last_resort.install()
        main(prog_name="omnirecord")
    except KeyboardInterrupt:
        sys.exit(130)  # the exit code of a program that SIGINT ends


if __name__ == "__main__":
    run()
