"""A recording watched while it is made: rows of events and requests in, one line for each thing that happens out.

    watching = Watching()
    for row in rows:
        for told in watching.hear(row):
            print(told.line(width))
    print(watching.growing().line(width))

Deltas that follow each other are one line, which grows. `each` tells every event instead. Pure: no I/O, no clock. No
line holds a control character, whatever a row holds.
"""

from __future__ import annotations

from .events import Told
from .view import Watching, each

__all__ = ["Told", "Watching", "each"]
