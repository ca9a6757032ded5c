"""Entry point of `omnirecord` and `python -m omnirecord`. A light import, so an early Ctrl-C prints no traceback."""

from __future__ import annotations

import gc
import sys

_INTERRUPTED = 130
"""The exit code of a program that SIGINT ends."""


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
        _run()
    except KeyboardInterrupt:  # another one, before the first had this signal ignored
        _leave()


def _run() -> None:
    try:
        gc.disable()  # a tenth of the time of `--help`, and the imported objects stay
        sys.meta_path.insert(0, WithoutPandas)
        from .cli import main

        main(prog_name="omnirecord", obj=_before_a_command)
    except KeyboardInterrupt:
        _leave()
    except SystemExit as error:
        if error.code == _INTERRUPTED:
            _leave()
        raise
    except Exception as error:  # Python 3.11 makes a RuntimeError of a Ctrl-C in some imports
        if isinstance(error.__cause__, KeyboardInterrupt):
            _leave()
        raise


def _leave() -> None:
    """End after a Ctrl-C. A second one would print a traceback; `last_resort` ends an exit that takes too long."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(_INTERRUPTED)


def _before_a_command() -> None:
    from .cli import last_resort

    gc.enable()
    last_resort.install()


if __name__ == "__main__":
    run()
