"""Frames made in a process apart, so that to cut and judge them takes nothing from the event loop's interpreter.

The recording thread writes what came, as ever, and then says of which streams something is in the file. The other
process reads it there, makes frames, and writes them, with a connection of its own: no byte passes between the two.
What it was told is `words`, what it does `making`, and who tells it `telling`.

It can die at any moment, and so can we. What it has not written it begins again from what the file holds, as does
the next recorder: nothing is in it that is nowhere else.
"""

from __future__ import annotations

from .supervisor import WorkerSupervisor

__all__ = ["WorkerSupervisor"]
