"""A view of a recording in progress: rows of events and requests in, a line for each thing that happens out.

    view = LiveView()
    for row in rows:
        for line in view.lines_of(row):
            print(line.line(width))
    print(view.growing().line(width))

Consecutive deltas are one line, which grows. Pure: no I/O, no clock. No line has a control character in it.
"""

from __future__ import annotations

from .events import Line
from .view import LiveView

__all__ = ["Line", "LiveView"]
