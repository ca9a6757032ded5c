"""Where the time goes: a process that looks at its own threads, 200 times a second, and counts what they are in.

`python -m benchmarks.sampling FILE MODULE [ARG …]` runs the module, and when it ends writes how often each place was
seen, as JSON: `[thread, place, times]`. A place is the innermost function of omnirecord, and behind it the package that
it had called, where it had. A thread that waits for something to do is not counted.
"""

from __future__ import annotations

import json
import runpy
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

import omnirecord

EVERY_S = 0.005
OURS = str(Path(omnirecord.__file__).parent)
WAITS = {"_recv", "_worker", "acquire", "get", "join", "poll", "select", "sleep", "wait"}
OURS_THAT_WAIT = {"_last_resort"}
"""Functions of omnirecord that wait in a queue written in C, which has no frame."""


def main() -> None:
    file, module, *arguments = sys.argv[1:]
    seen: Counter[tuple[str, str]] = Counter()
    stop = threading.Event()
    me = threading.Thread(target=_watch, args=(seen, stop), daemon=True)
    me.start()
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        stop.set()
        me.join()
        Path(file).write_text(json.dumps([[*place, times] for place, times in seen.most_common()]))


def _watch(seen: Counter[tuple[str, str]], stop: threading.Event) -> None:
    mine = threading.get_ident()
    while not stop.wait(EVERY_S):
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for number, frame in sys._current_frames().items():
            if number != mine and (place := _place(frame)):
                seen[names.get(number, "?"), place] += 1


def _place(frame: FrameType) -> str | None:
    """None: it waits."""
    is_ours = frame.f_code.co_filename.startswith(OURS)
    if frame.f_code.co_name in (OURS_THAT_WAIT if is_ours else WAITS):
        return None
    within: FrameType | None = frame
    called = ""
    while within is not None and not within.f_code.co_filename.startswith(OURS):
        called = _package(within)
        within = within.f_back
    if within is None:
        return called
    if within.f_code.co_name == "<module>":
        return None  # it is being imported: that is over before anything comes
    ours = f"{Path(within.f_code.co_filename).relative_to(OURS)}: {within.f_code.co_qualname}"
    return f"{ours} → {called}" if called else ours


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "?")).partition(".")[0]


if __name__ == "__main__":
    main()
